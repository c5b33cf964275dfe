"""Every distribution adds up to 1, and its moments and its draws are those of its density."""

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

DRAWS = 200_000


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def logit(chance):
    return math.log(chance) - math.log1p(-chance)


def panels(low, high, count=200, order=20):
    """Return points and weights that integrate a smooth function from low to high."""
    node, weight = np.polynomial.legendre.leggauss(order)
    edges = np.linspace(low, high, count + 1)
    half = np.diff(edges)[:, None] / 2
    points = edges[:-1, None] + half * (node + 1)
    return torch.from_numpy(points.ravel()), torch.from_numpy((half * weight).ravel())


def levels(count):
    """Return the grid of so many levels, each of weight 1."""
    return torch.linspace(0, 1, count, dtype=torch.float64), torch.ones(count).double()


@dataclass
class Row:
    """One distribution: how it is made, from what, and where its mass lies."""

    make: Callable
    params: tuple
    grid: tuple
    cut: bool = False
    at: torch.Tensor = field(default_factory=lambda: double(0.2))

    @property
    def made(self):
        return self.make(*self.params)

    def expect(self, f):
        """Return E f(x) by quadrature, or by the sum over levels, for each parameter."""
        x, weight = self.grid
        shape = (-1, *[1] * len(self.made.batch_shape))
        x, weight = x.reshape(shape), weight.reshape(shape)
        return (self.made.log_prob(x).exp() * f(x) * weight).sum(0)


#: Chances from 1e-6 to 1 - 1e-6, both sides of a half, and both sides of the seam of the series.
CHANCES = (1e-6, 1e-3, 0.3, 0.5 - 1e-4, 0.5, 0.5 + 1e-4, 0.9, 1 - 1e-6)
SEAM = (-0.1001, -0.0999, -1e-3, 0.0, 1e-9, 0.05, 0.0999, 0.1001)
LOGITS = double(*map(logit, CHANCES), *SEAM, -60.0, 60.0)

ROWS = {
    "gaussian": Row(
        Gaussian, (double(0.0, 2.0, -1.0), double(0.0, -2.0, 1.0)), panels(-20, 20), at=double(0.7)
    ),
    "continuous-bernoulli": Row(ContinuousBernoulli, (LOGITS,), panels(0, 1)),
    "discretized-logistic": Row(
        DiscretizedLogistic,
        (double(0.5, 0.0, 1.3, -0.2, 0.2), double(-2.0, 1.0, -5.0, -7.0, -3.0)),
        levels(256),
        cut=True,
        at=levels(256)[0][51],
    ),
    "four-levels": Row(
        lambda loc, size: DiscretizedLogistic(loc, size, levels=4),
        (double(0.5, 0.9), double(-1.0, -3.0)),
        levels(4),
        cut=True,
        at=levels(4)[0][1],
    ),
    "levels": Row(
        CategoricalLevels,
        (torch.linspace(-3, 3, 24).double().sin().reshape(3, 8),),
        levels(8),
        at=double(0),
    ),
    "two-levels": Row(
        CategoricalLevels, (double(0.3, -0.8).reshape(1, 2),), levels(2), at=double(1)
    ),
}


def some(wanted):
    """Run a law over those rows for which it is one."""
    names = [name for name, row in ROWS.items() if wanted(row)]
    return pytest.mark.parametrize("row", [ROWS[name] for name in names], ids=names)


rows = some(lambda row: True)
uncut_rows = some(lambda row: not row.cut)
smooth_rows = some(lambda row: row.made.has_rsample)


@rows
def test_adds_up_to_one(row):
    torch.testing.assert_close(
        row.expect(torch.ones_like), torch.ones(row.made.batch_shape).double(), atol=2e-12, rtol=0
    )


@uncut_rows  # the others document theirs as those before the tails are cut
def test_mean_and_variance_are_those_of_the_density(row):
    mean = row.expect(lambda x: x)
    variance = row.expect(lambda x: x.square()) - mean.square()
    torch.testing.assert_close(row.made.mean, mean, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(row.made.variance, variance, atol=1e-8, rtol=1e-6)


@rows
def test_draws_have_the_moments_of_the_density(row):
    mean = row.expect(lambda x: x)
    variance = row.expect(lambda x: (x - mean).square())
    fourth = row.expect(lambda x: (x - mean).square().square())
    drawn = row.made.sample((DRAWS,)).double()
    assert drawn.shape == (DRAWS, *row.made.batch_shape)
    # The 1e-6 is the cut of the uniform draws: no draw is further out than one in a million.
    off = (drawn.mean(0) - mean).abs() - 5 * (variance / DRAWS).sqrt()
    assert off.max() < 1e-5
    spread = (fourth - variance.square()).clamp(min=0)
    off = ((drawn - mean).square().mean(0) - variance).abs() - 5 * (spread / DRAWS).sqrt()
    assert off.max() < 1e-5


@rows
def test_log_prob_has_the_gradient_of_finite_differences(row):
    params = [p.clone().requires_grad_() for p in row.params]
    assert gradcheck(lambda *p: row.make(*p).log_prob(row.at), params, atol=1e-6, rtol=1e-6)


@smooth_rows
def test_draws_have_the_gradient_of_finite_differences(row):
    def drawn(*params):
        torch.manual_seed(0)
        return row.make(*params).rsample((5,))

    assert gradcheck(drawn, [p.clone().requires_grad_() for p in row.params], atol=1e-5, rtol=1e-5)


@smooth_rows
def test_gradient_of_draws_is_that_of_the_mean(row):
    first = row.params[0].expand(DRAWS, *row.params[0].shape).clone().requires_grad_()
    one = row.params[0].clone().requires_grad_()
    made = row.make(first, *row.params[1:])
    of_draws = torch.autograd.grad(made.rsample().sum(), first)[0]
    of_mean = torch.autograd.grad(row.make(one, *row.params[1:]).mean.sum(), one)[0]
    error = of_draws.std(0) / math.sqrt(DRAWS)
    assert ((of_draws.mean(0) - of_mean).abs() < 5 * error + 1e-5).all()


@rows
def test_expands_to_a_larger_batch(row):
    batch = row.made.batch_shape
    larger = row.made.expand((4, *batch))
    assert larger.batch_shape == (4, *batch)
    assert type(larger) is type(row.made)
    torch.testing.assert_close(
        larger.log_prob(row.at), row.made.log_prob(row.at).expand(4, *batch), atol=0, rtol=0
    )
    assert larger.sample((3,)).shape == (3, 4, *batch)


@rows
def test_draws_have_the_shape_that_was_asked_for(row):
    for shape in ((), (2,), (2, 3)):
        assert row.made.sample(shape).shape == (*shape, *row.made.batch_shape)
        assert not row.made.sample(shape).requires_grad


FAR = (-1e4, -100.0, -89.0, 89.0, 100.0, 1e4)
EXTREMES = {
    "gaussian-mean": lambda far: Gaussian(far, torch.zeros_like(far)),
    "continuous-bernoulli": ContinuousBernoulli,
    "discretized-logistic-loc": lambda far: DiscretizedLogistic(far, torch.full_like(far, -3.0)),
    "levels": lambda far: CategoricalLevels(torch.stack([far, torch.zeros_like(far)], -1)),
}


@pytest.mark.parametrize("make", EXTREMES.values(), ids=EXTREMES)
@pytest.mark.parametrize("what", ["log_prob", "mean", "variance", "rsample"])
def test_far_parameters_are_finite_and_so_are_their_gradients(make, what):
    far = torch.tensor(FAR, requires_grad=True)
    made = make(far)
    if what == "rsample" and not made.has_rsample:
        what = "sample"
    value = {
        "log_prob": lambda: torch.stack([made.log_prob(torch.tensor(x)) for x in (0.0, 1.0)]),
        "mean": lambda: made.mean,
        "variance": lambda: made.variance,
        "rsample": lambda: made.rsample((3,)),
        "sample": lambda: made.sample((3,)),
    }[what]()
    assert value.isfinite().all()
    if value.requires_grad:
        value.sum().backward()
        assert far.grad.isfinite().all()


# Against others


def test_gaussian_is_that_of_torch():
    mean, log_variance, x = torch.randn(3, 50).double()
    ours, theirs = Gaussian(mean, log_variance), td.Normal(mean, (0.5 * log_variance).exp())
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(ours.entropy(), theirs.entropy(), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(ours.variance, theirs.variance, atol=1e-12, rtol=1e-12)


def test_continuous_bernoulli_is_that_of_torch_away_from_a_half():
    logits = double(-8, -3, -1, -0.4, 0.4, 1, 3, 8)
    ours, theirs = ContinuousBernoulli(logits), td.ContinuousBernoulli(logits=logits)
    x = torch.rand(20, 8).double()
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(ours.mean, theirs.mean, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(ours.variance, theirs.variance, atol=1e-9, rtol=1e-9)


def test_continuous_bernoulli_is_smooth_over_the_seam_of_its_series():
    for what in ("mean", "variance"):
        low, high = (getattr(ContinuousBernoulli(double(h)), what) for h in (0.1 - 1e-9, 0.1))
        torch.testing.assert_close(low, high, atol=1e-9, rtol=0)
    low, high = (ContinuousBernoulli(double(h)).log_prob(double(1)) for h in (0.1 - 1e-9, 0.1))
    torch.testing.assert_close(low, high, atol=1e-9, rtol=0)
    draws = []
    for h in (0.1 - 1e-9, 0.1 + 1e-9):
        torch.manual_seed(0)
        draws.append(ContinuousBernoulli(double(h).expand(1000)).rsample())
    torch.testing.assert_close(*draws, atol=1e-6, rtol=0)


def test_discretized_logistic_is_a_difference_of_sigmoids():
    loc, log_scale = double(0.5, 0.1, 0.8), double(-1.0, -2.0, -3.0)
    x = levels(256)[0][:, None]
    low, high = x - 0.5 / 255, x + 0.5 / 255
    low, high = low.masked_fill(x == 0, -math.inf), high.masked_fill(x == 1, math.inf)
    below, above = (torch.sigmoid((edge - loc) / log_scale.exp()) for edge in (low, high))
    naive = (above - below).log()
    ours = DiscretizedLogistic(loc, log_scale).log_prob(x)
    near = (x - loc).abs() < 10 * log_scale.exp()
    torch.testing.assert_close(ours[near], naive[near], atol=1e-9, rtol=1e-9)


def test_discretized_logistic_keeps_far_bins_that_a_difference_would_lose():
    far = DiscretizedLogistic(torch.tensor(0.0), torch.tensor(-6.0)).log_prob(torch.tensor(1.0))
    assert far.isfinite()
    assert far < -300


def test_mean_of_a_discretized_logistic_stays_within_the_data():
    mean = DiscretizedLogistic(double(-0.3, 0.4, 1.7), double(0, 0, 0)).mean
    assert mean.tolist() == [0.0, 0.4, 1.0]


def test_levels_have_no_gradient_and_say_so():
    with pytest.raises(VariedError, match=r"use sample\(\)"):
        ROWS["discretized-logistic"].made.rsample()


def test_point_is_its_value_and_has_no_density():
    value = torch.randn(3, requires_grad=True)
    point = Delta(value)
    assert (point.rsample((2,)) == value).all()
    assert point.rsample((2,)).requires_grad
    assert not point.sample((2,)).requires_grad
    assert (point.variance == 0).all()
    with pytest.raises(VariedError, match="use posterior='gaussian'"):
        point.log_prob(value)


def test_each_takes_the_event_off():
    normal = Gaussian(torch.zeros(2, 3), torch.zeros(2, 3))
    assert base_distribution(Independent(normal, 1)) is normal
    assert base_distribution(normal) is normal


def test_no_closed_kl_is_none():
    assert analytic_kl(Gaussian(double(0), double(0)), td.Laplace(double(0), double(1))) is None


# The rate


def gaussians(count, dims=1):
    return Gaussian(torch.randn(count, dims).double(), torch.randn(count, dims).double())


def normal(g):
    return td.Normal(g.mean, (0.5 * g.log_variance).exp())


def test_kl_is_that_of_torch():
    q, p = gaussians(100), gaussians(100)
    theirs = kl_divergence(normal(q), normal(p))
    torch.testing.assert_close(kl_divergence(q, p), theirs, atol=1e-12, rtol=1e-11)


def test_kl_is_that_of_a_million_draws():
    q, p = Independent(gaussians(1, 3), 1), Independent(gaussians(1, 3), 1)
    z = q.sample((1_000_000,))
    ratio = q.log_prob(z) - p.log_prob(z)
    error = ratio.std() / math.sqrt(len(z))
    assert (ratio.mean() - kl_divergence(q, p)).abs() < 4 * error


def exact_kl(mean, log_variance):
    """Return KL to the standard normal in nats, computed in 60 digits."""
    with localcontext() as context:
        context.prec = 60
        m, v = Decimal(mean), Decimal(log_variance)
        return float((m * m + v.exp() - 1 - v) / 2)


def standard():
    return Gaussian(torch.zeros(()), torch.zeros(()))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kl", [10.0**e for e in range(-12, 5)])
def test_small_and_large_rates_are_right_in_float32(kl, sign):
    by_mean = (sign * math.sqrt(2 * kl), 0.0)
    by_variance = (0.0, sign * min(2 * math.sqrt(kl), math.log(2 * kl + 1) if kl > 1 else 9.0))
    for pair in (by_mean, by_variance):
        mean, log_variance = (torch.tensor(x) for x in pair)
        ours = kl_divergence(Gaussian(mean, log_variance), standard()).item()
        assert ours == pytest.approx(exact_kl(mean.item(), log_variance.item()), rel=1e-6)


@given(
    st.floats(-100, 100, width=32, allow_subnormal=False),
    st.one_of(st.floats(-10, 10, width=32), st.floats(-(2.0**-10), 2.0**-10, width=32)),
)
def test_rate_is_never_negative(mean, log_variance):
    q = Gaussian(torch.tensor(mean), torch.tensor(log_variance))
    assert kl_divergence(q, standard()) >= 0


def test_soft_clamp_keeps_its_bound_and_a_gradient_outside():
    h = torch.linspace(-40, 40, 101, requires_grad=True)
    kept = soft_clamp(h, 10.0)
    kept.sum().backward()
    assert (kept.abs() <= 10).all()
    assert (h.grad > 0).all()
    assert soft_clamp(torch.tensor(1e4), 10.0) == 10


def test_rate_after_a_soft_clamp_has_the_gradient_of_finite_differences():
    mean, h = (torch.randn(4).double().requires_grad_() for _ in range(2))
    zero = torch.zeros(4).double()
    prior = Gaussian(zero, zero)
    assert gradcheck(lambda m, h: kl_divergence(Gaussian(m, soft_clamp(h, 5)), prior), (mean, h))


# Choices among classes


def corners(choices, classes):
    """Return every one-hot event of so many choices, with shape (classes ** choices, C)."""
    picks = torch.cartesian_prod(*[torch.arange(classes)] * choices).reshape(-1, choices)
    return torch.nn.functional.one_hot(picks, classes).double().flatten(1)


def choices(*lead, temperature=None, straight=False):
    """Return two choices among three classes each."""
    heat = None if temperature is None else torch.tensor(temperature)
    return OneHot(torch.randn(*lead, 6).double(), 3, 1, heat, straight)


def test_choices_add_up_to_one_and_are_those_of_torch():
    q, p = choices(4), choices()
    z = corners(2, 3)[:, None]
    torch.testing.assert_close(q.log_prob(z).exp().sum(0), torch.ones(4).double())
    theirs, others = (Independent(td.OneHotCategorical(logits=d.logits), 1) for d in (q, p))
    torch.testing.assert_close(q.log_prob(z), theirs.log_prob(z.unflatten(-1, (2, 3))))
    torch.testing.assert_close(q.mean, theirs.mean.flatten(-2))
    torch.testing.assert_close(q.variance, theirs.variance.flatten(-2))
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(theirs, others))


def test_kl_of_choices_is_the_sum_over_all_of_them():
    q, p, z = choices(4), choices(), corners(2, 3)[:, None]
    exact = (q.log_prob(z).exp() * (q.log_prob(z) - p.log_prob(z))).sum(0)
    torch.testing.assert_close(kl_divergence(q, p), exact)
    uniform = OneHot(torch.zeros(6).double(), 3)
    entropy = -(q.logits.exp() * q.logits).sum((-1, -2))
    torch.testing.assert_close(kl_divergence(q, uniform), 2 * math.log(3) - entropy)


@pytest.mark.parametrize("temperature", [None, 0.1, 5.0])
@pytest.mark.parametrize("straight", [False, True])
def test_draws_of_choices_choose_with_their_probabilities(temperature, straight):
    q = choices(temperature=temperature, straight=straight)
    z = q.rsample((DRAWS // 10,)).unflatten(-1, (2, 3))
    torch.testing.assert_close(z.sum(-1), torch.ones(z.shape[:-1]).double())
    if straight or temperature is None:
        assert ((z == 0) | (z == 1)).all()
    else:
        assert ((z > 0) & (z < 1)).any(-1).any()
    # The largest of a relaxed draw is the choice, whatever the temperature.
    chosen = torch.nn.functional.one_hot(z.argmax(-1), 3).double().mean(0)
    assert ((chosen - q.logits.exp()).abs() < 5 * math.sqrt(0.25 / len(z))).all()


def test_relaxed_draws_have_the_moments_of_those_of_torch():
    q = choices(temperature=0.67)
    theirs = td.RelaxedOneHotCategorical(torch.tensor(0.67).double(), logits=q.logits)
    ours, others = q.rsample((40_000,)).unflatten(-1, (2, 3)), theirs.rsample((40_000,))
    for power in (1, 2, 3):
        one, other = ours.pow(power), others.pow(power)
        error = ((one.var(0) + other.var(0)) / 40_000).sqrt()
        assert ((one.mean(0) - other.mean(0)).abs() < 5 * error).all()


def test_straight_draws_have_the_gradient_of_relaxed_ones():
    logits, lean = torch.randn(5, 6).double(), torch.arange(6).double()
    grads = []
    for straight in (False, True):
        torch.manual_seed(1)
        h = logits.clone().requires_grad_()
        z = OneHot(h, 3, 1, torch.tensor(0.7), straight).rsample((8,))
        grads.append(torch.autograd.grad((z * lean).sum(), h)[0])
    torch.testing.assert_close(*grads)
    assert grads[0].abs().sum() > 0


def test_choices_over_maps_are_by_channel():
    logits = torch.randn(4, 6, 2, 2).double()
    q = OneHot(logits, 3, 3)
    z = q.sample((5,))
    assert z.shape == (5, 4, 6, 2, 2)
    assert (z[:, :, :3].sum(2) == 1).all() and (z[:, :, 3:].sum(2) == 1).all()
    places = {(i, j): OneHot(logits[:, :, i, j], 3) for i in (0, 1) for j in (0, 1)}
    alone = sum(place.log_prob(z[..., i, j]) for (i, j), place in places.items())
    torch.testing.assert_close(q.log_prob(z), alone)
    torch.testing.assert_close(q.mean[:, :, 1, 0], places[1, 0].mean)


def test_far_choices_are_finite_and_so_are_their_gradients():
    far = torch.tensor([1e4, -1e4, 0.0], requires_grad=True)
    q, p = OneHot(far, 3, 1, torch.tensor(0.1)), OneHot(torch.zeros(3), 3)
    (q.rsample((3,)).square().sum() + kl_divergence(q, p)).backward()
    assert far.grad.isfinite().all()
    assert kl_divergence(q, p).item() == pytest.approx(math.log(3))


def joint(*lead):
    shape = (*lead, 2)
    normal = Gaussian(torch.randn(shape).double(), torch.randn(shape).double())
    return Product(Independent(normal, 1), OneHot(torch.randn(*lead, 3).double(), 3))


def test_joint_is_its_parts_side_by_side():
    q, p = joint(4), joint()
    z = q.rsample((7,))
    assert (q.batch_shape, q.event_shape, z.shape) == ((4,), (5,), (7, 4, 5))
    normal, choice = q.parts
    parts = normal.log_prob(z[..., :2]) + choice.log_prob(z[..., 2:])
    torch.testing.assert_close(q.log_prob(z), parts)
    torch.testing.assert_close(q.mean, torch.cat([normal.mean, choice.mean], -1))
    torch.testing.assert_close(q.variance, torch.cat([normal.variance, choice.variance], -1))
    first, second = kl_per_factor(q, p)
    torch.testing.assert_close(first, kl_divergence(normal, p.parts[0]))
    torch.testing.assert_close(second, kl_divergence(choice, p.parts[1]))
    torch.testing.assert_close(kl_divergence(q, p), first + second)


def test_joint_without_a_closed_form_has_no_closed_kl():
    laplace = Independent(td.Laplace(torch.zeros(2), torch.ones(2)), 1)
    assert analytic_kl(joint(4), Product(laplace, joint().parts[1])) is None
