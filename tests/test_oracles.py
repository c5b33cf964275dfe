"""Exact oracles: models whose likelihood is known in closed form, and our own parts beside them.

The suite that trust in a VAE library deserves: what is computed here by our heads, traces, terms
and loop is compared with linear algebra and with enumeration.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as td
from torch import nn

from varied.data.batches import Batches
from varied.likelihoods import Bernoulli
from varied.likelihoods import Gaussian as GaussianLikelihood
from varied.models import VAE
from varied.objectives import elbo
from varied.posteriors import Gaussian as GaussianPosterior
from varied.priors import StandardNormal
from varied.spec import Spec, compose
from varied.terms import kl, reconstruction
from varied.trace import ConditionalDistribution, Level, Trace
from varied.training_loop import Step, train
from varied.zoo import ZOO

D, L, SCALE, ROWS = 20, 4, 0.6, 30
LOG_2PI = math.log(2 * math.pi)


# A linear-Gaussian model: x = W z + b + noise, so log p(x) = N(x; b, W W' + scale^2)


class World:
    """A linear-Gaussian model with random weights, data drawn from it, and its closed forms."""

    def __init__(self, rotated: bool) -> None:
        self.w = torch.randn(D, L).double() + 0.5 * torch.randn(D, 1).double()
        if rotated:  # columns that are orthogonal: the posterior has independent dimensions
            self.w = self.w @ torch.linalg.eigh(self.w.T @ self.w).eigenvectors
        self.b = torch.randn(D).double()
        noise = SCALE * torch.randn(ROWS, D).double()
        self.x = torch.randn(ROWS, L).double() @ self.w.T + self.b + noise
        self.m = self.w.T @ self.w + SCALE**2 * torch.eye(L).double()

    @property
    def log_px(self):
        covariance = self.w @ self.w.T + SCALE**2 * torch.eye(D).double()
        return td.MultivariateNormal(self.b, covariance).log_prob(self.x)

    def vae(self) -> VAE:
        """Return our own parts with the best diagonal posterior: exact where it is diagonal."""
        decoder = nn.Linear(L, D).double()
        decoder.weight.data, decoder.bias.data = self.w, self.b
        posterior = GaussianPosterior((L,))
        encoder = nn.Linear(D, 2 * L).double()
        to_mean = torch.linalg.solve(self.m, self.w.T)
        log_variance = (SCALE**2 / self.m.diagonal()).log()
        encoder.weight.data = torch.cat([to_mean, torch.zeros(L, D).double()])
        before_clamp = posterior.logvar_bound * torch.atanh(log_variance / posterior.logvar_bound)
        encoder.bias.data = torch.cat([-to_mean @ self.b, before_clamp])
        likelihood = GaussianLikelihood((D,), scale=SCALE)
        return VAE(
            ConditionalDistribution(encoder, posterior, (D,)),
            ConditionalDistribution(decoder, likelihood, (L,)),
            StandardNormal((L,)).double(),
        )

    @property
    def gap(self) -> float:
        """KL from the best diagonal posterior to the true one, in nats; the same for each row."""
        return ((self.m.diagonal().log().sum() - torch.logdet(self.m)) / 2).item()


def bound(trace: Trace) -> torch.Tensor:
    return trace.log_weight.logsumexp(0) - math.log(len(trace.log_weight))


@pytest.mark.parametrize("samples", [1, 10, 100])
def test_at_the_exact_posterior_every_weight_is_the_likelihood(samples):
    world = World(rotated=True)
    trace = world.vae()(world.x, samples=samples)
    torch.testing.assert_close(bound(trace), world.log_px, atol=1e-10, rtol=0)
    torch.testing.assert_close(
        trace.log_weight, world.log_px.expand(samples, ROWS), atol=1e-10, rtol=0
    )


def test_the_gap_of_the_best_diagonal_posterior_is_its_closed_form():
    world = World(rotated=False)
    gaps = world.log_px - world.vae()(world.x, samples=20_000).log_weight
    error = gaps.std() / math.sqrt(gaps.numel())
    assert world.gap > 0.05
    assert abs(gaps.mean().item() - world.gap) < 4 * error


def test_distortion_and_rate_are_the_bound_with_less_noise():
    world = World(rotated=False)
    trace = world.vae()(world.x, samples=20_000)
    gap = (world.log_px + reconstruction(trace) + kl(trace)).mean().item()
    assert gap == pytest.approx(world.gap, abs=0.01)


def test_more_samples_make_a_tighter_bound():
    world = World(rotated=False)
    model = world.vae()
    x = world.x.repeat(100, 1)
    exact = world.log_px.repeat(100)
    gaps = [(exact - bound(model(x, samples=k))).mean().item() for k in (1, 10, 100)]
    assert gaps[0] == pytest.approx(world.gap, rel=0.1)
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2] > 0


def test_no_posterior_beats_the_likelihood():
    world = World(rotated=True)
    model = world.vae()
    for p in model.encoder.net.parameters():
        p.data += 0.05 * torch.randn_like(p)
    gaps = (world.log_px - model(world.x, samples=2000).log_weight).mean(0)
    assert (gaps > 0).all()


# Our own linear VAE, trained: it must arrive at probabilistic PCA


def rows_of(count, dims, rank, exact):
    """Return data of a rank plus noise; where exact, their covariance is that of the model."""
    noise = torch.randn(count, dims).double()
    w = torch.randn(dims, rank).double()
    if exact:
        white = torch.linalg.qr(noise - noise.mean(0)).Q * math.sqrt(count)
        covariance = w @ w.T + 0.25 * torch.eye(dims).double()
        return white @ torch.linalg.cholesky(covariance).T + torch.randn(dims).double()
    return torch.randn(count, rank).double() @ w.T + 0.5 * noise + torch.randn(dims).double()


class PCA:
    """The closed form of Tipping & Bishop."""

    def __init__(self, x, latent):
        count, dims = x.shape
        centered = x - x.mean(0)
        values, vectors = torch.linalg.eigh(centered.T @ centered / count)
        self.values, self.span = values.flip(0), vectors.flip(1)[:, :latent]
        self.variance = self.values[latent:].mean().item()
        logs = self.values[:latent].log().sum().item()
        logs += (dims - latent) * math.log(self.variance)
        self.log_px = -(dims * LOG_2PI + logs + dims) / 2


class Trained:
    """The ppca of the zoo after training, taken apart in float64."""

    def __init__(self, x, latent):
        plan = {"lr": 0.05, "steps": 4000, "batch_size": len(x)}
        still = {"precision": "float32", "compile": "no", "threads": 1}
        spec = Spec.of(**ZOO["linear-vae"].parts, latent=latent, plan=plan | still)
        model, objective = compose(spec, x.shape[1:], "real")
        batches = Batches(x.float(), size=len(x), seed=0)
        for event in train(Step(model, objective), batches, spec.plan):
            self.skipped = event.state.skipped
        model.double()
        with torch.no_grad():
            self._take_apart(model, x)

    def _take_apart(self, model, x):
        q = model.encoder(x)
        w = next(m.weight for m in model.decoder.net.modules() if isinstance(m, nn.Linear))
        px = model.decoder(q.mean)
        self.variance = px.variance[0, 0].item()
        covariance = w @ w.T + self.variance * torch.eye(len(w)).double()
        middle = model.decoder(torch.zeros(1, w.shape[1]).double()).mean[0]
        self.log_px = td.MultivariateNormal(middle, covariance).log_prob(x).mean().item()
        # E log p(x | z) is exact for a linear decoder: the draw adds its variance through W.
        spread = (q.variance * w.square().sum(0)).sum(1) / (2 * self.variance)
        level = Level(q.mean[None], q, model.prior())
        self.kl = level.kl_per_element.mean(0)
        self.elbo = (px.log_prob(x) - spread - level.kl[0]).mean().item()
        self.span = torch.linalg.svd(w, full_matrices=False).U


def test_a_trained_linear_vae_arrives_at_probabilistic_pca():
    x = rows_of(2000, 10, 3, exact=False)
    exact, ours = PCA(x, 3), Trained(x, 3)
    assert ours.skipped == 0
    assert exact.log_px - ours.log_px == pytest.approx(0, abs=10 * 1e-3)
    assert exact.log_px - ours.elbo == pytest.approx(0, abs=10 * 1e-3)
    assert ours.elbo <= ours.log_px <= exact.log_px + 1e-9
    assert ours.variance == pytest.approx(exact.variance, rel=0.005)
    cosines = torch.linalg.svdvals(exact.span.T @ ours.span)
    assert math.degrees(math.acos(min(1.0, cosines.min().item()))) < 1


def test_latents_beyond_the_rank_of_the_data_stay_silent():
    x = rows_of(2000, 10, 2, exact=True)
    exact, ours = PCA(x, 2), Trained(x, 5)
    kl = ours.kl.sort(descending=True).values
    assert (kl[:2] > 0.5).all()
    assert (kl[2:] < 0.01).all()
    assert exact.log_px - ours.elbo == pytest.approx(0, abs=10 * 1e-3)
    assert ours.variance == pytest.approx(0.25, rel=0.005)


# Codes that can be counted: four of them, with every sum written out


class Counted:
    """A Bernoulli decoder on four codes, with a prior and a posterior over them."""

    def __init__(self):
        self.head = Bernoulli((6,))
        self.h = torch.randn(4, 6).double()
        self.p = td.Categorical(logits=torch.randn(4).double())
        self.x = torch.rand(5, 6).double().round()
        joint = self.p.logits[:, None] + self.head(self.h[:, None]).log_prob(self.x)
        self.log_px = joint.logsumexp(0)
        self.exact = td.Categorical(logits=joint.T)

    def trace(self, q, z, weights=None):
        return Trace(self.x, self.head(self.h[z]), [Level(z, q, self.p)], weights=weights)

    def all_codes(self, q):
        """Return a trace in which each code stands once, weighted by its probability."""
        return self.trace(q, torch.arange(4)[:, None].expand(4, 5), q.probs.T)


def test_with_every_code_counted_the_bound_at_the_posterior_is_the_likelihood():
    world = Counted()
    trace = world.all_codes(world.exact)
    torch.testing.assert_close(trace.log_weight, world.log_px.expand(4, 5), atol=1e-12, rtol=0)
    bounded = -elbo().double()(trace)[0]
    torch.testing.assert_close(bounded, world.log_px.mean(), atol=1e-12, rtol=0)


def test_with_every_code_counted_the_gap_is_the_kl_to_the_posterior():
    world = Counted()
    q = td.Categorical(logits=torch.randn(5, 4).double())
    trace = world.all_codes(q)
    gap = world.log_px + reconstruction(trace) + kl(trace)
    torch.testing.assert_close(gap, td.kl_divergence(q, world.exact), atol=1e-12, rtol=0)


def test_drawn_codes_estimate_the_counted_likelihood():
    world = Counted()
    q = td.Categorical(logits=torch.randn(5, 4).double())
    weights = world.trace(q, q.sample((200_000,))).log_weight.exp()
    error = weights.std(0) / math.sqrt(len(weights))
    assert ((weights.mean(0) - world.log_px.exp()).abs() < 4 * error).all()
