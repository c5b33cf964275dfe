"""Distributions on the hypersphere match high-precision and Monte Carlo references."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck
from torch.distributions import Independent, Normal, kl_divergence

from varied import likelihoods, posteriors, priors
from varied.distributions import HypersphericalUniform, VonMisesFisher, analytic_kl
from varied.distributions.hyperspherical import (
    _angle_derivative,
    _attach_gradient,
    _sample_angle,
    bessel_ratio,
    log_mean_exp,
)
from varied.errors import VariedError
from varied.models import VAE
from varied.trace import ConditionalDistribution

DIMS = (2, 3, 5, 16, 64, 128)
KAPPAS = (1e-3, 0.1, 1.0, 5.0, 30.0, 1e3, 1e5)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def vmf(dim, kappa, batch=(), seed=3):
    """Return a distribution with a random mean direction."""
    mu = torch.randn(dim, generator=torch.Generator().manual_seed(seed)).double()
    return VonMisesFisher(mu.expand(*batch, dim), double(kappa)[0].expand(batch))


def uniform(dim):
    return HypersphericalUniform(torch.zeros(dim).double())


def exact(kappa, dim):
    """Return the mean cosine, the log-normalizer and the KL to the uniform, with 50 digits."""
    with mpmath.workdps(50):
        k, order = mpmath.mpf(kappa), mpmath.mpf(dim) / 2 - 1
        low, high = mpmath.besseli(order, k), mpmath.besseli(order + 1, k)
        log_mean = mpmath.log(mpmath.gamma(order + 1) * (2 / k) ** order * low)
        return float(high / low), float(log_mean - k), float(k * high / low - log_mean)


def angle_density(dim, kappa, points=40_001):
    """Return angles on a fine grid, and their probabilities."""
    # Almost all the probability is within 20 widths, or on the half circle if kappa is small.
    theta = np.linspace(0, min(math.pi, 20 / math.sqrt(kappa) + 2 * math.sqrt(dim / kappa)), points)
    theta = (theta[1:] + theta[:-1]) / 2
    with np.errstate(divide="ignore"):
        log = kappa * (np.cos(theta) - 1) + (dim - 2) * np.log(np.sin(theta))
    weight = np.exp(log - log.max())
    return torch.from_numpy(theta), torch.from_numpy(weight / weight.sum())


# Bessel functions


@pytest.mark.parametrize("dim", [*DIMS, 512])
def test_bessel_functions_match_high_precision(dim):
    series_limit = 2 * math.sqrt(dim / 2)
    for kappa in (*KAPPAS, series_limit * (1 - 1e-9), series_limit * (1 + 1e-9)):
        ratio, log_mean, _ = exact(kappa, dim)
        assert bessel_ratio(double(kappa), dim).item() == pytest.approx(ratio, rel=1e-12)
        assert log_mean_exp(double(kappa), dim).item() == pytest.approx(log_mean, rel=1e-12)


@pytest.mark.parametrize("function", [bessel_ratio, log_mean_exp])
@pytest.mark.parametrize("dim", [2, 3, 16])
def test_bessel_functions_have_the_correct_first_and_second_derivative(function, dim):
    kappa = double(0.3, 2.0, 7.0, 50.0).requires_grad_()
    assert gradcheck(lambda k: function(k, dim), (kappa,))
    assert torch.autograd.gradgradcheck(lambda k: function(k, dim), (kappa,))


@pytest.mark.parametrize("dim", DIMS)
def test_kl_to_the_uniform_matches_high_precision(dim):
    for kappa in KAPPAS:
        ours = kl_divergence(vmf(dim, kappa), uniform(dim)).item()
        assert ours > 0
        assert ours == pytest.approx(exact(kappa, dim)[2], rel=1e-8)


@pytest.mark.parametrize("dim", [2, 3, 16])
def test_kl_has_the_correct_gradient(dim):
    direction = torch.eye(dim).double()[:1]

    def kl(kappa):
        return kl_divergence(VonMisesFisher(direction, kappa), uniform(dim))

    assert gradcheck(kl, (double(0.3).requires_grad_(),))
    assert gradcheck(kl, (double(2e3).requires_grad_(),), eps=1e-2)


# Density


@pytest.mark.parametrize("kappa", [1e-3, 1.0, 20.0, 1e3, 1e5])
def test_density_on_the_circle_integrates_to_one(kappa):
    q = vmf(2, kappa)
    reach = min(math.pi, 30 / kappa**0.5)
    offset = torch.linspace(-1, 1, 20_001, dtype=torch.float64)[:-1] * reach
    angle = torch.atan2(*q.mu.flip(0)) + offset
    z = torch.stack([angle.cos(), angle.sin()], -1)
    assert (q.log_prob(z).exp().sum() * (angle[1] - angle[0])).item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("kappa", [1e-3, 1.0, 20.0, 1e3, 1e5])
def test_density_on_the_sphere_integrates_to_one(kappa):
    q = VonMisesFisher(double(0, 0, 2), double(kappa)[0])
    # The area of a zone is proportional to its height; Gauss nodes are dense at the pole.
    node, weight = np.polynomial.legendre.leggauss(200)
    low = max(-1.0, 1 - 60 / kappa)
    height = torch.from_numpy(low + (1 - low) * (node + 1) / 2)
    radius = (1 - height.square()).clamp(min=0).sqrt()
    z = torch.stack([radius * 0.6, radius * 0.8, height], -1)
    total = (q.log_prob(z).exp() * torch.from_numpy(weight)).sum() * (1 - low) / 2 * 2 * math.pi
    assert total.item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dim", DIMS)
def test_uniform_density_is_the_inverse_of_the_area(dim):
    p = uniform(dim)
    z = p.sample((7,))
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(7).double())
    area = {2: 2 * math.pi, 3: 4 * math.pi, 5: 8 * math.pi**2 / 3}.get(dim)
    if area:
        torch.testing.assert_close(p.log_prob(z), torch.full((7,), -math.log(area)).double())
    limit = vmf(dim, 1e-12).log_prob(z)
    assert torch.equal(limit.round(decimals=9), p.log_prob(z).round(decimals=9))


def test_density_in_float32_is_accurate_for_large_kappa():
    mu = torch.randn(16)
    q = VonMisesFisher(mu, torch.tensor(1e5))
    z = q.sample((200,))
    reference = VonMisesFisher(mu.double(), double(1e5)[0]).log_prob(
        F.normalize(z.double(), dim=-1)
    )
    assert q.log_prob(z).dtype == torch.float32
    torch.testing.assert_close(q.log_prob(z).double(), reference, atol=2e-3, rtol=1e-5)


# Samples


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kappa", [1e-3, 1.0, 30.0, 1e5])
def test_samples_have_unit_length_and_the_exact_mean(dim, kappa):
    q = vmf(dim, kappa)
    z = q.sample((20_000,))
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(20_000).double())
    # Compute 1 - cos from the chord, since at 1e5 the cosine is 1 except for its last digits.
    versine = (z - q.mu).square().sum(-1) / 2
    error = versine.std() / math.sqrt(len(z))
    assert (versine.mean() - (1 - exact(kappa, dim)[0])).abs() < 4 * error
    orthogonal = z - (z @ q.mu)[:, None] * q.mu
    error = orthogonal.std(0) / math.sqrt(len(z))
    assert (orthogonal.mean(0).abs() < 5 * error).all()


@pytest.mark.parametrize("dim", [2, 3, 16])
@pytest.mark.parametrize("kappa", [0.5, 8.0])
def test_sampled_angles_follow_the_density(dim, kappa):
    theta, weight = angle_density(dim, kappa)
    angles = _sample_angle(double(kappa).expand(40_000), dim).sort().values
    cdf = torch.searchsorted(angles, theta).double() / len(angles)
    # The Kolmogorov-Smirnov statistic exceeds 1.95 with probability 0.001.
    assert (cdf - weight.cumsum(0)).abs().max() * math.sqrt(len(angles)) < 1.95


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kappa", [0.5, 20.0, 1e4])
def test_kl_matches_a_monte_carlo_estimate(dim, kappa):
    q, p = vmf(dim, kappa), uniform(dim)
    z = q.sample((10_000,))
    ratio = q.log_prob(z) - p.log_prob(z)
    error = ratio.std() / math.sqrt(len(z))
    assert (ratio.mean() - kl_divergence(q, p)).abs() < 4 * error


@pytest.mark.parametrize("dim", [2, 3, 16])
def test_variance_matches_samples(dim):
    q = vmf(dim, 6.0)
    torch.testing.assert_close(q.sample((60_000,)).var(0), q.variance, atol=0.002, rtol=0.03)
    torch.testing.assert_close(vmf(dim, 1e-9).variance, uniform(dim).variance)


@pytest.mark.parametrize("dim", [2, 3, 16])
@pytest.mark.parametrize("kappa", [1e-3, 10.0, 1e5])
def test_rejection_sampling_ends_after_a_few_rounds(dim, kappa, monkeypatch):
    samples = []
    for rounds in (64, 16):
        monkeypatch.setattr("varied.distributions.hyperspherical.ROUNDS", rounds)
        torch.manual_seed(0)
        samples.append(_sample_angle(double(kappa).expand(5000), dim))
    assert torch.equal(*samples)


# Gradients of samples


@pytest.mark.parametrize("dim", [2, 3, 4, 16, 128])
@pytest.mark.parametrize("kappa", [0.2, 2.0, 40.0, 3e3])
def test_gradient_of_an_angle_is_that_of_its_quantile(dim, kappa):
    step = 1e-3 * kappa
    curves = []
    for k in (kappa - step, kappa, kappa + step):
        theta, weight = angle_density(dim, kappa)
        tilted = weight * torch.exp((k - kappa) * (theta.cos() - 1))
        edges = (theta + (theta[1] - theta[0]) / 2).numpy()
        curves.append((edges, (tilted.cumsum(0) / tilted.sum()).numpy()))
    p = np.array([0.02, 0.1, 0.3, 0.5, 0.8, 0.99, 0.9999])
    low, middle, high = (np.interp(p, cdf, edges) for edges, cdf in curves)
    derivative = _angle_derivative(double(kappa).expand(len(p)), torch.from_numpy(middle), dim)
    expected = torch.from_numpy((high - low) / (2 * step))
    atol = 1e-5 * expected.abs().max().item()
    torch.testing.assert_close(derivative, expected, atol=atol, rtol=2e-3)


@pytest.mark.parametrize("dim", [2, 3, 8])
@pytest.mark.parametrize("kappa", [0.7, 12.0])
def test_gradient_of_samples_is_that_of_an_expectation(dim, kappa):
    weights, n = torch.randn(dim).double(), 40_000
    k = double(kappa)[0]
    mu = F.normalize(torch.randn(dim).double(), dim=0).requires_grad_()
    each_k, each_mu = (t.detach().expand(n, *t.shape).clone().requires_grad_() for t in (k, mu))
    z = VonMisesFisher(each_mu, each_k).rsample()

    # With respect to kappa: the exact derivative of E f by quadrature.
    cosine = (z * mu.detach()).sum(-1)
    by_kappa = torch.autograd.grad((cosine + cosine.pow(3)).sum(), each_k, retain_graph=True)[0]
    theta, weight = angle_density(dim, kappa)
    f = theta.cos() + theta.cos().pow(3)
    mean = (weight * f).sum()
    expected = (weight * f * theta.cos()).sum() - mean * (weight * theta.cos()).sum()
    error = by_kappa.std() / math.sqrt(n)
    assert (by_kappa.mean() - expected).abs() < 4 * error
    assert error < 0.1 * expected.abs()

    # With respect to the direction: the exact derivative of the mean.
    by_mu = torch.autograd.grad((z @ weights).sum(), each_mu)[0]
    mean = bessel_ratio(k, dim) * F.normalize(mu, dim=0) @ weights
    expected = torch.autograd.grad(mean, mu)[0]
    error = by_mu.std(0) / math.sqrt(n)
    assert ((by_mu.mean(0) - expected).abs() < 5 * error).all()


def test_gradient_of_samples_matches_finite_differences_with_common_random_numbers():
    mu, rotation, weights = torch.randn(3, 3).double()

    def mean(t, kappa):
        torch.manual_seed(2)
        z = VonMisesFisher((mu + t * rotation).expand(60_000, 3), kappa.expand(60_000)).rsample()
        return (z @ weights).exp().mean()

    t, kappa = double(0.0, 4.0).requires_grad_().unbind()
    by_t, by_kappa = torch.autograd.grad(mean(t, kappa), (t, kappa))
    with torch.no_grad():
        expected_t = (mean(t + 0.1, kappa) - mean(t - 0.1, kappa)) / 0.2
        expected_kappa = mean(t, kappa + 0.5) - mean(t, kappa - 0.5)
    torch.testing.assert_close(by_t, expected_t, atol=0.02, rtol=0.05)
    torch.testing.assert_close(by_kappa, expected_kappa, atol=0.01, rtol=0.05)


def test_attaching_a_gradient_keeps_the_value():
    kappa = double(2.0, 5.0).requires_grad_()
    theta = _sample_angle(kappa.detach(), 4)
    attached = _attach_gradient(kappa, theta, 4)
    assert torch.equal(attached, theta)
    (derivative,) = torch.autograd.grad(attached.sum(), kappa)
    assert (derivative < 0).all()  # a higher concentration gives smaller angles


@pytest.mark.parametrize("dim", [2, 3, 128])
@pytest.mark.parametrize("kappa", [1e-3, 1.0, 1e5])
def test_all_gradients_are_finite(dim, kappa):
    k = torch.full((200,), kappa, requires_grad=True)
    h = torch.randn(200, dim, requires_grad=True)
    q = VonMisesFisher(h, k)
    z = q.rsample((4,))
    loss = z.pow(3).sum() + q.log_prob(z).sum()
    loss = loss + kl_divergence(q, HypersphericalUniform(torch.zeros(dim))).sum()
    loss.backward()
    assert loss.dtype == torch.float32
    assert k.grad.isfinite().all() and h.grad.isfinite().all()


# Posterior, prior and model


def test_concentration_is_proportional_to_the_dimension_and_bounded():
    head = posteriors.VonMisesFisher((20,))
    assert head.param_shape == (21,)
    assert head(torch.zeros(2, 21)).kappa.tolist() == [20, 20]
    extreme = torch.zeros(2, 21)
    extreme[:, -1] = torch.tensor([-1e6, 1e6])
    low, high = head(extreme).kappa.tolist()
    assert low == pytest.approx(20 * math.exp(-7), rel=1e-4)
    assert high == pytest.approx(20 * math.exp(7), rel=1e-4)


def test_network_output_of_zero_gives_a_valid_distribution():
    q = posteriors.VonMisesFisher((5,))(torch.zeros(3, 6))
    torch.testing.assert_close(q.mean.norm(dim=-1), torch.ones(3))
    assert q.rsample((2,)).isfinite().all()


@pytest.mark.parametrize("event", [(1,), (4, 2, 2), (513,)], ids=str)
def test_posterior_rejects_unsupported_shapes(event):
    with pytest.raises(VariedError, match=r"posterior='gaussian'"):
        posteriors.VonMisesFisher(event)


@pytest.mark.parametrize("event", [(1,), (4, 2, 2)], ids=str)
def test_prior_rejects_unsupported_shapes(event):
    with pytest.raises(VariedError, match=r"prior='standard-normal'"):
        priors.HypersphericalUniform(event)


def test_kl_to_a_normal_distribution_has_no_closed_form():
    normal = Independent(Normal(torch.zeros(3), torch.ones(3)), 1)
    assert analytic_kl(vmf(3, 2.0), normal) is None


class ConstantNet(torch.nn.Module):
    """A network with the same output for every input."""

    def forward(self, b):
        return double(0.4, -1.0, 0.3).expand(len(b), 3)


def test_mean_importance_weight_is_the_marginal_likelihood():
    likelihood = likelihoods.Gaussian((1,), scale=0.7)
    decoder = ConditionalDistribution(torch.nn.Linear(2, 1), likelihood, (2,))
    encoder = ConditionalDistribution(ConstantNet(), posteriors.VonMisesFisher((2,)), (1,))
    model = VAE(encoder, decoder, priors.HypersphericalUniform((2,))).double()
    x = double(0.8)[None]
    with torch.no_grad():
        angle = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.float64)[:-1]
        z = torch.stack([angle.cos(), angle.sin()], -1)
        exact_log_px = model.decoder(z[:, None]).log_prob(x).exp().mean().log()
        weights = (model(x, samples=20_000).log_weight - exact_log_px).exp()
    error = weights.std() / math.sqrt(len(weights))
    assert error < 0.05
    assert (weights.mean() - 1).abs() < 4 * error
