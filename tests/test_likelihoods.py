"""Properties of all likelihoods. To test a new likelihood, add it to CASES.

The properties are functions of a case, so that they can also be applied to external likelihoods.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch

from varied.errors import VariedError
from varied.likelihoods import (
    ANY,
    LIKELIHOODS,
    AutoregressiveOneHot,
    AutoregressiveTableRow,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    Gaussian,
    Laplace,
    Likelihood,
    NegativeBinomial,
    OneHot,
    Poisson,
    TableRow,
    ZeroInflatedNegativeBinomial,
)

EVENTS = [(1, 5, 5), (3, 4, 6), (7,)]


@dataclass(frozen=True)
class Case:
    """A likelihood with its settings, and the number of levels of its data.

    A number of levels of 0 stands for the interval [0, 1], -1 for the real numbers, and -2 for
    counts.
    """

    build: Callable[..., Likelihood]
    levels: int

    def random_data(self, *shape):
        if self.levels > 0:
            return torch.randint(self.levels, shape) / (self.levels - 1)
        if self.levels == -2:
            return torch.poisson(3 * torch.rand(shape))
        return torch.rand(shape) if self.levels == 0 else torch.randn(shape)


CASES = {
    "bernoulli": Case(Bernoulli, 2),
    "continuous-bernoulli": Case(ContinuousBernoulli, 0),
    "gaussian": Case(Gaussian, -1),
    "gaussian-fixed": Case(partial(Gaussian, scale=1.0), -1),
    "gaussian-heteroscedastic": Case(partial(Gaussian, scale="heteroscedastic"), -1),
    "gaussian-per-element": Case(partial(Gaussian, scale="per-element"), -1),
    "laplace": Case(Laplace, -1),
    "laplace-fixed": Case(partial(Laplace, scale=0.1), -1),
    "laplace-heteroscedastic": Case(partial(Laplace, scale="heteroscedastic", min_scale=0.01), -1),
    "discretized-logistic": Case(DiscretizedLogistic, 256),
    "discretized-logistic-mixture": Case(DiscretizedLogisticMixture, 256),
    "discretized-logistic-mixture-2": Case(
        partial(DiscretizedLogisticMixture, n_components=2), 256
    ),
    "categorical": Case(Categorical, 256),
    "categorical-2": Case(partial(Categorical, levels=2), 2),
    "poisson": Case(Poisson, -2),
    "poisson-without-exposure": Case(partial(Poisson, exposure="none"), -2),
    "negative-binomial": Case(NegativeBinomial, -2),
    "negative-binomial-fixed": Case(partial(NegativeBinomial, exposure="none", dispersion=2.0), -2),
    "negative-binomial-heteroscedastic": Case(
        partial(NegativeBinomial, dispersion="heteroscedastic"), -2
    ),
    "zero-inflated-negative-binomial": Case(ZeroInflatedNegativeBinomial, -2),
    "zero-inflated-negative-binomial-heteroscedastic": Case(
        partial(ZeroInflatedNegativeBinomial, exposure="none", dispersion="heteroscedastic"), -2
    ),
}

all_cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
all_events = pytest.mark.parametrize("event", EVENTS, ids=str)


# Properties


def check_shapes(case: Case, event: tuple[int, ...]) -> None:
    head = case.build(event)
    assert head.param_shape == (head.params_per_element * event[0], *event[1:])
    px = head(torch.randn(2, 3, *head.param_shape))
    assert px.batch_shape == (2, 3)
    assert px.event_shape == event
    assert px.mean.shape == (2, 3, *event)
    assert px.sample().shape == (2, 3, *event)
    assert px.sample((4,)).shape == (4, 2, 3, *event)
    log_prob = px.log_prob(case.random_data(3, *event))
    assert log_prob.shape == (2, 3)
    assert log_prob.isfinite().all()


def check_probability_sums_to_one(case: Case) -> None:
    head = case.build((1,)).double()
    for h in torch.randn(8, *head.param_shape).double() * 2:
        px = head(h)
        x, weight = all_values(case, px)
        total = (px.log_prob(x[:, None]).exp() * weight).sum()
        assert total.item() == pytest.approx(1, abs=1e-9)


def check_every_parameter_has_a_gradient(case: Case, event: tuple[int, ...]) -> None:
    head = case.build(event)
    h = torch.randn(64, *head.param_shape, requires_grad=True)
    head(h).log_prob(case.random_data(64, *event)).sum().backward()
    assert h.grad.isfinite().all()
    assert (h.grad != 0).any(0).all()
    assert all(p.grad is not None and (p.grad != 0).all() for p in head.parameters())


def check_samples_are_in_the_domain(case: Case, event: tuple[int, ...]) -> None:
    head = case.build(event)
    x = head(torch.randn(500, *head.param_shape)).sample()
    assert x.isfinite().all()
    if case.levels >= 0:
        assert ((x >= 0) & (x <= 1)).all()
    if case.levels > 0:
        index = x * (case.levels - 1)
        torch.testing.assert_close(index, index.round(), atol=1e-3, rtol=0)
    if case.levels == -2:
        assert ((x >= 0) & (x == x.round())).all()


def check_extreme_parameters_are_finite(case: Case, event: tuple[int, ...]) -> None:
    head = case.build(event)
    size = math.prod(head.param_shape)
    signs = torch.stack([torch.ones(size), -torch.ones(size), (-1.0) ** torch.arange(size)])
    h = (1e4 * signs).reshape(3, *head.param_shape).requires_grad_()
    px = head(h)
    for x in (torch.zeros(event), torch.ones(event)):
        h.grad = None
        log_px = px.log_prob(x)
        assert log_px.isfinite().all()
        log_px.sum().backward(retain_graph=True)
        assert h.grad.isfinite().all()
    assert px.sample().isfinite().all()
    assert px.mean.isfinite().all()


def check_examples_are_independent(case: Case, event: tuple[int, ...]) -> None:
    head = case.build(event)
    h, x = torch.randn(4, *head.param_shape), case.random_data(4, *event)
    separate = torch.stack([head(params).log_prob(row) for params, row in zip(h, x, strict=True)])
    torch.testing.assert_close(head(h).log_prob(x), separate, atol=1e-4, rtol=1e-5)


def all_values(case: Case, px) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all levels, or the nodes of a quadrature over all data, with their weights."""
    if case.levels > 0:
        return torch.linspace(0, 1, case.levels, dtype=torch.float64), torch.ones(case.levels)
    if case.levels == -2:
        return torch.arange(100_000, dtype=torch.float64), torch.ones(100_000)
    low, high = (0, 1) if case.levels == 0 else (-25, 25)
    node, weight = np.polynomial.legendre.leggauss(20)
    edges = np.linspace(low, high, 201)
    half = np.diff(edges)[:, None] / 2
    t = torch.from_numpy((edges[:-1, None] + half * (node + 1)).ravel())
    w = torch.from_numpy((half * weight).ravel())
    if case.levels == 0:
        return t, w
    # x = m + s sinh(t) reaches far into heavy tails, and places the kink of a Laplace on an edge.
    scale = px.stddev.item()
    return px.mean + scale * t.sinh(), w * scale * t.cosh()


# Tests of the properties


def test_every_likelihood_is_tested():
    tested = {type(case.build((1,))) for case in CASES.values()}
    # See test_table_row.py, test_molecules.py and test_autoregressive_one_hot.py.
    others = {TableRow, AutoregressiveTableRow, OneHot, AutoregressiveOneHot}
    assert tested | others == set(LIKELIHOODS.values())


@all_cases
@all_events
@pytest.mark.parametrize(
    "check",
    [
        check_shapes,
        check_every_parameter_has_a_gradient,
        check_samples_are_in_the_domain,
        check_extreme_parameters_are_finite,
        check_examples_are_independent,
    ],
)
def test_property(check, case, event):
    check(case, event)


@all_cases
def test_probability_sums_to_one(case):
    check_probability_sums_to_one(case)


@all_cases
def test_mean_matches_samples(case):
    head = case.build((2,))
    px = head(torch.randn(head.param_shape) * 0.5)
    x = px.sample((100_000,))
    # The mean of a discretized logistic is that before its tails are clamped.
    tolerance = 0.05 if "Discretized" in type(head).__name__ else 1e-5
    assert ((x.mean(0) - px.mean).abs() < 5 * x.std(0) / len(x) ** 0.5 + tolerance).all()


# Domains


def test_every_domain_has_a_likelihood():
    domains = ANY | {"count"}
    assert all(
        part.accepts and part.accepts <= domains | {"table", "one-hot"}
        for part in LIKELIHOODS.values()
    )
    for domain in domains:
        assert any(domain in part.accepts for part in LIKELIHOODS.values())
    assert LIKELIHOODS["bernoulli"].accepts == {"binary"}


# Settings


@pytest.mark.parametrize("build", [Gaussian, Laplace])
@pytest.mark.parametrize("scale", [0, -1, "0", "wide", math.inf, math.nan, ""])
def test_invalid_scale_is_an_error(build, scale):
    message = r"scale=.* must be a number above 0, 'learned', 'per-element' or 'heteroscedastic'\.$"
    with pytest.raises(VariedError, match=message):
        build((3,), scale=scale)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (partial(Gaussian, min_scale=0.0), "min_scale=0.0 must be above 0"),
        (partial(Laplace, min_scale=-1.0), "min_scale=-1.0 must be above 0"),
        (partial(Categorical, levels=1), "levels=1 must be at least 2"),
        (partial(DiscretizedLogisticMixture, n_components=0), "n_components=0 must be at least 1"),
    ],
)
def test_invalid_setting_is_an_error(build, message):
    with pytest.raises(VariedError, match=message):
        build((3,))


@pytest.mark.parametrize(("build", "variance"), [(Gaussian, 0.25**2), (Laplace, 2 * 0.25**2)])
def test_constant_scale(build, variance):
    px = build((3,), scale=0.25)(torch.zeros(3))
    torch.testing.assert_close(px.variance, torch.full((3,), variance))


@pytest.mark.parametrize(
    ("scale", "count"),
    [("learned", 1), ("per-element", 3 * 9 * 9), (1.0, 0), ("heteroscedastic", 0)],
)
def test_number_of_parameters_of_a_scale(scale, count):
    assert sum(p.numel() for p in Gaussian((3, 9, 9), scale=scale).parameters()) == count


def test_mixture_components_start_at_different_gray_levels():
    px = DiscretizedLogisticMixture((1,))(torch.zeros(15)).base_dist
    assert (px.component_distribution.loc[0].diff() > 0.1).all()
    assert px.mean.item() == pytest.approx(0.5)


def test_learned_scale_starts_near_one_third():
    scale = Gaussian((3,))(torch.zeros(3)).stddev
    assert ((scale > 0.2) & (scale < 0.5)).all()


# The minimum scale bounds the likelihood, which would otherwise be infinite for duplicate rows.


def max_log_density(build, min_scale):
    """Return the log-density at the mode, with the minimum scale."""
    if build is Laplace:
        return -math.log(2 * min_scale)
    return -math.log(min_scale) - math.log(2 * math.pi) / 2


@pytest.mark.parametrize("build", [Gaussian, Laplace])
@pytest.mark.parametrize("min_scale", [1 / 510, 0.01, 0.3])
@pytest.mark.parametrize("scale", ["learned", "heteroscedastic"])
def test_minimum_scale_bounds_the_likelihood_of_duplicate_rows(build, min_scale, scale):
    x = torch.full((10, 5), 0.37)
    head = build((5,), scale=scale, min_scale=min_scale)
    bound = 5 * max_log_density(build, min_scale)
    for raw in (-1.0, -5.0, -100.0, -1e4):
        if scale == "learned":
            head.scale.raw.data.fill_(raw)
        h = x if scale == "learned" else torch.cat([x, torch.full_like(x, raw)], -1)
        assert (head(h).log_prob(x) <= bound + 1e-4).all()
    torch.testing.assert_close(head(h).log_prob(x), torch.full((10,), bound), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("build", [Gaussian, Laplace])
def test_scale_learned_on_duplicate_rows_converges_to_the_minimum(build):
    x = torch.full((10, 5), 0.37)
    head = build((5,), min_scale=0.05)
    adam = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(300):
        adam.zero_grad()
        (-head(x).log_prob(x).mean()).backward()
        adam.step()
    bound = 5 * max_log_density(build, 0.05)
    assert head(x).log_prob(x).mean().item() == pytest.approx(bound, abs=1e-2)
