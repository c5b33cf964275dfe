"""Laws that every posterior keeps, beside the prior that it goes with. A new one is one row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import pytest
import torch

from varied import likelihoods
from varied.distributions import analytic_kl
from varied.errors import VariedError
from varied.models import VAE
from varied.objectives import elbo, reconstruction_only
from varied.posteriors import (
    IAF,
    POSTERIORS,
    Deterministic,
    Flow,
    Gaussian,
    GaussianGumbel,
    GumbelSoftmax,
    VonMisesFisher,
)
from varied.posteriors.delta_gaussian import DeltaGaussian
from varied.priors import StandardNormal
from varied.quantizers import QUANTIZERS
from varied.schedules import parse_number
from varied.tensor_io import read_tensors, write_tensors
from varied.trace import ConditionalDistribution, Level

categorical = import_module("varied.priors.categorical")
hyperspherical = import_module("varied.priors.hyperspherical")


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
    "gaussian-narrow": Row(partial(Gaussian, logvar_bound=1.0)),
    "delta": Row(DeltaGaussian),
    "deterministic": Row(Deterministic),
    "iaf": Row(partial(IAF, width=16)),
    "iaf-one": Row(partial(IAF, n_transforms=1, width=8)),
    **{
        f"flow-{kind}": Row(partial(Flow, flow=kind, width=16))
        for kind in ("nsf-coupling", "realnvp", "nsf", "maf")
    },
    "vmf": Row(VonMisesFisher, hyperspherical.HypersphericalUniform, ((2,), (3,), (16,))),
    "gumbel": Row(
        partial(GumbelSoftmax, n_classes=3), partial(categorical.Categorical, n_classes=3), CHOICES
    ),
    "gumbel-hard": Row(
        partial(GumbelSoftmax, n_classes=3, straight_through=True),
        partial(categorical.Categorical, n_classes=3),
        CHOICES,
    ),
    "joint": Row(
        partial(GaussianGumbel, n_classes=3),
        partial(categorical.GaussianCategorical, n_classes=3),
        PAIRS,
    ),
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
    return "density" in row.head.provides


def closed(row):
    head = row.head
    return (
        dense(row)
        and analytic_kl(head(torch.zeros(1, *head.param_shape)), row.prior(head.event_shape)())
        is not None
    )


def test_every_posterior_is_tried():
    tried = {type(row.head) for row in ROWS.values()}
    assert set(POSTERIORS.values()) - set(QUANTIZERS.values()) <= tried


@rows_and_events
def test_draws_have_samples_first(row, event):
    head = row.make(event)
    q = head(torch.randn(4, *head.param_shape))
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
        q = head(torch.randn(*lead, *head.param_shape))
        assert q.batch_shape == lead
        assert q.rsample((5,)).shape == (5, *lead, *event)
        if dense(row):
            assert q.log_prob(q.rsample((5,))).shape == (5, *lead)
            assert q.log_prob(q.mean).shape == lead


@rows_and_events
def test_gradient_of_a_draw_reaches_the_network_and_all_parameters(row, event):
    head = row.make(event)
    h = torch.randn(4, *head.param_shape, requires_grad=True)
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
        h = torch.full((2, *head.param_shape), far)
        h[1] *= -1
        h[0, 0] += 1
        q = head(h.requires_grad_())
        z = q.rsample((5,))
        assert z.isfinite().all()
        assert q.mean.isfinite().all() and q.variance.isfinite().all()
        loss = (z * torch.randn_like(z)).mean()
        if dense(row):
            loss = loss + Level(z, q, row.prior(head.event_shape)()).kl.sum()
        assert loss.isfinite()
        loss.backward()
        assert h.grad.isfinite().all()


@some(closed)
@pytest.mark.parametrize("which", range(3))
def test_kl_is_the_mean_log_ratio_of_draws(row, which):
    event = row.events[which]
    head = row.make(event).eval()
    q, p = head(torch.randn(1, *head.param_shape)), row.prior(event)()
    level = Level(q.rsample((20_000,)), q, p)
    ratio = -level.log_ratio[:, 0]
    error = ratio.std() / math.sqrt(len(ratio))
    assert (ratio.mean() - level.kl[0, 0]).abs() < 4 * error


@some(dense)
def test_the_variance_that_is_told_is_that_of_draws(row):
    head = row.make(row.events[1]).eval()
    q = head(torch.randn(1, *head.param_shape))
    drawn = q.sample((10_000,)).var(0)
    # A flow estimates it from 64 fixed draws.
    rtol = 0.25 if isinstance(head, IAF | Flow) else 0.08
    torch.testing.assert_close(drawn, q.variance, atol=5e-3, rtol=rtol)


@some(dense)
def test_density_is_the_same_a_second_time_and_by_itself(row):
    head = row.make(row.events[1]).double().eval()
    h = torch.randn(3, *head.param_shape).double()
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
    h = torch.randn(3, *head.param_shape)
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
    h = torch.randn(2, *first.param_shape)
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
@pytest.mark.parametrize("part", [Gaussian, IAF, Flow, VonMisesFisher, GaussianGumbel])
def test_a_bad_bound_is_refused(part, bound):
    with pytest.raises(VariedError, match="must be above 0"):
        name = "log_kappa_bound" if part is VonMisesFisher else "logvar_bound"
        part((30,), **{name: bound})


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
    p, z = prior(), row.make(event).eval()(torch.zeros(9, *row.make(event).param_shape)).sample()
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


def test_priors_of_choices_are_the_formula():
    z = torch.cat([torch.randn(8, 2), torch.eye(3)[torch.arange(8) % 3]], 1)
    normal = StandardNormal((2,))().log_prob(z[:, :2])
    both = categorical.GaussianCategorical((5,), n_classes=3)().log_prob(z)
    torch.testing.assert_close(both, normal - math.log(3))
    two = categorical.Categorical((6,), n_classes=3)().log_prob(torch.cat([z[:, 2:], z[:, 2:]], 1))
    torch.testing.assert_close(two, torch.full((8,), -2 * math.log(3)))


# Choices among classes


@pytest.mark.parametrize(
    "make", [GumbelSoftmax, partial(GaussianGumbel, n_classes=8)], ids=["gumbel", "joint"]
)
def test_choices_are_relaxed_in_training_and_made_in_evaluation(make):
    head = make((16,))
    h = torch.randn(50, *head.param_shape)
    relaxed, made = head.train()(h).rsample()[:, 8:], head.eval()(h).rsample()[:, 8:]
    assert ((relaxed > 0) & (relaxed < 1)).any(1).all()
    assert ((made == 0) | (made == 1)).all()
    assert (made.sum(1) == 1).all()


def test_temperature_may_move_and_is_not_saved():
    head = GumbelSoftmax((8,), temperature=parse_number("linear(2, 0.5, 10)"))
    assert not head.state_dict()
    logits, largest = torch.zeros(2000, 8), []
    for step in (0, 5, 10):
        head.temperature.set_step(step)
        largest.append(head(logits).rsample().amax(1).mean().item())
    assert largest == sorted(largest)
    assert largest[0] + 0.1 < largest[2]
    head.temperature.set_step(99)
    assert head.temperature.value == 0.5


@pytest.mark.parametrize("low", [0.0, -1.0, "linear(1, 0, 10)", "cosine(0, 1, 0.5)"])
def test_a_temperature_of_zero_is_refused(low):
    with pytest.raises(VariedError, match="must stay above 0"):
        GumbelSoftmax((8,), temperature=parse_number(low))


@pytest.mark.parametrize(
    ("alone", "both"),
    [(GumbelSoftmax, GaussianGumbel), (categorical.Categorical, categorical.GaussianCategorical)],
    ids=["posterior", "prior"],
)
def test_channels_that_do_not_divide_into_choices_are_refused(alone, both):
    with pytest.raises(VariedError, match="latent=16 does not divide"):
        alone((16,), n_classes=10)
    with pytest.raises(VariedError, match="latent=20"):
        both((10,), n_classes=10)
    with pytest.raises(VariedError, match="n_classes=1"):
        alone((16,), n_classes=1)


class Fixed(torch.nn.Module):
    """A net that puts out the same numbers for every input."""

    def __init__(self, size):
        super().__init__()
        self.register_buffer("value", torch.randn(size))

    def forward(self, b):
        return self.value.expand(len(b), -1)


def test_importance_weights_of_choices_are_those_of_every_choice():
    head, prior = GumbelSoftmax((6,), n_classes=3), categorical.Categorical((6,), n_classes=3)
    decoder = ConditionalDistribution(
        torch.nn.Linear(6, 1), likelihoods.Gaussian((1,), scale=0.7), (6,)
    )
    model = VAE(ConditionalDistribution(Fixed(6), head, (1,)), decoder, prior).double().eval()
    x, eye = torch.tensor([[0.4]]).double(), torch.eye(3).double()
    with torch.no_grad():
        every = torch.stack([torch.cat([a, b]) for a in eye for b in eye])[:, None]
        log_joint = decoder(every).log_prob(x) + prior().log_prob(every)
        log_q = model.encoder(x).log_prob(every)
        trace = model(x, samples=400)
        index = (trace.levels[0].z == every[:, 0]).all(-1).int().argmax(1)
        torch.testing.assert_close(trace.log_weight[:, 0], (log_joint - log_q)[index, 0])
        # The bound that is reported, as the sum over all nine.
        elbo = (log_q.exp() * (log_joint - log_q)).sum(0)
        exact = (log_q.exp() * decoder(every).log_prob(x)).sum(0) - trace.levels[0].kl[0]
        torch.testing.assert_close(elbo, exact)
        assert elbo < log_joint.logsumexp(0)


def test_importance_weights_of_a_joint_average_to_the_evidence():
    head, prior = (
        GaussianGumbel((4,), n_classes=3),
        categorical.GaussianCategorical((4,), n_classes=3),
    )
    decoder = ConditionalDistribution(
        torch.nn.Linear(4, 1), likelihoods.Gaussian((1,), scale=0.7), (4,)
    )
    model = VAE(ConditionalDistribution(Fixed(5), head, (1,)), decoder, prior).double().eval()
    model.encoder.net.value[1] = 1.0
    x = torch.tensor([[0.4]]).double()
    with torch.no_grad():
        line = torch.linspace(-10, 10, 2001, dtype=torch.float64).repeat(3)[:, None]
        every = torch.cat([line, torch.eye(3).double().repeat_interleave(2001, 0)], 1)[:, None]
        log_joint = decoder(every).log_prob(x) + prior().log_prob(every)
        evidence = log_joint.logsumexp(0) + math.log(20 / 2000)
        weights = (model(x, samples=20_000).log_weight - evidence).exp()
    error = weights.std() / math.sqrt(len(weights))
    assert error < 0.05
    assert (weights.mean() - 1).abs() < 4 * error


# In a model


@rows
@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("samples", [1, 5])
def test_trains_in_a_model(row, precision, samples):
    event = row.events[1]
    head, size = row.make(event), math.prod(event)
    inner = torch.nn.Linear(6, math.prod(head.param_shape))
    encoder = torch.nn.Sequential(inner, torch.nn.Unflatten(1, head.param_shape))
    decoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(size, 6))
    given = ConditionalDistribution(decoder, likelihoods.Bernoulli((6,)), event)
    model = VAE(ConditionalDistribution(encoder, head, (6,)), given, row.prior(event))
    model.encoder.precision = model.decoder.precision = precision
    objective = elbo() if dense(row) else reconstruction_only()
    x = torch.tensor([1.0, 0, 1, 0, 1, 0]).repeat(32, 1)
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    losses = []
    for step in range(8):
        loss, _ = objective(model(x, samples=samples), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    trace = model(x, samples=samples)
    assert trace.log_px.shape == (samples, len(x))
    if dense(row):
        assert trace.log_weight.shape == trace.levels[0].kl.shape == (samples, len(x))
        assert trace.log_weight.dtype == torch.float32
