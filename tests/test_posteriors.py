"""Laws that every posterior and every prior keeps. A new one is one row."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from varied.errors import VariedError
from varied.posteriors import POSTERIORS, Gaussian, Point
from varied.priors import PRIORS, StandardNormal
from varied.trace import Level

ROWS = {
    "gaussian": Gaussian,
    "gaussian-narrow": partial(Gaussian, bound=1.0),
    "point": Point,
}
PRIOR_ROWS = {"standard-normal": StandardNormal}
EVENTS = [(1,), (5,), (2, 3, 3)]

rows = pytest.mark.parametrize("make", ROWS.values(), ids=ROWS)
priors = pytest.mark.parametrize("make", PRIOR_ROWS.values(), ids=PRIOR_ROWS)
events = pytest.mark.parametrize("event", EVENTS, ids=str)


def dense(rows):
    return {name: make for name, make in rows.items() if "density" in make((1,)).gives}


with_density = pytest.mark.parametrize("make", dense(ROWS).values(), ids=dense(ROWS))


def test_every_posterior_and_prior_is_tried():
    assert {type(make((1,))) for make in ROWS.values()} == set(POSTERIORS.values())
    assert {type(make((1,))) for make in PRIOR_ROWS.values()} == set(PRIORS.values())


@rows
@events
def test_draws_have_samples_first(make, event):
    head = make(event)
    q = head(torch.randn(4, *head.raw))
    assert q.batch_shape == (4,)
    assert q.event_shape == event
    assert q.rsample((6,)).shape == (6, 4, *event)
    assert q.mean.shape == (4, *event)


@rows
@events
def test_gradient_of_a_draw_reaches_the_network(make, event):
    head = make(event)
    h = torch.randn(4, *head.raw, requires_grad=True)
    head(h).rsample((6,)).square().sum().backward()
    assert h.grad.isfinite().all()
    assert (h.grad != 0).any(0).all()


@rows
def test_finite_far_out(make):
    head = make((3,))
    for far in (-1e4, 1e4):
        h = torch.full((2, *head.raw), far, requires_grad=True)
        q = head(h)
        z = q.rsample((5,))
        assert z.isfinite().all()
        loss = z.mean() + (Level(z, q, StandardNormal((3,))()).kl.sum() if head.gives else 0)
        assert loss.isfinite()
        loss.backward()
        assert h.grad.isfinite().all()


@with_density
@events
def test_kl_is_the_mean_log_ratio_of_draws(make, event):
    head = make(event)
    q, p = head(torch.randn(1, *head.raw)), StandardNormal(event)()
    level = Level(q.rsample((100_000,)), q, p)
    ratio = -level.log_ratio[:, 0]
    error = ratio.std() / math.sqrt(len(ratio))
    assert (ratio.mean() - level.kl[0, 0]).abs() < 4 * error


@with_density
def test_what_is_logged_is_the_kl_of_what_was_sampled(make):
    head = make((1,))
    q = head(torch.tensor([0.0, 50.0]))
    drawn = q.rsample((200_000,)).var()
    torch.testing.assert_close(drawn, q.variance.squeeze(), atol=0, rtol=0.02)


def test_a_diverged_spread_can_return():
    head = Gaussian((1,))
    h = torch.tensor([0.0, 60.0], requires_grad=True)
    Level(torch.zeros(1, 1), head(h), StandardNormal((1,))()).kl.sum().backward()
    assert h.grad[1] > 0


@pytest.mark.parametrize("bound", [0.0, -1.0])
def test_a_bad_bound_is_refused(bound):
    with pytest.raises(VariedError, match="must be above 0"):
        Gaussian((3,), bound=bound)


@priors
@events
def test_a_prior_is_a_distribution_over_latents(make, event):
    p = make(event)()
    assert p.event_shape == event
    assert p.sample((9,)).shape == (9, *event)
    assert p.log_prob(torch.zeros(9, *event)).shape == (9,)


def test_standard_normal_is_the_formula():
    z = torch.randn(8, 5)
    wanted = -(z.square() + math.log(2 * math.pi)).sum(1) / 2
    torch.testing.assert_close(StandardNormal((5,))().log_prob(z), wanted)


def test_standard_normal_owns_nothing_and_ignores_context():
    prior = StandardNormal((5,))
    assert not list(prior.parameters())
    assert not prior.state_dict()
    assert prior(torch.randn(3, 2)).batch_shape == ()
