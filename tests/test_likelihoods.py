"""Laws that every likelihood keeps. A new one is one row of ROWS.

The laws are plain functions of a row, so that a likelihood from elsewhere can be held to them too.
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
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    Gaussian,
    Laplace,
    Likelihood,
    TableRow,
)

EVENTS = [(1, 5, 5), (3, 4, 6), (7,)]


@dataclass(frozen=True)
class Row:
    """A likelihood with its settings, and the grid of its data (0 is [0, 1], -1 is the line)."""

    make: Callable[..., Likelihood]
    grid: int

    def draw(self, *shape):
        """Return data such as it is a likelihood for."""
        if self.grid > 0:
            return torch.randint(self.grid, shape) / (self.grid - 1)
        return torch.rand(shape) if self.grid == 0 else torch.randn(shape)


ROWS = {
    "bernoulli": Row(Bernoulli, 2),
    "continuous-bernoulli": Row(ContinuousBernoulli, 0),
    "gaussian": Row(Gaussian, -1),
    "gaussian-fixed": Row(partial(Gaussian, scale=1.0), -1),
    "gaussian-each": Row(partial(Gaussian, scale="heteroscedastic"), -1),
    "gaussian-per-element": Row(partial(Gaussian, scale="per-element"), -1),
    "laplace": Row(Laplace, -1),
    "laplace-fixed": Row(partial(Laplace, scale=0.1), -1),
    "laplace-each": Row(partial(Laplace, scale="heteroscedastic", min_scale=0.01), -1),
    "discretized-logistic": Row(DiscretizedLogistic, 256),
    "discretized-logistic-mixture": Row(DiscretizedLogisticMixture, 256),
    "two-logistics": Row(partial(DiscretizedLogisticMixture, n_components=2), 256),
    "categorical": Row(Categorical, 256),
    "two-categories": Row(partial(Categorical, levels=2), 2),
}

rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
events = pytest.mark.parametrize("event", EVENTS, ids=str)


# The laws


def law_shapes(row: Row, event: tuple[int, ...]) -> None:
    head = row.make(event)
    assert head.param_shape == (head.params_per_element * event[0], *event[1:])
    px = head(torch.randn(2, 3, *head.param_shape))
    assert px.batch_shape == (2, 3)
    assert px.event_shape == event
    assert px.mean.shape == (2, 3, *event)
    assert px.sample().shape == (2, 3, *event)
    assert px.sample((4,)).shape == (4, 2, 3, *event)
    assert px.log_prob(row.draw(3, *event)).shape == (2, 3)
    assert px.log_prob(row.draw(3, *event)).isfinite().all()


def law_adds_up_to_one(row: Row) -> None:
    head = row.make((1,)).double()
    for h in torch.randn(8, *head.param_shape).double() * 2:
        px = head(h)
        x, weight = whole(row, px)
        mass = (px.log_prob(x[:, None]).exp() * weight).sum()
        assert mass.item() == pytest.approx(1, abs=1e-9)


def law_gradient_reaches_every_parameter(row: Row, event: tuple[int, ...]) -> None:
    head = row.make(event)
    h = torch.randn(64, *head.param_shape, requires_grad=True)
    head(h).log_prob(row.draw(64, *event)).sum().backward()
    assert h.grad.isfinite().all()
    assert (h.grad != 0).any(0).all()
    assert all(p.grad is not None and (p.grad != 0).all() for p in head.parameters())


def law_draws_are_data(row: Row, event: tuple[int, ...]) -> None:
    head = row.make(event)
    x = head(torch.randn(500, *head.param_shape)).sample()
    assert x.isfinite().all()
    if row.grid >= 0:
        assert ((x >= 0) & (x <= 1)).all()
    if row.grid > 0:
        steps = x * (row.grid - 1)
        torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)


def law_finite_far_out(row: Row, event: tuple[int, ...]) -> None:
    head = row.make(event)
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


def law_rows_do_not_mix(row: Row, event: tuple[int, ...]) -> None:
    head = row.make(event)
    h, x = torch.randn(4, *head.param_shape), row.draw(4, *event)
    together = head(h).log_prob(x)
    alone = torch.stack([head(one).log_prob(datum) for one, datum in zip(h, x, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-5)


def whole(row: Row, px) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points and weights over all the data there can be."""
    if row.grid > 0:
        return torch.linspace(0, 1, row.grid, dtype=torch.float64), torch.ones(row.grid)
    low, high, scale = (0, 1, None) if row.grid == 0 else (-25, 25, px.stddev.item())
    node, weight = np.polynomial.legendre.leggauss(20)
    edges = np.linspace(low, high, 201)
    half = np.diff(edges)[:, None] / 2
    t, w = (
        torch.from_numpy(a.ravel()) for a in (edges[:-1, None] + half * (node + 1), half * weight)
    )
    # x = m + s sinh(t) reaches far into a heavy tail, and puts a kink at the middle on an edge.
    return (t, w) if scale is None else (px.mean + scale * t.sinh(), w * scale * t.cosh())


# The laws, held


def test_every_likelihood_is_tried():
    made = {type(row.make((1,))) for row in ROWS.values()}
    assert made | {TableRow} == set(LIKELIHOODS.values())  # the rows of tables: test_columns.py


@rows
@events
@pytest.mark.parametrize(
    "law",
    [
        law_shapes,
        law_gradient_reaches_every_parameter,
        law_draws_are_data,
        law_finite_far_out,
        law_rows_do_not_mix,
    ],
)
def test_law(law, row, event):
    law(row, event)


@rows
def test_adds_up_to_one(row):
    law_adds_up_to_one(row)


@rows
def test_mean_is_the_mean_of_draws(row):
    head = row.make((2,))
    px = head(torch.randn(head.param_shape) * 0.5)
    x = px.sample((100_000,))
    slack = 0.05 if "Discretized" in type(head).__name__ else 1e-5  # its mean is before the cut
    assert ((x.mean(0) - px.mean).abs() < 5 * x.std(0) / len(x) ** 0.5 + slack).all()


# What it accepts


def test_each_likelihood_names_the_data_that_it_is_one_for():
    assert all(part.accepts and part.accepts <= ANY | {"table"} for part in LIKELIHOODS.values())
    for domain in ANY:
        assert any(domain in part.accepts for part in LIKELIHOODS.values())
    assert LIKELIHOODS["bernoulli"].accepts == {"binary"}


# Settings


@pytest.mark.parametrize("make", [Gaussian, Laplace])
@pytest.mark.parametrize("bad", [0, -1, "0", "wide", math.inf, math.nan, ""])
def test_a_bad_scale_is_refused(make, bad):
    with pytest.raises(
        VariedError,
        match=r"scale=.* must be a number above 0, 'learned', 'per-element' or 'heteroscedastic'",
    ):
        make((3,), scale=bad)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (partial(Gaussian, min_scale=0.0), "min_scale=0.0 must be above 0"),
        (partial(Laplace, min_scale=-1.0), "min_scale=-1.0 must be above 0"),
        (partial(Categorical, levels=1), "levels=1 must be at least 2"),
        (partial(DiscretizedLogisticMixture, n_components=0), "n_components=0 must be at least 1"),
    ],
)
def test_bad_settings_are_refused(make, told):
    with pytest.raises(VariedError, match=told):
        make((3,))


@pytest.mark.parametrize("make", [Gaussian, Laplace])
def test_a_fixed_scale_is_that_scale(make):
    px = make((3,), scale=0.25)(torch.zeros(3))
    variance = 0.25**2 * (2 if make is Laplace else 1)
    torch.testing.assert_close(px.variance, torch.full((3,), variance))


def test_one_learned_scale_has_one_parameter():
    assert sum(p.numel() for p in Gaussian((3, 9, 9)).parameters()) == 1
    assert not list(Gaussian((3,), scale=1.0).parameters())
    assert not list(Gaussian((3,), scale="heteroscedastic").parameters())


def test_the_components_of_a_mixture_start_apart_over_the_gray_levels():
    px = DiscretizedLogisticMixture((1,))(torch.zeros(15)).base_dist
    places = px.component_distribution.loc[0]
    assert (places.diff() > 0.1).all()
    assert px.mean.item() == pytest.approx(0.5)


def test_a_learned_scale_starts_near_a_third():
    scale = Gaussian((3,))(torch.zeros(3)).stddev
    assert ((scale > 0.2) & (scale < 0.5)).all()


# The floor bounds the likelihood: rows that are all alike would else make it infinite


def best(make, floor):
    """Return the most that a duplicate row can score: the density at the middle, at the floor."""
    return -math.log(2 * floor) if make is Laplace else -math.log(floor) - math.log(2 * math.pi) / 2


@pytest.mark.parametrize("make", [Gaussian, Laplace])
@pytest.mark.parametrize("floor", [1 / 510, 0.01, 0.3])
@pytest.mark.parametrize("scale", ["learned", "heteroscedastic"])
def test_the_floor_bounds_the_likelihood_of_duplicate_rows(make, floor, scale):
    x = torch.full((10, 5), 0.37)
    head = make((5,), scale=scale, min_scale=floor)
    for shrink in (-1.0, -5.0, -100.0, -1e4):
        if scale == "learned":
            head.spread.raw.data.fill_(shrink)
        h = x if scale == "learned" else torch.cat([x, torch.full_like(x, shrink)], -1)
        bound = 5 * best(make, floor)
        assert (head(h).log_prob(x) <= bound + 1e-4).all()
    torch.testing.assert_close(head(h).log_prob(x), torch.full((10,), bound), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("make", [Gaussian, Laplace])
def test_a_scale_learned_on_duplicate_rows_comes_to_the_bound_and_stays_finite(make):
    x = torch.full((10, 5), 0.37)
    head = make((5,), min_scale=0.05)
    adam = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(300):
        adam.zero_grad()
        (-head(x).log_prob(x).mean()).backward()
        adam.step()
    assert head(x).log_prob(x).mean().item() == pytest.approx(5 * best(make, 0.05), abs=1e-2)
