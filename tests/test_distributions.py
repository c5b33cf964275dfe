"""Distributions are normalized, and moments, samples and gradients agree with the density."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributions as td
from torch.autograd import gradcheck
from torch.distributions import Independent, kl_divergence

from varied.distributions import (
    CategoricalLevels,
    CodebookPoint,
    ContinuousBernoulli,
    Delta,
    DiscretizedLogistic,
    Gaussian,
    OneHot,
    Product,
    analytic_kl,
    base_distribution,
    kl_per_factor,
    soft_clamp,
)
from varied.errors import VariedError

SAMPLES = 200_000


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def logit(p):
    return math.log(p) - math.log1p(-p)


def quadrature(low, high, panels=200, order=20):
    """Return the nodes and weights of a composite Gauss-Legendre quadrature."""
    node, weight = np.polynomial.legendre.leggauss(order)
    edges = np.linspace(low, high, panels + 1)
    half = np.diff(edges)[:, None] / 2
    points = edges[:-1, None] + half * (node + 1)
    return torch.from_numpy(points.ravel()), torch.from_numpy((half * weight).ravel())


def gray_levels(n):
    """Return a grid of n gray levels, each with weight 1."""
    return torch.linspace(0, 1, n, dtype=torch.float64), torch.ones(n).double()


@dataclass
class Case:
    """A distribution, its parameters, and a grid of all values with their weights."""

    build: Callable
    params: tuple
    grid: tuple
    has_exact_moments: bool = True
    value: torch.Tensor = field(default_factory=lambda: double(0.2))

    @property
    def distribution(self):
        return self.build(*self.params)

    def expect(self, f):
        """Return E f(x) for each parameter, computed by quadrature or as a sum over levels."""
        x, weight = self.grid
        shape = (-1, *[1] * len(self.distribution.batch_shape))
        x, weight = x.reshape(shape), weight.reshape(shape)
        return (self.distribution.log_prob(x).exp() * f(x) * weight).sum(0)


#: Values near 0, 1/2 and 1, and logits on both sides of the boundary of the series.
PROBABILITIES = (1e-6, 1e-3, 0.3, 0.5 - 1e-4, 0.5, 0.5 + 1e-4, 0.9, 1 - 1e-6)
NEAR_ZERO = (-0.1001, -0.0999, -1e-3, 0.0, 1e-9, 0.05, 0.0999, 0.1001)
LOGITS = double(*map(logit, PROBABILITIES), *NEAR_ZERO, -60.0, 60.0)

CASES = {
    "gaussian": Case(
        Gaussian,
        (double(0.0, 2.0, -1.0), double(0.0, -2.0, 1.0)),
        quadrature(-20, 20),
        value=double(0.7),
    ),
    "continuous-bernoulli": Case(ContinuousBernoulli, (LOGITS,), quadrature(0, 1)),
    "discretized-logistic": Case(
        DiscretizedLogistic,
        (double(0.5, 0.0, 1.3, -0.2, 0.2), double(-2.0, 1.0, -5.0, -7.0, -3.0)),
        gray_levels(256),
        has_exact_moments=False,
        value=gray_levels(256)[0][51],
    ),
    "discretized-logistic-4": Case(
        lambda loc, log_scale: DiscretizedLogistic(loc, log_scale, levels=4),
        (double(0.5, 0.9), double(-1.0, -3.0)),
        gray_levels(4),
        has_exact_moments=False,
        value=gray_levels(4)[0][1],
    ),
    "categorical-8": Case(
        CategoricalLevels,
        (torch.linspace(-3, 3, 24).double().sin().reshape(3, 8),),
        gray_levels(8),
        value=double(0),
    ),
    "categorical-2": Case(
        CategoricalLevels, (double(0.3, -0.8).reshape(1, 2),), gray_levels(2), value=double(1)
    ),
}


def cases_with(condition):
    """Parametrize a test over the cases that satisfy a condition."""
    names = [name for name, case in CASES.items() if condition(case)]
    return pytest.mark.parametrize("case", [CASES[name] for name in names], ids=names)


all_cases = cases_with(lambda case: True)
reparametrized_cases = cases_with(lambda case: case.distribution.has_rsample)


@all_cases
def test_probability_sums_to_one(case):
    total = case.expect(torch.ones_like)
    torch.testing.assert_close(total, torch.ones_like(total), atol=2e-12, rtol=0)


@cases_with(lambda case: case.has_exact_moments)
def test_mean_and_variance_match_the_density(case):
    mean = case.expect(lambda x: x)
    variance = case.expect(lambda x: x.square()) - mean.square()
    torch.testing.assert_close(case.distribution.mean, mean, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(case.distribution.variance, variance, atol=1e-8, rtol=1e-6)


@all_cases
def test_samples_have_the_moments_of_the_density(case):
    mean = case.expect(lambda x: x)
    variance = case.expect(lambda x: (x - mean).square())
    fourth = case.expect(lambda x: (x - mean).square().square())
    x = case.distribution.sample((SAMPLES,)).double()
    assert x.shape == (SAMPLES, *case.distribution.batch_shape)
    # Uniform samples are clamped to (1e-6, 1 - 1e-6), which changes the moments by less than 1e-5.
    excess = (x.mean(0) - mean).abs() - 5 * (variance / SAMPLES).sqrt()
    assert excess.max() < 1e-5
    variance_of_square = (fourth - variance.square()).clamp(min=0)
    error = 5 * (variance_of_square / SAMPLES).sqrt()
    assert (((x - mean).square().mean(0) - variance).abs() - error).max() < 1e-5


@all_cases
def test_log_prob_has_the_correct_gradient(case):
    params = [p.clone().requires_grad_() for p in case.params]
    assert gradcheck(lambda *p: case.build(*p).log_prob(case.value), params, atol=1e-6, rtol=1e-6)


@reparametrized_cases
def test_samples_have_the_correct_gradient(case):
    def sample(*params):
        torch.manual_seed(0)
        return case.build(*params).rsample((5,))

    params = [p.clone().requires_grad_() for p in case.params]
    assert gradcheck(sample, params, atol=1e-5, rtol=1e-5)


@reparametrized_cases
def test_expected_gradient_of_samples_is_the_gradient_of_the_mean(case):
    first, *others = case.params
    repeated = first.expand(SAMPLES, *first.shape).clone().requires_grad_()
    single = first.clone().requires_grad_()
    samples = case.build(repeated, *others).rsample()
    gradient = torch.autograd.grad(samples.sum(), repeated)[0]
    expected = torch.autograd.grad(case.build(single, *others).mean.sum(), single)[0]
    error = gradient.std(0) / math.sqrt(SAMPLES)
    assert ((gradient.mean(0) - expected).abs() < 5 * error + 1e-5).all()


@all_cases
def test_expand(case):
    batch = case.distribution.batch_shape
    larger = case.distribution.expand((4, *batch))
    assert larger.batch_shape == (4, *batch)
    assert type(larger) is type(case.distribution)
    log_prob = case.distribution.log_prob(case.value)
    assert torch.equal(larger.log_prob(case.value), log_prob.expand(4, *batch))
    assert larger.sample((3,)).shape == (3, 4, *batch)


@all_cases
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)], ids=str)
def test_sample_shape(case, shape):
    x = case.distribution.sample(shape)
    assert x.shape == (*shape, *case.distribution.batch_shape)
    assert not x.requires_grad


EXTREME = (-1e4, -100.0, -89.0, 89.0, 100.0, 1e4)
EXTREME_CASES = {
    "gaussian-mean": lambda p: Gaussian(p, torch.zeros_like(p)),
    "continuous-bernoulli": ContinuousBernoulli,
    "discretized-logistic-loc": lambda p: DiscretizedLogistic(p, torch.full_like(p, -3.0)),
    "categorical": lambda p: CategoricalLevels(torch.stack([p, torch.zeros_like(p)], -1)),
}


@pytest.mark.parametrize("build", EXTREME_CASES.values(), ids=EXTREME_CASES)
@pytest.mark.parametrize("quantity", ["log_prob", "mean", "variance", "sample"])
def test_extreme_parameters_result_in_finite_values_and_gradients(build, quantity):
    params = torch.tensor(EXTREME, requires_grad=True)
    distribution = build(params)
    sample = distribution.rsample if distribution.has_rsample else distribution.sample
    value = {
        "log_prob": lambda: torch.stack(
            [distribution.log_prob(torch.tensor(x)) for x in (0.0, 1.0)]
        ),
        "mean": lambda: distribution.mean,
        "variance": lambda: distribution.variance,
        "sample": lambda: sample((3,)),
    }[quantity]()
    assert value.isfinite().all()
    if value.requires_grad:
        value.sum().backward()
        assert params.grad.isfinite().all()


# Comparison with torch.distributions


def test_gaussian_matches_torch():
    mean, log_variance, x = torch.randn(3, 50).double()
    ours, reference = Gaussian(mean, log_variance), td.Normal(mean, (0.5 * log_variance).exp())
    torch.testing.assert_close(ours.log_prob(x), reference.log_prob(x), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(ours.variance, reference.variance, atol=1e-12, rtol=1e-12)


def test_continuous_bernoulli_matches_torch_away_from_one_half():
    logits = double(-8, -3, -1, -0.4, 0.4, 1, 3, 8)
    ours, reference = ContinuousBernoulli(logits), td.ContinuousBernoulli(logits=logits)
    x = torch.rand(20, 8).double()
    torch.testing.assert_close(ours.log_prob(x), reference.log_prob(x), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(ours.mean, reference.mean, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(ours.variance, reference.variance, atol=1e-9, rtol=1e-9)


def test_continuous_bernoulli_is_continuous_where_the_series_ends():
    below, above = (ContinuousBernoulli(double(h)) for h in (0.1 - 1e-9, 0.1))
    torch.testing.assert_close(below.mean, above.mean, atol=1e-9, rtol=0)
    torch.testing.assert_close(below.variance, above.variance, atol=1e-9, rtol=0)
    x = double(1)
    torch.testing.assert_close(below.log_prob(x), above.log_prob(x), atol=1e-9, rtol=0)
    samples = []
    for h in (0.1 - 1e-9, 0.1 + 1e-9):
        torch.manual_seed(0)
        samples.append(ContinuousBernoulli(double(h).expand(1000)).rsample())
    torch.testing.assert_close(*samples, atol=1e-6, rtol=0)


def test_discretized_logistic_is_a_difference_of_sigmoids():
    loc, log_scale = double(0.5, 0.1, 0.8), double(-1.0, -2.0, -3.0)
    x = gray_levels(256)[0][:, None]
    low, high = x - 0.5 / 255, x + 0.5 / 255
    low, high = low.masked_fill(x == 0, -math.inf), high.masked_fill(x == 1, math.inf)
    lower, upper = (torch.sigmoid((edge - loc) / log_scale.exp()) for edge in (low, high))
    naive = (upper - lower).log()
    ours = DiscretizedLogistic(loc, log_scale).log_prob(x)
    near = (x - loc).abs() < 10 * log_scale.exp()
    torch.testing.assert_close(ours[near], naive[near], atol=1e-9, rtol=1e-9)


def test_discretized_logistic_is_finite_for_distant_bins():
    distribution = DiscretizedLogistic(torch.tensor(0.0), torch.tensor(-6.0))
    log_prob = distribution.log_prob(torch.tensor(1.0))
    assert log_prob.isfinite()
    assert log_prob < -300


def test_discretized_logistic_mean_is_clamped_to_the_data_range():
    mean = DiscretizedLogistic(double(-0.3, 0.4, 1.7), double(0, 0, 0)).mean
    assert mean.tolist() == [0.0, 0.4, 1.0]


def test_discretized_logistic_has_no_rsample():
    with pytest.raises(VariedError, match=r"use sample\(\)"):
        CASES["discretized-logistic"].distribution.rsample()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (Delta, "use posterior='gaussian'"),
        (
            lambda value: CodebookPoint(value, torch.zeros(1).long(), torch.zeros(())),
            "train with objective='vq-vae'",
        ),
    ],
)
def test_point_mass_has_a_value_and_no_density(build, message):
    value = torch.randn(3, requires_grad=True)
    point = build(value)
    assert (point.rsample((2,)) == value).all()
    assert point.rsample((2,)).requires_grad
    assert not point.sample((2,)).requires_grad
    assert (point.variance == 0).all()
    with pytest.raises(VariedError, match=message):
        point.log_prob(value)


def test_base_distribution_unwraps_independent():
    gaussian = Gaussian(torch.zeros(2, 3), torch.zeros(2, 3))
    assert base_distribution(Independent(gaussian, 1)) is gaussian
    assert base_distribution(gaussian) is gaussian


def test_analytic_kl_without_a_closed_form_is_none():
    assert analytic_kl(Gaussian(double(0), double(0)), td.Laplace(double(0), double(1))) is None


# KL of Gaussians


def random_gaussian(batch, dims=1):
    return Gaussian(torch.randn(batch, dims).double(), torch.randn(batch, dims).double())


def as_torch_normal(g):
    return td.Normal(g.mean, (0.5 * g.log_variance).exp())


def test_kl_of_gaussians_matches_torch():
    q, p = random_gaussian(100), random_gaussian(100)
    reference = kl_divergence(as_torch_normal(q), as_torch_normal(p))
    torch.testing.assert_close(kl_divergence(q, p), reference, atol=1e-12, rtol=1e-11)


def test_kl_of_gaussians_matches_a_monte_carlo_estimate():
    q, p = (Independent(random_gaussian(1, 3), 1) for _ in range(2))
    z = q.sample((1_000_000,))
    ratio = q.log_prob(z) - p.log_prob(z)
    error = ratio.std() / math.sqrt(len(z))
    assert (ratio.mean() - kl_divergence(q, p)).abs() < 4 * error


def exact_kl(mean, log_variance):
    """Return the KL to the standard normal in nats, computed with 60 digits."""
    with localcontext() as context:
        context.prec = 60
        m, v = Decimal(mean), Decimal(log_variance)
        return float((m * m + v.exp() - 1 - v) / 2)


def standard_normal():
    return Gaussian(torch.zeros(()), torch.zeros(()))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kl", [10.0**e for e in range(-12, 5)])
def test_small_and_large_kl_is_accurate_in_float32(kl, sign):
    by_mean = (sign * math.sqrt(2 * kl), 0.0)
    by_variance = (0.0, sign * min(2 * math.sqrt(kl), math.log(2 * kl + 1) if kl > 1 else 9.0))
    for pair in (by_mean, by_variance):
        mean, log_variance = (torch.tensor(x) for x in pair)
        ours = kl_divergence(Gaussian(mean, log_variance), standard_normal()).item()
        assert ours == pytest.approx(exact_kl(mean.item(), log_variance.item()), rel=1e-6)


@given(
    st.floats(-100, 100, width=32, allow_subnormal=False),
    st.one_of(st.floats(-10, 10, width=32), st.floats(-(2.0**-10), 2.0**-10, width=32)),
)
def test_kl_is_never_negative(mean, log_variance):
    q = Gaussian(torch.tensor(mean), torch.tensor(log_variance))
    assert kl_divergence(q, standard_normal()) >= 0


def test_soft_clamp_is_bounded_and_has_a_gradient_outside_its_bounds():
    h = torch.linspace(-40, 40, 101, requires_grad=True)
    clamped = soft_clamp(h, 10.0)
    clamped.sum().backward()
    assert (clamped.abs() <= 10).all()
    assert (h.grad > 0).all()
    assert soft_clamp(torch.tensor(1e4), 10.0) == 10


def test_kl_after_a_soft_clamp_has_the_correct_gradient():
    mean, h = (torch.randn(4).double().requires_grad_() for _ in range(2))
    zero = torch.zeros(4).double()
    prior = Gaussian(zero, zero)
    assert gradcheck(lambda m, h: kl_divergence(Gaussian(m, soft_clamp(h, 5)), prior), (mean, h))


# One-hot categorical variables


def all_one_hot(variables, classes):
    """Return every one-hot event, with shape (classes ** variables, C)."""
    index = torch.cartesian_prod(*[torch.arange(classes)] * variables).reshape(-1, variables)
    return torch.nn.functional.one_hot(index, classes).double().flatten(1)


def random_one_hot(*lead, temperature=None, straight_through=False):
    """Return a distribution of two variables with three classes each."""
    temperature = None if temperature is None else torch.tensor(temperature)
    return OneHot(torch.randn(*lead, 6).double(), 3, 1, temperature, straight_through)


def test_one_hot_sums_to_one_and_matches_torch():
    q, p = random_one_hot(4), random_one_hot()
    z = all_one_hot(2, 3)[:, None]
    torch.testing.assert_close(q.log_prob(z).exp().sum(0), torch.ones(4).double())
    torch_q, torch_p = (Independent(td.OneHotCategorical(logits=d.logits), 1) for d in (q, p))
    torch.testing.assert_close(q.log_prob(z), torch_q.log_prob(z.unflatten(-1, (2, 3))))
    torch.testing.assert_close(q.mean, torch_q.mean.flatten(-2))
    torch.testing.assert_close(q.variance, torch_q.variance.flatten(-2))
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(torch_q, torch_p))


def test_kl_of_one_hot_is_the_sum_over_all_values():
    q, p, z = random_one_hot(4), random_one_hot(), all_one_hot(2, 3)[:, None]
    exact = (q.log_prob(z).exp() * (q.log_prob(z) - p.log_prob(z))).sum(0)
    torch.testing.assert_close(kl_divergence(q, p), exact)
    uniform = OneHot(torch.zeros(6).double(), 3)
    entropy = -(q.logits.exp() * q.logits).sum((-1, -2))
    torch.testing.assert_close(kl_divergence(q, uniform), 2 * math.log(3) - entropy)


@pytest.mark.parametrize("temperature", [None, 0.1, 5.0])
@pytest.mark.parametrize("straight_through", [False, True])
def test_one_hot_samples_have_the_class_probabilities(temperature, straight_through):
    q = random_one_hot(temperature=temperature, straight_through=straight_through)
    z = q.rsample((SAMPLES // 10,)).unflatten(-1, (2, 3))
    torch.testing.assert_close(z.sum(-1), torch.ones(z.shape[:-1]).double())
    if straight_through or temperature is None:
        assert ((z == 0) | (z == 1)).all()
    else:
        assert ((z > 0) & (z < 1)).any(-1).any()
    # The argmax of a relaxed sample is the class, at any temperature.
    frequency = torch.nn.functional.one_hot(z.argmax(-1), 3).double().mean(0)
    assert ((frequency - q.logits.exp()).abs() < 5 * math.sqrt(0.25 / len(z))).all()


def test_relaxed_samples_have_the_moments_of_torch():
    q, n = random_one_hot(temperature=0.67), 40_000
    reference = td.RelaxedOneHotCategorical(torch.tensor(0.67).double(), logits=q.logits)
    x, y = q.rsample((n,)).unflatten(-1, (2, 3)), reference.rsample((n,))
    for power in (1, 2, 3):
        a, b = x.pow(power), y.pow(power)
        error = ((a.var(0) + b.var(0)) / n).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 5 * error).all()


def test_straight_through_samples_have_the_gradient_of_relaxed_samples():
    logits, weights = torch.randn(5, 6).double(), torch.arange(6).double()
    gradients = []
    for straight_through in (False, True):
        torch.manual_seed(1)
        h = logits.clone().requires_grad_()
        z = OneHot(h, 3, 1, torch.tensor(0.7), straight_through).rsample((8,))
        gradients.append(torch.autograd.grad((z * weights).sum(), h)[0])
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().sum() > 0


def test_one_hot_variables_of_feature_maps_are_blocks_of_channels():
    logits = torch.randn(4, 6, 2, 2).double()
    q = OneHot(logits, 3, 3)
    z = q.sample((5,))
    assert z.shape == (5, 4, 6, 2, 2)
    assert (z[:, :, :3].sum(2) == 1).all() and (z[:, :, 3:].sum(2) == 1).all()
    pixels = {(i, j): OneHot(logits[:, :, i, j], 3) for i in (0, 1) for j in (0, 1)}
    total = sum(pixel.log_prob(z[..., i, j]) for (i, j), pixel in pixels.items())
    torch.testing.assert_close(q.log_prob(z), total)
    torch.testing.assert_close(q.mean[:, :, 1, 0], pixels[1, 0].mean)


def test_one_hot_with_extreme_logits_has_finite_gradients():
    logits = torch.tensor([1e4, -1e4, 0.0], requires_grad=True)
    q, p = OneHot(logits, 3, 1, torch.tensor(0.1)), OneHot(torch.zeros(3), 3)
    (q.rsample((3,)).square().sum() + kl_divergence(q, p)).backward()
    assert logits.grad.isfinite().all()
    assert kl_divergence(q, p).item() == pytest.approx(math.log(3))


# Products


def random_product(*lead):
    shape = (*lead, 2)
    gaussian = Gaussian(torch.randn(shape).double(), torch.randn(shape).double())
    return Product(Independent(gaussian, 1), OneHot(torch.randn(*lead, 3).double(), 3))


def test_product_concatenates_its_factors():
    q, p = random_product(4), random_product()
    z = q.rsample((7,))
    assert (q.batch_shape, q.event_shape, z.shape) == ((4,), (5,), (7, 4, 5))
    gaussian, one_hot = q.factors
    log_prob = gaussian.log_prob(z[..., :2]) + one_hot.log_prob(z[..., 2:])
    torch.testing.assert_close(q.log_prob(z), log_prob)
    torch.testing.assert_close(q.mean, torch.cat([gaussian.mean, one_hot.mean], -1))
    torch.testing.assert_close(q.variance, torch.cat([gaussian.variance, one_hot.variance], -1))
    first, second = kl_per_factor(q, p)
    torch.testing.assert_close(first, kl_divergence(gaussian, p.factors[0]))
    torch.testing.assert_close(second, kl_divergence(one_hot, p.factors[1]))
    torch.testing.assert_close(kl_divergence(q, p), first + second)


def test_product_with_a_factor_without_closed_form_has_no_analytic_kl():
    laplace = Independent(td.Laplace(torch.zeros(2), torch.ones(2)), 1)
    assert analytic_kl(random_product(4), Product(laplace, random_product().factors[1])) is None
