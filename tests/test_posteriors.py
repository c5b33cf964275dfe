"""Tests that every posterior passes with its matching prior. To test a new one, add a row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
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
    DeltaGaussian,
    Deterministic,
    Flow,
    Gaussian,
    GaussianGumbel,
    GumbelSoftmax,
    VonMisesFisher,
)
from varied.priors import (
    Categorical,
    GaussianCategorical,
    HypersphericalUniform,
    StandardNormal,
)
from varied.quantizers import QUANTIZERS
from varied.schedules import parse_number
from varied.tensor_io import read_tensors, write_tensors
from varied.trace import ConditionalDistribution, Level


@dataclass(frozen=True)
class Row:
    """A posterior, the matching prior, and shapes of latents."""

    make: Any
    prior: Any = StandardNormal
    events: tuple[tuple[int, ...], ...] = ((1,), (5,), (2, 3, 3))

    @property
    def head(self):
        return self.make(self.events[0])

    @property
    def has_density(self):
        return "density" in self.head.provides

    @property
    def has_analytic_kl(self):
        q = self.head(torch.zeros(1, *self.head.param_shape))
        return self.has_density and analytic_kl(q, self.prior(self.events[0])()) is not None


ROWS = {
    "gaussian": Row(Gaussian),
    "gaussian-narrow": Row(partial(Gaussian, logvar_bound=1.0)),
    "delta": Row(DeltaGaussian),
    "deterministic": Row(Deterministic),
    "iaf": Row(partial(IAF, width=16)),
    "iaf-single": Row(partial(IAF, n_transforms=1, width=8)),
    **{
        f"flow-{flow}": Row(partial(Flow, flow=flow, width=16))
        for flow in ("nsf-coupling", "realnvp", "nsf", "maf")
    },
    "vmf": Row(VonMisesFisher, HypersphericalUniform, ((2,), (3,), (16,))),
    **{
        name: Row(
            partial(GumbelSoftmax, n_classes=3, straight_through=straight_through),
            partial(Categorical, n_classes=3),
            ((3,), (6,), (6, 2, 2)),
        )
        for name, straight_through in (("gumbel", False), ("gumbel-straight-through", True))
    },
    "gaussian-gumbel": Row(
        partial(GaussianGumbel, n_classes=3),
        partial(GaussianCategorical, n_classes=3),
        ((4,), (8,), (5, 2, 2)),
    ),
}


def over(condition=lambda row: True):
    """Parametrize a test over the rows that satisfy a condition."""
    selected = {name: row for name, row in ROWS.items() if condition(row)}
    return pytest.mark.parametrize("row", selected.values(), ids=selected)


rows = over()
with_density = over(lambda row: row.has_density)
rows_and_events = pytest.mark.parametrize(
    ("row", "event"),
    [(row, event) for row in ROWS.values() for event in row.events],
    ids=[f"{name}-{event}" for name, row in ROWS.items() for event in row.events],
)


def test_every_posterior_has_a_row():
    covered = {type(row.head) for row in ROWS.values()}
    assert set(POSTERIORS.values()) - set(QUANTIZERS.values()) <= covered


@rows_and_events
def test_shapes(row, event):
    head = row.make(event)
    q = head(torch.randn(4, *head.param_shape))
    assert q.batch_shape == (4,)
    assert q.event_shape == event
    assert q.rsample((6,)).shape == (6, 4, *event)
    assert q.sample().shape == (4, *event)
    assert not q.sample((2,)).requires_grad
    assert q.mean.shape == q.variance.shape == (4, *event)


@rows_and_events
@pytest.mark.parametrize("lead", [(), (3,), (2, 3)], ids=str)
def test_leading_dimensions(row, event, lead):
    head = row.make(event)
    q = head(torch.randn(*lead, *head.param_shape))
    assert q.batch_shape == lead
    assert q.rsample((5,)).shape == (5, *lead, *event)
    if row.has_density:
        assert q.log_prob(q.rsample((5,))).shape == (5, *lead)
        assert q.log_prob(q.mean).shape == lead


@rows_and_events
def test_gradient_of_a_sample_reaches_the_network_and_all_parameters(row, event):
    head = row.make(event)
    h = torch.randn(4, *head.param_shape, requires_grad=True)
    z = head(h).rsample((6,))
    # Not the sum of squares, which is 1 for every point on a sphere.
    (z * torch.randn_like(z)).sum().backward()
    assert h.grad.isfinite().all()
    assert (h.grad != 0).any(0).all()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name


@rows
@pytest.mark.parametrize("size", [-1e4, 0.0, 1e4])
def test_extreme_network_outputs_result_in_finite_values_and_gradients(row, size):
    head = row.head
    h = torch.full((2, *head.param_shape), size)
    h[1] *= -1
    h[0, 0] += 1
    q = head(h.requires_grad_())
    z = q.rsample((5,))
    assert z.isfinite().all()
    assert q.mean.isfinite().all() and q.variance.isfinite().all()
    loss = (z * torch.randn_like(z)).mean()
    if row.has_density:
        loss = loss + Level(z, q, row.prior(head.event_shape)()).kl.sum()
    assert loss.isfinite()
    loss.backward()
    assert h.grad.isfinite().all()


@over(lambda row: row.has_analytic_kl)
@pytest.mark.parametrize("which", range(3))
def test_analytic_kl_equals_the_mean_log_ratio_of_samples(row, which):
    event = row.events[which]
    head = row.make(event).eval()
    q, p = head(torch.randn(1, *head.param_shape)), row.prior(event)()
    level = Level(q.rsample((20_000,)), q, p)
    ratio = -level.log_ratio[:, 0]
    error = ratio.std() / math.sqrt(len(ratio))
    assert (ratio.mean() - level.kl[0, 0]).abs() < 4 * error


@with_density
def test_variance_equals_that_of_samples(row):
    head = row.make(row.events[1]).eval()
    q = head(torch.randn(1, *head.param_shape))
    # Flows estimate their variance from 64 fixed samples.
    rtol = 0.25 if isinstance(head, IAF | Flow) else 0.08
    torch.testing.assert_close(q.sample((10_000,)).var(0), q.variance, atol=5e-3, rtol=rtol)


@with_density
def test_density_is_reproducible_and_independent_of_the_batch(row):
    head = row.make(row.events[1]).double().eval()
    h = torch.randn(3, *head.param_shape).double()
    q = head(h)
    z = q.rsample((4,))
    log_prob = q.log_prob(z)
    torch.testing.assert_close(log_prob, q.log_prob(z.clone()), atol=1e-9, rtol=1e-9)
    for i in range(3):
        single = head(h[i : i + 1]).log_prob(z[:, i : i + 1].clone())
        torch.testing.assert_close(single, log_prob[:, i : i + 1], atol=1e-9, rtol=1e-9)


@rows
def test_samples_depend_only_on_the_seed(row):
    head = row.make(row.events[1])
    h = torch.randn(3, *head.param_shape)
    samples = []
    for _ in range(2):
        torch.manual_seed(5)
        samples.append(head(h).rsample((4,)))
    assert torch.equal(*samples)


@rows
def test_weights_can_be_saved_and_loaded(row, tmp_path):
    first, second = row.make(row.events[1]), row.make(row.events[1])
    path = write_tensors(tmp_path / "weights", first.state_dict())
    second.load_state_dict(read_tensors(path)[0])
    h = torch.randn(2, *first.param_shape)
    assert torch.equal(first(h).mean, second(h).mean)


@over(lambda row: isinstance(row.head, Gaussian))
def test_variance_of_a_bounded_gaussian_is_that_of_its_samples(row):
    q = row.make((1,))(torch.tensor([0.0, 50.0]))
    samples = q.rsample((200_000,))
    torch.testing.assert_close(samples.var(), q.variance.squeeze(), atol=0, rtol=0.02)


def test_diverged_log_variance_has_a_gradient():
    h = torch.tensor([0.0, 60.0], requires_grad=True)
    Level(torch.zeros(1, 1), Gaussian((1,))(h), StandardNormal((1,))()).kl.sum().backward()
    assert h.grad[1] > 0


@pytest.mark.parametrize("bound", [0.0, -1.0])
@pytest.mark.parametrize("part", [Gaussian, IAF, Flow, VonMisesFisher, GaussianGumbel])
def test_invalid_bound_is_rejected(part, bound):
    name = "log_kappa_bound" if part is VonMisesFisher else "logvar_bound"
    with pytest.raises(VariedError, match=f"{name}={bound} must be above 0"):
        part((30,), **{name: bound})


@rows
def test_posterior_and_prior_have_the_same_space(row):
    space = row.head.space
    assert row.prior(row.events[0]).space == space
    assert space.startswith(type(row.head).space)


# The matching priors; test_priors.py tests the others


@rows_and_events
def test_prior_is_a_distribution_over_the_same_latents(row, event):
    prior, head = row.prior(event), row.make(event).eval()
    p, z = prior(), head(torch.zeros(9, *head.param_shape)).sample()
    assert p.batch_shape == ()
    assert p.event_shape == z.shape[1:]
    assert p.sample((9,)).shape == (9, *event)
    assert p.mean.shape == p.variance.shape == event
    assert p.log_prob(z).shape == (9,)
    assert p.log_prob(z[:, None]).shape == (9, 1)
    assert not list(prior.parameters()) and not prior.state_dict()
    assert prior(torch.randn(3, 2)).batch_shape == ()


def test_standard_normal_equals_the_formula():
    z = torch.randn(8, 5)
    expected = -(z.square() + math.log(2 * math.pi)).sum(1) / 2
    torch.testing.assert_close(StandardNormal((5,))().log_prob(z), expected)


def test_categorical_priors_equal_the_formula():
    z = torch.cat([torch.randn(8, 2), torch.eye(3)[torch.arange(8) % 3]], 1)
    gaussian = StandardNormal((2,))().log_prob(z[:, :2])
    product = GaussianCategorical((5,), n_classes=3)().log_prob(z)
    torch.testing.assert_close(product, gaussian - math.log(3))
    pair = Categorical((6,), n_classes=3)().log_prob(torch.cat([z[:, 2:], z[:, 2:]], 1))
    torch.testing.assert_close(pair, torch.full((8,), -2 * math.log(3)))


# Categorical posteriors


@pytest.mark.parametrize("make", [GumbelSoftmax, partial(GaussianGumbel, n_classes=8)])
def test_categories_are_relaxed_in_training_and_one_hot_in_evaluation(make):
    head = make((16,))
    h = torch.randn(50, *head.param_shape)
    relaxed, one_hot = head.train()(h).rsample()[:, 8:], head.eval()(h).rsample()[:, 8:]
    assert ((relaxed > 0) & (relaxed < 1)).any(1).all()
    assert ((one_hot == 0) | (one_hot == 1)).all()
    assert (one_hot.sum(1) == 1).all()


def test_scheduled_temperature_changes_and_is_not_saved():
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


@pytest.mark.parametrize("temperature", [0.0, -1.0, "linear(1, 0, 10)", "cosine(0, 1, 0.5)"])
def test_temperature_of_zero_is_rejected(temperature):
    with pytest.raises(VariedError, match="must stay above 0"):
        GumbelSoftmax((8,), temperature=parse_number(temperature))


@pytest.mark.parametrize(
    ("single", "product"),
    [(GumbelSoftmax, GaussianGumbel), (Categorical, GaussianCategorical)],
    ids=["posterior", "prior"],
)
def test_numbers_of_channels_that_do_not_fit_are_rejected(single, product):
    with pytest.raises(VariedError, match=r"latent.* must be a multiple of .*=10"):
        single((16,), n_classes=10)
    with pytest.raises(VariedError, match="latent=20"):
        product((10,), n_classes=10)
    with pytest.raises(VariedError, match="n_classes=1"):
        single((16,), n_classes=1)


class Constant(torch.nn.Module):
    """A network with the same output for every input."""

    def __init__(self, size):
        super().__init__()
        self.register_buffer("value", torch.randn(size))

    def forward(self, b):
        return self.value.expand(len(b), -1)


def small_model(head, prior):
    """Return a VAE in float64 whose data are single numbers."""
    decoder = ConditionalDistribution(
        torch.nn.Linear(*head.event_shape, 1),
        likelihoods.Gaussian((1,), scale=0.7),
        head.event_shape,
    )
    encoder = ConditionalDistribution(Constant(*head.param_shape), head, (1,))
    return VAE(encoder, decoder, prior).double().eval()


def test_importance_weights_of_categories_equal_those_by_enumeration():
    model = small_model(GumbelSoftmax((6,), n_classes=3), Categorical((6,), n_classes=3))
    x, eye = torch.tensor([[0.4]]).double(), torch.eye(3).double()
    with torch.no_grad():
        z = torch.stack([torch.cat([a, b]) for a in eye for b in eye])[:, None]
        log_joint = model.decoder(z).log_prob(x) + model.prior().log_prob(z)
        log_q = model.encoder(x).log_prob(z)
        trace = model(x, samples=400)
        index = (trace.levels[0].z == z[:, 0]).all(-1).int().argmax(1)
        torch.testing.assert_close(trace.log_weight[:, 0], (log_joint - log_q)[index, 0])
        # Compute the ELBO as a sum over all nine combinations.
        elbo = (log_q.exp() * (log_joint - log_q)).sum(0)
        exact = (log_q.exp() * model.decoder(z).log_prob(x)).sum(0) - trace.levels[0].kl[0]
        torch.testing.assert_close(elbo, exact)
        assert elbo < log_joint.logsumexp(0)


def test_importance_weights_of_the_product_average_to_the_evidence():
    head = GaussianGumbel((4,), n_classes=3)
    model = small_model(head, GaussianCategorical((4,), n_classes=3))
    model.encoder.net.value[1] = 1.0
    x = torch.tensor([[0.4]]).double()
    with torch.no_grad():
        line = torch.linspace(-10, 10, 2001, dtype=torch.float64).repeat(3)[:, None]
        z = torch.cat([line, torch.eye(3).double().repeat_interleave(2001, 0)], 1)[:, None]
        log_joint = model.decoder(z).log_prob(x) + model.prior().log_prob(z)
        evidence = log_joint.logsumexp(0) + math.log(20 / 2000)
        weights = (model(x, samples=20_000).log_weight - evidence).exp()
    error = weights.std() / math.sqrt(len(weights))
    assert error < 0.05
    assert (weights.mean() - 1).abs() < 4 * error


# In a model


@rows
@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("samples", [1, 5])
def test_training_a_model_decreases_the_loss(row, precision, samples):
    event = row.events[1]
    head, size = row.make(event), math.prod(event)
    inner = torch.nn.Linear(6, math.prod(head.param_shape))
    encoder = torch.nn.Sequential(inner, torch.nn.Unflatten(1, head.param_shape))
    decoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(size, 6))
    px = ConditionalDistribution(decoder, likelihoods.Bernoulli((6,)), event)
    model = VAE(ConditionalDistribution(encoder, head, (6,)), px, row.prior(event))
    model.encoder.precision = model.decoder.precision = precision
    objective = elbo() if row.has_density else reconstruction_only()
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
    if row.has_density:
        assert trace.log_weight.shape == trace.levels[0].kl.shape == (samples, len(x))
        assert trace.log_weight.dtype == torch.float32
