"""Tests of heads, traces, terms and training on models whose likelihood has a closed form.

The results are compared with closed-form linear algebra, and with an enumeration of all codes.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as td
from torch import nn

from varied import likelihoods, posteriors
from varied.composition import compose
from varied.data.batches import Batches
from varied.models import VAE
from varied.objectives import elbo
from varied.priors import StandardNormal
from varied.spec import Spec
from varied.terms import kl, reconstruction
from varied.trace import ConditionalDistribution, Level, Trace
from varied.training_loop import train
from varied.training_step import Step
from varied.zoo import ZOO

D, L, SCALE, ROWS = 20, 4, 0.6, 30
LOG_2PI = math.log(2 * math.pi)


# A linear-Gaussian model: x = W z + b + noise, so log p(x) = N(x; b, W W' + scale^2)


class LinearGaussian:
    """A linear-Gaussian model with random weights, samples from it, and closed-form results."""

    def __init__(self, orthogonal: bool) -> None:
        self.w = torch.randn(D, L).double() + 0.5 * torch.randn(D, 1).double()
        if orthogonal:  # with orthogonal columns, the exact posterior has independent dimensions
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
        """Return the same model as a VAE with the optimal diagonal posterior."""
        decoder = nn.Linear(L, D).double()
        decoder.weight.data, decoder.bias.data = self.w, self.b
        posterior = posteriors.Gaussian((L,))
        encoder = nn.Linear(D, 2 * L).double()
        to_mean = torch.linalg.solve(self.m, self.w.T)
        log_variance = (SCALE**2 / self.m.diagonal()).log()
        encoder.weight.data = torch.cat([to_mean, torch.zeros(L, D).double()])
        before_clamp = posterior.logvar_bound * torch.atanh(log_variance / posterior.logvar_bound)
        encoder.bias.data = torch.cat([-to_mean @ self.b, before_clamp])
        likelihood = likelihoods.Gaussian((D,), scale=SCALE)
        return VAE(
            ConditionalDistribution(encoder, posterior, (D,)),
            ConditionalDistribution(decoder, likelihood, (L,)),
            StandardNormal((L,)).double(),
        )

    @property
    def gap(self) -> float:
        """The KL from the optimal diagonal posterior to the exact one; it is equal for all rows."""
        return ((self.m.diagonal().log().sum() - torch.logdet(self.m)) / 2).item()


def importance_weighted_bound(trace: Trace) -> torch.Tensor:
    return trace.log_weight.logsumexp(0) - math.log(len(trace.log_weight))


@pytest.mark.parametrize("samples", [1, 10, 100])
def test_exact_posterior_makes_every_weight_the_likelihood(samples):
    exact = LinearGaussian(orthogonal=True)
    trace = exact.vae()(exact.x, samples=samples)
    bound = importance_weighted_bound(trace)
    torch.testing.assert_close(bound, exact.log_px, atol=1e-10, rtol=0)
    expected = exact.log_px.expand(samples, ROWS)
    torch.testing.assert_close(trace.log_weight, expected, atol=1e-10, rtol=0)


def test_gap_of_the_optimal_diagonal_posterior_matches_its_closed_form():
    exact = LinearGaussian(orthogonal=False)
    gaps = exact.log_px - exact.vae()(exact.x, samples=20_000).log_weight
    error = gaps.std() / math.sqrt(gaps.numel())
    assert exact.gap > 0.05
    assert abs(gaps.mean().item() - exact.gap) < 4 * error


def test_reconstruction_and_kl_terms_give_the_gap_with_a_lower_variance():
    exact = LinearGaussian(orthogonal=False)
    trace = exact.vae()(exact.x, samples=20_000)
    gap = (exact.log_px + reconstruction(trace) + kl(trace)).mean().item()
    assert gap == pytest.approx(exact.gap, abs=0.01)


def test_bound_is_tighter_with_more_samples():
    exact = LinearGaussian(orthogonal=False)
    model, x, log_px = exact.vae(), exact.x.repeat(100, 1), exact.log_px.repeat(100)
    gaps = [
        (log_px - importance_weighted_bound(model(x, samples=k))).mean().item()
        for k in (1, 10, 100)
    ]
    assert gaps[0] == pytest.approx(exact.gap, rel=0.1)
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2] > 0


def test_elbo_of_any_other_posterior_is_below_the_likelihood():
    exact = LinearGaussian(orthogonal=True)
    model = exact.vae()
    for p in model.encoder.net.parameters():
        p.data += 0.05 * torch.randn_like(p)
    gaps = (exact.log_px - model(exact.x, samples=2000).log_weight).mean(0)
    assert (gaps > 0).all()


# A trained linear VAE converges to probabilistic PCA


def random_data(count, dims, rank, exact_covariance):
    """Return low-rank data plus noise, optionally with exactly the covariance of the model."""
    noise = torch.randn(count, dims).double()
    w = torch.randn(dims, rank).double()
    if exact_covariance:
        white = torch.linalg.qr(noise - noise.mean(0)).Q * math.sqrt(count)
        covariance = w @ w.T + 0.25 * torch.eye(dims).double()
        return white @ torch.linalg.cholesky(covariance).T + torch.randn(dims).double()
    return torch.randn(count, rank).double() @ w.T + 0.5 * noise + torch.randn(dims).double()


class ProbabilisticPCA:
    """The closed-form solution of Tipping & Bishop (1999)."""

    def __init__(self, x, latent):
        count, dims = x.shape
        centered = x - x.mean(0)
        eigenvalues, eigenvectors = torch.linalg.eigh(centered.T @ centered / count)
        eigenvalues, self.basis = eigenvalues.flip(0), eigenvectors.flip(1)[:, :latent]
        self.variance = eigenvalues[latent:].mean().item()
        log_det = eigenvalues[:latent].log().sum().item()
        log_det += (dims - latent) * math.log(self.variance)
        self.log_px = -(dims * LOG_2PI + log_det + dims) / 2


class TrainedLinearVAE:
    """The linear VAE of the zoo after training, and its exact likelihood in float64."""

    def __init__(self, x, latent):
        plan = {"lr": 0.05, "steps": 4000, "batch_size": len(x)}
        plan |= {"precision": "float32", "compile": "no", "threads": 1}
        spec = Spec.parse(**ZOO["linear-vae"].parts, latent=latent, plan=plan)
        model, objective = compose(spec, x.shape[1:], "real")
        batches = Batches(x.float(), size=len(x), seed=0)
        for event in train(Step(model, objective), batches, spec.plan):
            self.skipped = event.state.skipped
        with torch.no_grad():
            self._evaluate(model.double(), x)

    def _evaluate(self, model, x):
        q = model.encoder(x)
        w = next(m.weight for m in model.decoder.net.modules() if isinstance(m, nn.Linear))
        px = model.decoder(q.mean)
        self.variance = px.variance[0, 0].item()
        covariance = w @ w.T + self.variance * torch.eye(len(w)).double()
        mean = model.decoder(torch.zeros(1, w.shape[1]).double()).mean[0]
        self.log_px = td.MultivariateNormal(mean, covariance).log_prob(x).mean().item()
        # E log p(x | z) is exact for a linear decoder, which maps the posterior variance through W.
        excess = (q.variance * w.square().sum(0)).sum(1) / (2 * self.variance)
        level = Level(q.mean[None], q, model.prior())
        self.kl = level.kl_per_element.mean(0)
        self.elbo = (px.log_prob(x) - excess - level.kl[0]).mean().item()
        self.basis = torch.linalg.svd(w, full_matrices=False).U


@pytest.mark.slow
def test_trained_linear_vae_converges_to_probabilistic_pca():
    x = random_data(2000, 10, 3, exact_covariance=False)
    exact, ours = ProbabilisticPCA(x, 3), TrainedLinearVAE(x, 3)
    assert ours.skipped == 0
    assert exact.log_px - ours.log_px == pytest.approx(0, abs=10 * 1e-3)
    assert exact.log_px - ours.elbo == pytest.approx(0, abs=10 * 1e-3)
    assert ours.elbo <= ours.log_px <= exact.log_px + 1e-9
    assert ours.variance == pytest.approx(exact.variance, rel=0.005)
    cosines = torch.linalg.svdvals(exact.basis.T @ ours.basis)
    assert math.degrees(math.acos(min(1.0, cosines.min().item()))) < 1


@pytest.mark.slow
def test_latent_dimensions_beyond_the_rank_of_the_data_are_inactive():
    x = random_data(2000, 10, 2, exact_covariance=True)
    exact, ours = ProbabilisticPCA(x, 2), TrainedLinearVAE(x, 5)
    kl = ours.kl.sort(descending=True).values
    assert (kl[:2] > 0.5).all()
    assert (kl[2:] < 0.01).all()
    assert exact.log_px - ours.elbo == pytest.approx(0, abs=10 * 1e-3)
    assert ours.variance == pytest.approx(0.25, rel=0.005)


# A model with four codes, whose likelihood is a sum over all codes


class FourCodes:
    """A Bernoulli decoder of four codes, with a prior and the exact posterior."""

    def __init__(self):
        self.head = likelihoods.Bernoulli((6,))
        self.h = torch.randn(4, 6).double()
        self.p = td.Categorical(logits=torch.randn(4).double())
        self.x = torch.rand(5, 6).double().round()
        joint = self.p.logits[:, None] + self.head(self.h[:, None]).log_prob(self.x)
        self.log_px = joint.logsumexp(0)
        self.posterior = td.Categorical(logits=joint.T)

    def trace(self, q, z, weights=None):
        return Trace(self.x, self.head(self.h[z]), [Level(z, q, self.p)], weights=weights)

    def enumerated(self, q):
        """Return a trace with every code once, weighted by its probability under q."""
        return self.trace(q, torch.arange(4)[:, None].expand(4, 5), q.probs.T)


def test_enumerated_elbo_of_the_exact_posterior_is_the_likelihood():
    exact = FourCodes()
    trace = exact.enumerated(exact.posterior)
    torch.testing.assert_close(trace.log_weight, exact.log_px.expand(4, 5), atol=1e-12, rtol=0)
    bound = -elbo().double()(trace)[0]
    torch.testing.assert_close(bound, exact.log_px.mean(), atol=1e-12, rtol=0)


def test_enumerated_gap_is_the_kl_to_the_exact_posterior():
    exact = FourCodes()
    q = td.Categorical(logits=torch.randn(5, 4).double())
    trace = exact.enumerated(q)
    gap = exact.log_px + reconstruction(trace) + kl(trace)
    torch.testing.assert_close(gap, td.kl_divergence(q, exact.posterior), atol=1e-12, rtol=0)


def test_sampled_codes_estimate_the_likelihood():
    exact = FourCodes()
    q = td.Categorical(logits=torch.randn(5, 4).double())
    weights = exact.trace(q, q.sample((200_000,))).log_weight.exp()
    error = weights.std(0) / math.sqrt(len(weights))
    assert ((weights.mean(0) - exact.log_px.exp()).abs() < 4 * error).all()
