"""Directions: Bessel functions against 30 digits, densities by quadrature, gradients by both."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from torch.autograd import gradcheck
from torch.distributions import Independent, Normal, kl_divergence

from varied.distributions import HypersphericalUniform, VonMisesFisher, analytic_kl
from varied.distributions.hyperspherical import (
    _angle,
    _angle_slope,
    _angles,
    bessel_ratio,
    log_mean_exp,
)
from varied.errors import VariedError
from varied.likelihoods import Gaussian as Likelihood
from varied.models import VAE
from varied.posteriors import VonMisesFisher as Head
from varied.priors.hyperspherical import HypersphericalUniform as Prior
from varied.trace import ConditionalDistribution

DIMS = (2, 3, 5, 16, 64, 128)
KAPPAS = (1e-3, 0.1, 1.0, 5.0, 30.0, 1e3, 1e5)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def vmf(dim, kappa, batch=(), seed=3):
    """Return a distribution about a direction that is like no other."""
    mu = torch.randn(dim, generator=torch.Generator().manual_seed(seed)).double()
    return VonMisesFisher(mu.expand(*batch, dim), double(kappa)[0].expand(batch))


def uniform(dim):
    return HypersphericalUniform(torch.zeros(dim).double())


def exact(kappa, dim):
    """Return the mean cosine, the log-normalizer and the KL to the uniform, in 50 digits."""
    with mpmath.workdps(50):
        k, order = mpmath.mpf(kappa), mpmath.mpf(dim) / 2 - 1
        low, high = mpmath.besseli(order, k), mpmath.besseli(order + 1, k)
        log_mean = mpmath.log(mpmath.gamma(order + 1) * (2 / k) ** order * low)
        return float(high / low), float(log_mean - k), float(k * high / low - log_mean)


def cosine_density(dim, kappa, points=40_001):
    """Return angles and the weights of their exact density, by a sum over a fine grid."""
    # 20 widths hold all; where kappa is small, the whole half circle does.
    theta = np.linspace(0, min(math.pi, 20 / math.sqrt(kappa) + 2 * math.sqrt(dim / kappa)), points)
    theta = (theta[1:] + theta[:-1]) / 2
    with np.errstate(divide="ignore"):
        log = kappa * (np.cos(theta) - 1) + (dim - 2) * np.log(np.sin(theta))
    weight = np.exp(log - log.max())
    return torch.from_numpy(theta), torch.from_numpy(weight / weight.sum())


# Bessel functions


@pytest.mark.parametrize("dim", [*DIMS, 512])
def test_bessel_functions_have_all_their_digits(dim):
    seam = 2 * math.sqrt(dim / 2)
    for kappa in (*KAPPAS, seam * (1 - 1e-9), seam * (1 + 1e-9)):
        ratio, log_mean, _ = exact(kappa, dim)
        ours = double(kappa)
        assert bessel_ratio(ours, dim).item() == pytest.approx(ratio, rel=1e-12)
        assert log_mean_exp(ours, dim).item() == pytest.approx(log_mean, rel=1e-12)


@pytest.mark.parametrize("dim", DIMS)
def test_kl_to_the_uniform_is_exact_and_never_negative(dim):
    for kappa in KAPPAS:
        ours = kl_divergence(vmf(dim, kappa), uniform(dim)).item()
        assert ours > 0
        assert ours == pytest.approx(exact(kappa, dim)[2], rel=1e-8)


def test_bessel_functions_have_the_gradient_of_finite_differences():
    kappa = double(0.3, 2.0, 7.0, 50.0).requires_grad_()
    for dim in (2, 3, 16):
        assert gradcheck(lambda k, dim=dim: bessel_ratio(k, dim), (kappa,))
        assert gradcheck(lambda k, dim=dim: log_mean_exp(k, dim), (kappa,))


def test_kl_has_the_gradient_of_finite_differences():
    for dim in (2, 3, 16):
        pole = torch.eye(dim).double()[:1]

        def kl(kappa, pole=pole, dim=dim):
            return kl_divergence(VonMisesFisher(pole, kappa), uniform(dim))

        assert gradcheck(kl, (double(0.3).requires_grad_(),))
        assert gradcheck(kl, (double(2e3).requires_grad_(),), eps=1e-2)


# The density


@pytest.mark.parametrize("kappa", [1e-3, 1.0, 20.0, 1e3, 1e5])
def test_density_on_the_circle_adds_up_to_one(kappa):
    q = vmf(2, kappa)
    middle = torch.atan2(*q.mu.flip(0))
    angle = middle + torch.linspace(-1, 1, 20_001, dtype=torch.float64)[:-1] * min(
        math.pi, 30 / kappa**0.5
    )
    z = torch.stack([angle.cos(), angle.sin()], -1)
    assert (q.log_prob(z).exp().sum() * (angle[1] - angle[0])).item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("kappa", [1e-3, 1.0, 20.0, 1e3, 1e5])
def test_density_on_the_sphere_adds_up_to_one(kappa):
    q = VonMisesFisher(double(0, 0, 2), double(kappa)[0])
    # Equal steps of the height are equal areas; Gauss's nodes crowd at the pole.
    node, weight = np.polynomial.legendre.leggauss(200)
    low = max(-1.0, 1 - 60 / kappa)
    height = torch.from_numpy(low + (1 - low) * (node + 1) / 2)
    ring = (1 - height.square()).clamp(min=0).sqrt()
    z = torch.stack([ring * 0.6, ring * 0.8, height], -1)
    total = (q.log_prob(z).exp() * torch.from_numpy(weight)).sum() * (1 - low) / 2 * 2 * math.pi
    assert total.item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dim", DIMS)
def test_uniform_density_is_one_over_the_area(dim):
    p = uniform(dim)
    area = {2: 2 * math.pi, 3: 4 * math.pi, 5: 8 * math.pi**2 / 3}.get(dim)
    z = p.sample((7,))
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(7).double())
    if area:
        torch.testing.assert_close(p.log_prob(z), torch.full((7,), -math.log(area)).double())
    assert torch.equal(
        vmf(dim, 1e-12).log_prob(z).round(decimals=9), p.log_prob(z).round(decimals=9)
    )


def test_density_in_float32_keeps_its_digits_where_kappa_is_large():
    mu = torch.randn(16)
    z = VonMisesFisher(mu, torch.tensor(1e5)).sample((200,))
    single = VonMisesFisher(mu, torch.tensor(1e5)).log_prob(z)
    exactly = VonMisesFisher(mu.double(), double(1e5)[0]).log_prob(
        torch.nn.functional.normalize(z.double(), dim=-1)
    )
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exactly, atol=2e-3, rtol=1e-5)


# Draws


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kappa", [1e-3, 1.0, 30.0, 1e5])
def test_draws_have_unit_length_and_the_mean_of_the_ratio_of_bessels(dim, kappa):
    q = vmf(dim, kappa)
    z = q.sample((20_000,))
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(20_000).double())
    # 1 - cos, by the chord: at 1e5 the cosine is 1 but for its last digits.
    short = (z - q.mu).square().sum(-1) / 2
    error = short.std() / math.sqrt(len(z))
    assert (short.mean() - (1 - exact(kappa, dim)[0])).abs() < 4 * error
    across = z - (z @ q.mu)[:, None] * q.mu
    spread = across.std(0) / math.sqrt(len(z))
    assert (across.mean(0).abs() < 5 * spread).all()


@pytest.mark.parametrize("dim", [2, 3, 16])
def test_angles_are_distributed_as_the_density_says(dim):
    for kappa in (0.5, 8.0):
        theta, weight = cosine_density(dim, kappa)
        drawn = _angles(double(kappa).expand(40_000), dim).sort().values
        below = torch.searchsorted(drawn, theta).double() / len(drawn)
        # Kolmogorov's distance; 1.95 is passed once in a thousand.
        assert (below - weight.cumsum(0)).abs().max() * math.sqrt(len(drawn)) < 1.95


@pytest.mark.parametrize("dim", DIMS)
def test_kl_is_the_mean_log_ratio_of_draws(dim):
    for kappa in (0.5, 20.0, 1e4):
        q, p = vmf(dim, kappa), uniform(dim)
        z = q.sample((10_000,))
        ratio = q.log_prob(z) - p.log_prob(z)
        error = ratio.std() / math.sqrt(len(z))
        assert (ratio.mean() - kl_divergence(q, p)).abs() < 4 * error


@pytest.mark.parametrize("dim", [2, 3, 16])
def test_variance_is_that_of_draws(dim):
    q = vmf(dim, 6.0)
    torch.testing.assert_close(q.sample((60_000,)).var(0), q.variance, atol=0.002, rtol=0.03)
    torch.testing.assert_close(vmf(dim, 1e-9).variance, uniform(dim).variance)


def test_few_rounds_suffice(monkeypatch):
    for dim in (2, 3, 16):
        for kappa in (1e-3, 10.0, 1e5):
            monkeypatch.setattr("varied.distributions.hyperspherical.ROUNDS", 64)
            torch.manual_seed(0)
            full = _angles(double(kappa).expand(5000), dim)
            monkeypatch.setattr("varied.distributions.hyperspherical.ROUNDS", 16)
            torch.manual_seed(0)
            assert torch.equal(full, _angles(double(kappa).expand(5000), dim))


# Gradients


@pytest.mark.parametrize("dim", [2, 3, 4, 16, 128])
@pytest.mark.parametrize("kappa", [0.2, 2.0, 40.0, 3e3])
def test_gradient_of_an_angle_is_that_of_its_quantile(dim, kappa):
    """Quantiles of a fine grid, at kappa and a little above and below it."""
    step = 1e-3 * kappa
    lines = []
    for k in (kappa - step, kappa, kappa + step):
        theta, weight = cosine_density(dim, kappa)
        tilted = weight * torch.exp((k - kappa) * (theta.cos() - 1))
        edges = (theta + (theta[1] - theta[0]) / 2).numpy()
        lines.append((edges, (tilted.cumsum(0) / tilted.sum()).numpy()))
    share = np.array([0.02, 0.1, 0.3, 0.5, 0.8, 0.99, 0.9999])
    low, at, high = (np.interp(share, below, edges) for edges, below in lines)
    slope = _angle_slope(double(kappa).expand(len(share)), torch.from_numpy(at), dim)
    wanted = torch.from_numpy((high - low) / (2 * step))
    torch.testing.assert_close(slope, wanted, atol=1e-5 * wanted.abs().max().item(), rtol=2e-3)


@pytest.mark.parametrize("dim", [2, 3, 8])
def test_gradient_of_draws_is_that_of_the_mean_of_a_function(dim):
    """The mean of f by quadrature for kappa; the exact turn of the mean for the direction."""
    lean = torch.randn(dim).double()
    for kappa in (0.7, 12.0):
        k = double(kappa)[0].requires_grad_()
        mu = torch.nn.functional.normalize(torch.randn(dim).double(), dim=0).requires_grad_()
        n = 40_000
        each_k, each_mu = (t.detach().expand(n, *t.shape).clone().requires_grad_() for t in (k, mu))
        z = VonMisesFisher(each_mu, each_k).rsample()
        cosine = (z * mu.detach()).sum(-1)
        of_draws = torch.autograd.grad((cosine + cosine.pow(3)).sum(), each_k, retain_graph=True)[0]
        theta, weight = cosine_density(dim, kappa)
        f = theta.cos() + theta.cos().pow(3)
        mean = (weight * f).sum()
        wanted = (weight * f * theta.cos()).sum() - mean * (weight * theta.cos()).sum()
        error = of_draws.std() / math.sqrt(n)
        assert (of_draws.mean() - wanted).abs() < 4 * error
        assert error < 0.1 * wanted.abs()
        turned = torch.autograd.grad((z @ lean).sum(), each_mu)[0]
        wanted = torch.autograd.grad(
            bessel_ratio(k.detach(), dim) * torch.nn.functional.normalize(mu, dim=0) @ lean, mu
        )[0]
        error = turned.std(0) / math.sqrt(n)
        assert ((turned.mean(0) - wanted).abs() < 5 * error).all()


def test_gradient_of_draws_is_that_of_finite_differences_with_common_noise():
    mu, turn, lean = torch.randn(3, 3).double()

    def mean(t, kappa):
        """Return the mean of a function over the same noise, as far as rejection lets it be."""
        torch.manual_seed(2)
        z = VonMisesFisher((mu + t * turn).expand(60_000, 3), kappa.expand(60_000)).rsample()
        return (z @ lean).exp().mean()

    t, kappa = double(0.0, 4.0).requires_grad_().unbind()
    by_turn, by_kappa = torch.autograd.grad(mean(t, kappa), (t, kappa))
    with torch.no_grad():
        of_turn = (mean(t + 0.1, kappa) - mean(t - 0.1, kappa)) / 0.2
        of_kappa = mean(t, kappa + 0.5) - mean(t, kappa - 0.5)
    torch.testing.assert_close(by_turn, of_turn, atol=0.02, rtol=0.05)
    torch.testing.assert_close(by_kappa, of_kappa, atol=0.01, rtol=0.05)


def test_an_angle_keeps_its_value_and_gets_a_gradient():
    kappa = double(2.0, 5.0).requires_grad_()
    theta = _angles(kappa.detach(), 4)
    attached = _angle(kappa, theta, 4)
    assert torch.equal(attached, theta)
    (slope,) = torch.autograd.grad(attached.sum(), kappa)
    assert (slope < 0).all()  # the denser, the nearer


def test_gradients_are_finite_from_end_to_end():
    for dim in (2, 3, 128):
        for kappa in (1e-3, 1.0, 1e5):
            k = torch.full((200,), kappa, requires_grad=True)
            h = torch.randn(200, dim, requires_grad=True)
            q = VonMisesFisher(h, k)
            z = q.rsample((4,))
            loss = z.pow(3).sum() + q.log_prob(z).sum()
            loss = loss + kl_divergence(q, HypersphericalUniform(torch.zeros(dim))).sum()
            loss.backward()
            assert loss.dtype == torch.float32
            assert k.grad.isfinite().all() and h.grad.isfinite().all()


# The head, and a model


def test_concentration_is_counted_in_dimensions():
    head = Head((20,))
    assert head.param_shape == (21,)
    assert head(torch.zeros(2, 21)).kappa.tolist() == [20, 20]
    far = torch.zeros(2, 21)
    far[:, -1] = torch.tensor([-1e6, 1e6])
    low, high = head(far).kappa.tolist()
    assert low == pytest.approx(20 * math.exp(-7), rel=1e-4)
    assert high == pytest.approx(20 * math.exp(7), rel=1e-4)


def test_mean_code_is_a_direction_even_of_a_dead_net():
    q = Head((5,))(torch.zeros(3, 6))
    torch.testing.assert_close(q.mean.norm(dim=-1), torch.ones(3))
    assert q.rsample((2,)).isfinite().all()


@pytest.mark.parametrize("event", [(1,), (4, 2, 2), (513,)], ids=str)
def test_what_is_no_direction_is_refused(event):
    with pytest.raises(VariedError, match=r"posterior='gaussian'"):
        Head(event)
    if event != (513,):
        with pytest.raises(VariedError, match=r"prior='standard-normal'"):
            Prior(event)


def test_the_other_prior_has_no_closed_form():
    normal = Independent(Normal(torch.zeros(3), torch.ones(3)), 1)
    assert analytic_kl(vmf(3, 2.0), normal) is None


class Fixed(torch.nn.Module):
    """A net that puts out the same numbers for every input."""

    def forward(self, b):
        return double(0.4, -1.0, 0.3).expand(len(b), 3)


def test_importance_weights_average_to_the_evidence():
    head = Head((2,))
    decoder = ConditionalDistribution(torch.nn.Linear(2, 1), Likelihood((1,), scale=0.7), (2,))
    model = VAE(ConditionalDistribution(Fixed(), head, (1,)), decoder, Prior((2,))).double()
    x = double(0.8)[None]
    with torch.no_grad():
        angle = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.float64)[:-1]
        z = torch.stack([angle.cos(), angle.sin()], -1)
        evidence = model.decoder(z[:, None]).log_prob(x).exp().mean().log()
        trace = model(x, samples=20_000)
        weights = (trace.log_weight - evidence).exp()
    error = weights.std() / math.sqrt(len(weights))
    assert error < 0.05
    assert (weights.mean() - 1).abs() < 4 * error
