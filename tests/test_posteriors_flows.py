"""Flow posteriors are compared with the Jacobian, the inverse map and quadrature."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch.autograd.functional import jacobian
from torch.distributions import MultivariateNormal

from varied.distributions import GatedAffine
from varied.errors import VariedError
from varied.heads import Head
from varied.likelihoods import Gaussian as GaussianLikelihood
from varied.models import VAE
from varied.posteriors import IAF, Flow, Gaussian
from varied.posteriors.flows import FLOWS
from varied.priors import StandardNormal
from varied.trace import ConditionalDistribution, Level

MAKERS = {"iaf": IAF} | {flow: partial(Flow, flow=flow) for flow in FLOWS}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def perturbed(make, event, gain=10, **settings):
    """Return a posterior in float64 far from its initialization, and a network output."""
    head = make(event, **{"width": 16, "n_transforms": 3} | settings).double()
    with torch.no_grad():
        for transform in head.transforms:
            transform.hyper[-1].weight.mul_(gain)
            transform.hyper[-1].bias.normal_(0, gain / 20)
    return head, torch.randn(1, *head.param_shape).double() * 0.7


@makers
@pytest.mark.parametrize("event", [(1,), (4,), (2, 2, 1)], ids=str)
def test_log_determinant_equals_that_of_the_jacobian(make, event):
    head, h = perturbed(make, event)
    q = head(h)
    noise = q.base.rsample()[0]
    log_det = q.map.call_and_ladj(noise[None])[1]
    expected = torch.linalg.slogdet(jacobian(lambda s: q.map(s[None])[0], noise)).logabsdet
    torch.testing.assert_close(log_det[0], expected, atol=1e-9, rtol=1e-9)
    assert expected.abs() > 0.05  # not the identity, for which the test would be trivial


@makers
@pytest.mark.parametrize("event", [(1,), (5,), (2, 2, 2)], ids=str)
def test_density_of_samples_equals_that_by_the_inverse(make, event):
    head, h = perturbed(make, event)
    q = head(torch.cat([h, -h]))
    z = q.rsample((3,))
    log_prob = q.log_prob(z)
    assert log_prob is q.log_prob(z)
    torch.testing.assert_close(log_prob, q.log_prob(z.clone()), atol=1e-9, rtol=1e-9)
    other = head(torch.cat([h, -h])).rsample((3,))
    assert not torch.allclose(q.log_prob(other), log_prob)


@makers
def test_gradient_of_the_density_of_samples_equals_that_by_the_inverse(make):
    head, h = perturbed(make, (3,))
    gradients = []
    for clone in (False, True):
        torch.manual_seed(1)
        raw = h.clone().requires_grad_()
        q = head(raw)
        z = q.rsample((4,))
        loss = q.log_prob(z.clone() if clone else z).sum()
        gradients.append(torch.autograd.grad(loss, (raw, *head.parameters())))
    for direct, by_inverse in zip(*gradients, strict=True):
        torch.testing.assert_close(direct, by_inverse, atol=1e-8, rtol=1e-8)


@makers
def test_density_of_a_copy_has_a_gradient_in_the_value(make):
    head, h = perturbed(make, (3,))
    q = head(h)
    z = q.sample((4,))
    with torch.no_grad():
        step = 1e-6 * torch.eye(3).double()
        expected = torch.stack([q.log_prob(z + s) - q.log_prob(z - s) for s in step], -1) / 2e-6
    copy = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(q.log_prob(copy).sum(), copy)
    torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-5)


def test_only_the_density_of_the_last_sample_is_cached():
    head, h = perturbed(IAF, (3,))
    q = head(h)
    first, second = q.rsample(), q.rsample()
    assert (q.log_prob(first) - q.log_prob(second)).abs() > 1e-6
    torch.testing.assert_close(q.log_prob(first), head(h).log_prob(first))


@makers
@pytest.mark.parametrize("dims", [1, 2])
def test_density_integrates_to_one(make, dims):
    head, h = perturbed(make, (dims,), gain=10 if dims == 1 else 5)
    q = head(h)
    samples = q.sample((10_000,))[:, 0]
    low, high = samples.amin(0) - 0.5, samples.amax(0) + 0.5
    count = 8001 if dims == 1 else 160
    lines = [
        torch.linspace(a, b, count, dtype=torch.float64) for a, b in zip(low, high, strict=True)
    ]
    points = torch.cartesian_prod(*lines).reshape(-1, dims)
    with torch.no_grad():
        density = q.log_prob(points[:, None]).exp()
    cell = math.prod(float(line[1] - line[0]) for line in lines)
    assert density.sum() * cell == pytest.approx(1, abs=1e-5 if dims == 1 else 1e-3)


@makers
def test_samples_follow_the_density(make):
    head, h = perturbed(make, (1,))
    q = head(h)
    with torch.no_grad():
        samples = q.rsample((40_000,))[:, 0, 0].sort().values
        line = torch.linspace(samples[0] - 2, samples[-1] + 2, 20_001, dtype=torch.float64)
        cdf = q.log_prob(line[:, None, None])[:, 0].exp().cumsum(0) * (line[1] - line[0])
    empirical = (torch.searchsorted(samples, line) / len(samples)).double()
    # The Kolmogorov-Smirnov statistic exceeds 1.95 with a probability of 0.001.
    assert (empirical - cdf).abs().max() * math.sqrt(len(samples)) < 1.95


def gate_product(head):
    """Return the factor by which the gates of IAF scale the noise at initialization."""
    return 0.9 ** len(head.transforms) if isinstance(head, IAF) else 1.0


@makers
def test_initial_posterior_is_nearly_gaussian(make):
    head = make((6,))
    with torch.no_grad():
        q = head(torch.zeros(1, *head.param_shape))
        z = q.rsample((20_000,))[:, 0]
    torch.testing.assert_close(z.mean(0), torch.zeros(6), atol=0.1, rtol=0)
    torch.testing.assert_close(z.std(0), torch.full((6,), gate_product(head)), atol=0.1, rtol=0)
    skewness = ((z - z.mean(0)) / z.std(0)).pow(3).mean(0)
    assert skewness.abs().max() < 0.15


@makers
def test_posterior_with_identity_transforms_is_gaussian(make):
    head = make((3,)).double()
    with torch.no_grad():
        for transform in head.transforms:
            transform.hyper[-1].weight.zero_()
        h = torch.randn(2, 9).double()
        gate = gate_product(head)
        z = torch.randn(4, 2, 3).double()
        gaussian = Gaussian((3,))(h[:, :6])
        log_prob = head(h).log_prob(torch.lerp(gaussian.mean, z, gate)) + 3 * math.log(gate)
    torch.testing.assert_close(log_prob, gaussian.log_prob(z), atol=1e-9, rtol=1e-9)


@makers
def test_dimensions_are_dependent(make):
    head, h = perturbed(make, (4,))
    q = head(h)
    matrix = jacobian(lambda s: q.map(s[None])[0], q.base.mean[0])
    off_diagonal = matrix - matrix.diag().diag()
    assert (off_diagonal.abs().sum(0) > 1e-3).sum() >= 3
    assert (off_diagonal.abs().sum(1) > 1e-3).sum() >= 3


@pytest.mark.slow
@makers
def test_fits_a_correlated_gaussian_better_than_any_diagonal_one(make):
    rho = 0.9
    target = MultivariateNormal(torch.zeros(2), torch.tensor([[1, rho], [rho, 1]]))
    torch.manual_seed(0)
    head = make((2,), width=16)
    raw = torch.zeros(1, *head.param_shape, requires_grad=True)
    optimizer = torch.optim.Adam([raw, *head.parameters()], lr=1e-2)

    def kl(samples):
        q = head(raw)
        z = q.rsample((samples,))
        return (q.log_prob(z) - target.log_prob(z)).mean()

    for _ in range(200):
        optimizer.zero_grad()
        kl(64).backward()
        optimizer.step()
    diagonal = -0.5 * math.log(1 - rho**2)  # the minimum KL of a diagonal Gaussian, 0.83 nats
    with torch.no_grad():
        assert kl(4000) < 0.1 * diagonal


@makers
def test_samples_depend_on_the_context_of_the_encoder(make):
    head = make((3,), width=8)
    h = torch.randn(2, *head.param_shape)
    changed = h.clone()
    changed[:, -3:] += 1
    samples = []
    for raw in (h, changed):
        torch.manual_seed(0)
        samples.append(head(raw).rsample())
    assert (samples[0] - samples[1]).abs().amin() > 0


def test_transforms_are_autoregressive_in_alternating_order():
    head, h = perturbed(IAF, (5,), n_transforms=2)
    maps = head(h).map.transforms
    matrices = [jacobian(lambda s, m=m: m(s[None])[0], torch.randn(5).double()) for m in maps]
    assert (matrices[0].triu(1) == 0).all() and (matrices[0].tril(-1) != 0).any()
    assert (matrices[1].tril(-1) == 0).all() and (matrices[1].triu(1) != 0).any()


def test_mean_is_the_image_of_the_base_mean():
    head, h = perturbed(IAF, (3,))
    q = head(h)
    assert torch.equal(q.mean, q.map(q.base.mean))
    assert torch.equal(q.variance, q.variance)


# The gate of IAF


def test_gate_interpolates_and_inverts():
    x, m, h = torch.randn(3, 50).double()
    gate = GatedAffine(m, 3 * h)
    weight = torch.sigmoid(math.log(9) + 5 * torch.tanh(3 * h / 5))
    torch.testing.assert_close(gate(x), weight * x + (1 - weight) * m)
    torch.testing.assert_close(gate.inv(gate(x)), x, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(gate.log_abs_det_jacobian(x, gate(x)), weight.log())


def test_gate_starts_at_nine_tenths_and_is_bounded_below():
    zero = torch.zeros(1)
    torch.testing.assert_close(GatedAffine(zero, zero)(torch.ones(1)), torch.tensor([0.9]))
    closed = GatedAffine(zero, torch.tensor([-1e6]))
    assert closed(torch.ones(1)) > 0.05
    torch.testing.assert_close(closed.inv(closed(torch.ones(1))), torch.ones(1))


# In a model


class Constant(torch.nn.Module):
    """A network with the same output for every input."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, b):
        return self.value.expand(len(b), *self.value.shape)


class Curve(torch.nn.Module):
    """A nonlinear decoder from two latent dimensions to one value."""

    def forward(self, z):
        return z[:, :1].sin() + z[:, 1:].square()


def small_model(head: Head, h) -> VAE:
    encoder = ConditionalDistribution(Constant(h[0]), head, (1,))
    decoder = ConditionalDistribution(Curve(), GaussianLikelihood((1,), scale=0.7), (2,))
    return VAE(encoder, decoder, StandardNormal((2,))).double()


@makers
def test_importance_weights_average_to_the_evidence(make):
    head, h = perturbed(make, (2,), gain=3)
    with torch.no_grad():
        # A posterior that is too narrow would have importance weights of infinite variance.
        h[:, :2], h[:, 2:4] = 0, 1.5
        model = small_model(head, h)
        x = torch.tensor([[0.8]]).double()
        line = torch.linspace(-8, 8, 401, dtype=torch.float64)
        z = torch.cartesian_prod(line, line)
        joint = model.decoder(z[:, None]).log_prob(x) + model.prior().log_prob(z[:, None])
        evidence = joint.logsumexp(0) + 2 * math.log(16 / 400)
        trace = model(x, samples=20_000)
        weights = (trace.log_weight - evidence).exp()
    error = weights.std() / math.sqrt(len(weights))
    assert error < 0.05
    assert (weights.mean() - 1).abs() < 4 * error


@makers
def test_mean_of_the_estimated_kl_equals_quadrature(make):
    head, h = perturbed(make, (1,))
    q, p = head(h), StandardNormal((1,)).double()()
    with torch.no_grad():
        level = Level(q.rsample((20_000,)), q, p)
        line = torch.linspace(-25, 25, 40_001, dtype=torch.float64)[:, None, None]
        log_q = q.log_prob(line)
        exact = (log_q.exp() * (log_q - p.log_prob(line))).sum() * (50 / 40_000)
    error = level.kl.std() / math.sqrt(20_000)
    assert level.kl.shape == (20_000, 1)
    assert (level.kl.mean() - exact).abs() < 4 * error


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (partial(Flow, n_transforms=0), "n_transforms=0 must be at least 1"),
        (partial(Flow, width=0), "width=0 must be at least 1"),
        (partial(Flow, flow="splines"), "There is no flow 'splines'"),
        (partial(Flow, bins=1), "bins=1 must be at least 2"),
        (partial(IAF, n_transforms=0), "n_transforms=0 must be at least 1"),
    ],
)
def test_invalid_settings_are_rejected(make, match):
    with pytest.raises(VariedError, match=match):
        make((3,))
