"""Laws that every posterior keeps, beside the prior that it goes with. A new one is one row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch

from varied.distributions import closed_kl
from varied.errors import VariedError
from varied.posteriors import IAF, POSTERIORS, Flow, Gaussian, Gumbel, Joint, Point, VonMisesFisher
from varied.posteriors.committed import DeltaGaussian
from varied.priors import StandardNormal, categorical, sphere
from varied.tensors import read_tensors, write_tensors
from varied.trace import Level


@dataclass(frozen=True)
class Row:
    """A posterior, the prior that it goes with, and latents that it can be over."""

    make: Any
    prior: Any = StandardNormal
    events: tuple[tuple[int, ...], ...] = ((1,), (5,), (2, 3, 3))

    @property
    def head(self):
        return self.make(self.events[0])


CHOICES = ((3,), (6,), (6, 2, 2))
PAIRS = ((4,), (8,), (5, 2, 2))

ROWS = {
    "gaussian": Row(Gaussian),
    "gaussian-narrow": Row(partial(Gaussian, bound=1.0)),
    "delta": Row(DeltaGaussian),
    "point": Row(Point),
    "iaf": Row(partial(IAF, width=16)),
    "iaf-one": Row(partial(IAF, transforms=1, width=8)),
    **{
        f"flow-{kind}": Row(partial(Flow, kind=kind, width=16))
        for kind in ("nsf-coupling", "realnvp", "nsf", "maf")
    },
    "vmf": Row(VonMisesFisher, sphere.HypersphericalUniform, ((2,), (3,), (16,))),
    "gumbel": Row(partial(Gumbel, classes=3), partial(categorical.Categorical, classes=3), CHOICES),
    "gumbel-hard": Row(
        partial(Gumbel, classes=3, hard=True), partial(categorical.Categorical, classes=3), CHOICES
    ),
    "joint": Row(partial(Joint, classes=3), partial(categorical.Joint, classes=3), PAIRS),
}


def some(wanted=lambda row: True):
    """Run a law over those rows for which it is one."""
    found = {name: row for name, row in ROWS.items() if wanted(row)}
    return pytest.mark.parametrize("row", found.values(), ids=found)


rows = some()
rows_and_events = pytest.mark.parametrize(
    ("row", "event"),
    [(row, event) for row in ROWS.values() for event in row.events],
    ids=[f"{name}-{event}" for name, row in ROWS.items() for event in row.events],
)


def dense(row):
    return "density" in row.head.gives


def closed(row):
    head = row.head
    return (
        dense(row)
        and closed_kl(head(torch.zeros(1, *head.raw)), row.prior(head.event)()) is not None
    )


def test_every_posterior_is_tried():
    assert {type(row.head) for row in ROWS.values()} >= set(POSTERIORS.values())


@rows_and_events
def test_draws_have_samples_first(row, event):
    head = row.make(event)
    q = head(torch.randn(4, *head.raw))
    assert q.batch_shape == (4,)
    assert q.event_shape == event
    assert q.rsample((6,)).shape == (6, 4, *event)
    assert q.sample().shape == (4, *event)
    assert not q.sample((2,)).requires_grad
    assert q.mean.shape == q.variance.shape == (4, *event)


@rows_and_events
def test_any_leading_dimensions(row, event):
    head = row.make(event)
    for lead in ((), (3,), (2, 3)):
        q = head(torch.randn(*lead, *head.raw))
        assert q.batch_shape == lead
        assert q.rsample((5,)).shape == (5, *lead, *event)
        if dense(row):
            assert q.log_prob(q.rsample((5,))).shape == (5, *lead)
            assert q.log_prob(q.mean).shape == lead


@rows_and_events
def test_gradient_of_a_draw_reaches_the_network_and_all_parameters(row, event):
    head = row.make(event)
    h = torch.randn(4, *head.raw, requires_grad=True)
    z = head(h).rsample((6,))
    # Not the squares: those of a direction add up to 1 whatever it is.
    (z * torch.randn_like(z)).sum().backward()
    assert h.grad.isfinite().all()
    assert (h.grad != 0).any(0).all()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name


@rows
def test_finite_far_out(row):
    head = row.head
    for far in (-1e4, 0.0, 1e4):
        h = torch.full((2, *head.raw), far)
        h[1] *= -1
        h[0, 0] += 1
        q = head(h.requires_grad_())
        z = q.rsample((5,))
        assert z.isfinite().all()
        assert q.mean.isfinite().all() and q.variance.isfinite().all()
        loss = (z * torch.randn_like(z)).mean()
        if dense(row):
            loss = loss + Level(z, q, row.prior(head.event)()).kl.sum()
        assert loss.isfinite()
        loss.backward()
        assert h.grad.isfinite().all()


@some(closed)
@pytest.mark.parametrize("which", range(3))
def test_kl_is_the_mean_log_ratio_of_draws(row, which):
    event = row.events[which]
    head = row.make(event).eval()
    q, p = head(torch.randn(1, *head.raw)), row.prior(event)()
    level = Level(q.rsample((20_000,)), q, p)
    ratio = -level.log_ratio[:, 0]
    error = ratio.std() / math.sqrt(len(ratio))
    assert (ratio.mean() - level.kl[0, 0]).abs() < 4 * error


@some(dense)
def test_the_variance_that_is_told_is_that_of_draws(row):
    head = row.make(row.events[1]).eval()
    q = head(torch.randn(1, *head.raw))
    drawn = q.sample((10_000,)).var(0)
    # A flow estimates it from 64 fixed draws.
    rtol = 0.25 if isinstance(head, IAF | Flow) else 0.08
    torch.testing.assert_close(drawn, q.variance, atol=5e-3, rtol=rtol)


@some(dense)
def test_density_is_the_same_a_second_time_and_by_itself(row):
    head = row.make(row.events[1]).double().eval()
    h = torch.randn(3, *head.raw).double()
    q = head(h)
    z = q.rsample((4,))
    torch.testing.assert_close(q.log_prob(z), q.log_prob(z.clone()), atol=1e-9, rtol=1e-9)
    for row_of, own in zip(h, z.unbind(1), strict=True):
        alone = head(row_of[None]).log_prob(own[:, None].clone())[:, 0]
        index = int((h == row_of).flatten(1).all(1).nonzero())
        torch.testing.assert_close(alone, q.log_prob(z)[:, index], atol=1e-9, rtol=1e-9)


@rows
def test_same_noise_same_draws(row):
    head = row.make(row.events[1])
    h = torch.randn(3, *head.raw)
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append(head(h).rsample((4,)))
    assert torch.equal(*drawn)


@rows
def test_weights_go_to_disk_and_back(row, tmp_path):
    first, second = row.make(row.events[1]), row.make(row.events[1])
    path = write_tensors(tmp_path / "weights", first.state_dict())
    second.load_state_dict(read_tensors(path)[0])
    h = torch.randn(2, *first.raw)
    assert torch.equal(first(h).mean, second(h).mean)


@some(lambda row: isinstance(row.head, Gaussian))
def test_what_is_logged_is_the_kl_of_what_was_sampled(row):
    head = row.make((1,))
    q = head(torch.tensor([0.0, 50.0]))
    drawn = q.rsample((200_000,)).var()
    torch.testing.assert_close(drawn, q.variance.squeeze(), atol=0, rtol=0.02)


def test_a_diverged_spread_can_return():
    head = Gaussian((1,))
    h = torch.tensor([0.0, 60.0], requires_grad=True)
    Level(torch.zeros(1, 1), head(h), StandardNormal((1,))()).kl.sum().backward()
    assert h.grad[1] > 0


@pytest.mark.parametrize("bound", [0.0, -1.0])
@pytest.mark.parametrize("part", [Gaussian, IAF, Flow, VonMisesFisher, Joint])
def test_a_bad_bound_is_refused(part, bound):
    with pytest.raises(VariedError, match="must be above 0"):
        part((30,), bound=bound)


# Spaces


@rows
def test_a_posterior_lies_where_its_prior_does(row):
    space = row.head.space
    assert getattr(row.prior(row.events[0]), "space", "real") == space
    assert space.startswith(type(row.head).space)


# The priors that go with them; test_priors.py has the others


@rows_and_events
def test_its_prior_is_a_distribution_over_the_same_latents(row, event):
    prior = row.prior(event)
    p, z = prior(), row.make(event).eval()(torch.zeros(9, *row.make(event).raw)).sample()
    assert p.batch_shape == ()
    assert p.event_shape == z.shape[1:]
    assert p.sample((9,)).shape == (9, *event)
    assert p.mean.shape == p.variance.shape == event
    assert p.log_prob(z).shape == (9,)
    assert p.log_prob(z[:, None]).shape == (9, 1)
    assert not list(prior.parameters()) and not prior.state_dict()
    assert prior(torch.randn(3, 2)).batch_shape == ()


def test_standard_normal_is_the_formula():
    z = torch.randn(8, 5)
    wanted = -(z.square() + math.log(2 * math.pi)).sum(1) / 2
    torch.testing.assert_close(StandardNormal((5,))().log_prob(z), wanted)
