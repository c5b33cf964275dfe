"""Objectives: weighted sums of terms, in nats, summed over dimensions and averaged over rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent
from traces import posterior, posterior_trace, standard_normal

from varied.composition import compose
from varied.data.batches import Batches
from varied.distributions import Delta, Gaussian
from varied.errors import VariedError
from varied.objectives import (
    OBJECTIVES,
    Objective,
    WeightedTerm,
    elbo,
    ms_ssim,
    reconstruction_only,
)
from varied.scheduled_value import ScheduledValue
from varied.schedules import Linear
from varied.spec import Plan, Spec
from varied.terms import FreeBits, MixedReconstruction, full_precision, kl, reconstruction
from varied.trace import Level
from varied.training_loop import train
from varied.training_step import Step

# Against an independent implementation in NumPy


def numpy_elbo(params, x, z, likelihood, latent):
    """Return the negative ELBO, the KL and the reconstruction of a VAE with one hidden layer."""

    def net(h, side):
        first, second = (f"{side}.net.{i}" for i in (1, 3))
        h = np.maximum(h @ params[f"{first}.weight"].T + params[f"{first}.bias"], 0)
        return h @ params[f"{second}.weight"].T + params[f"{second}.bias"]

    h = net(x.reshape(len(x), -1), "encoder")
    mean, log_variance = h[:, :latent], 10 * np.tanh(h[:, latent:] / 10)
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(1)
    out, x = net(z, "decoder"), x.reshape(len(x), -1)
    if likelihood == "bernoulli":
        p = 1 / (1 + np.exp(-out))
        log_px = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(1)
    else:
        floor = np.log(1 / 510)
        log_scale = floor + np.log1p(np.exp(30 * np.tanh(likelihood / 30) - floor))
        square = ((x - out) / np.exp(log_scale)) ** 2
        log_px = (-0.5 * np.log(2 * np.pi) - log_scale - square / 2).sum(1)
    return (kl - log_px).mean(), kl.mean(), -log_px.mean()


@pytest.mark.parametrize("name", ["bernoulli", "gaussian"])
def test_loss_is_the_negative_elbo(name):
    spec = Spec.parse(
        net={"name": "mlp", "width": 32, "depth": 1, "activation": "relu"},
        likelihood=name,
        latent=4,
    )
    model, objective = compose(spec, (1, 5, 5))
    model, objective = model.double(), objective.double()
    x = torch.rand(9, 1, 5, 5).double().round()
    trace = model(x)
    loss, parts = objective(trace)
    likelihood = name if name == "bernoulli" else 10 * model.decoder.head.scale.raw.item()
    params = {name: p.detach().numpy() for name, p in model.named_parameters()}
    z = trace.levels[0].z[0].detach().numpy()
    expected = numpy_elbo(params, x.numpy(), z, likelihood, 4)
    actual = (loss.item(), parts["kl"].item(), parts["reconstruction"].item())
    assert actual == pytest.approx(expected, rel=1e-6, abs=1e-6)


# Weights


def test_loss_is_the_weighted_sum_of_the_terms():
    objective = Objective(WeightedTerm("a", reconstruction, 2.0), WeightedTerm("b", kl, 0.5))
    loss, parts = objective(posterior_trace(*posterior()))
    torch.testing.assert_close(loss, 2 * parts["a"] + 0.5 * parts["b"])
    assert objective.requires == {"density"}


def test_function_can_be_a_term():
    objective = Objective(WeightedTerm("a", lambda trace: trace.x.sum(1)))
    assert objective(posterior_trace(*posterior(), data=5))[0] == 5
    assert not objective.requires


@pytest.mark.parametrize("free_bits", [0.0, 0.1])
def test_weight_can_be_scheduled(free_bits):
    trace = posterior_trace(*posterior())
    objective = elbo(beta=Linear(0, 2, 4), free_bits=free_bits)
    name = objective.names[1]
    for step, beta in ((0, 0.0), (2, 1.0), (4, 2.0), (99, 2.0), (1, 0.5)):
        loss, parts = objective(trace, step)
        assert objective.weight(name) == parts["beta"].item() == beta
        torch.testing.assert_close(loss, parts["reconstruction"] + beta * parts[name])


def test_mixed_reconstruction_replaces_a_part_of_the_likelihood_by_a_gaussian():
    trace = posterior_trace(*posterior())
    trace.x = torch.randn(6, 5)
    trace.mask = torch.ones_like(trace.x)
    trace.mask[0, 0] = 0
    error = (trace.x - trace.px.mean).square() * trace.mask
    variance = error.sum() / trace.mask.sum() / len(error)
    gaussian = torch.distributions.Normal(0, variance.sqrt()).log_prob(error.sqrt())
    expected = -trace.expect(((gaussian - math.log(255)) * trace.mask).sum(-1))
    for weight in (0.0, 0.3, 1.0):
        mixture = (1 - weight) * reconstruction(trace) + weight * expected
        torch.testing.assert_close(MixedReconstruction(weight)(trace), mixture)
    torch.testing.assert_close(MixedReconstruction(3.0)(trace), expected)


def test_the_weight_of_a_gaussian_can_decrease_to_zero():
    trace, objective = posterior_trace(*posterior()), elbo(gaussian_weight=Linear(1, 0, 4))
    trace.x = 2 * trace.x
    loss, parts = objective(trace, 2)
    torch.testing.assert_close(parts["reconstruction"], reconstruction(trace).mean())
    torch.testing.assert_close(loss, parts["mixed_reconstruction"] + parts["kl"])
    assert parts["mixed_reconstruction"] != parts["reconstruction"]
    loss, parts = objective(trace, 4)
    torch.testing.assert_close(loss, parts["reconstruction"] + parts["kl"])


def test_reported_beta_does_not_change_with_the_next_step():
    trace, objective = posterior_trace(*posterior()), elbo(beta=Linear(0, 2, 4))
    beta = objective(trace, 2)[1]["beta"]
    objective.set_step(4)
    assert beta == 1


def test_scheduled_values_are_not_saved():
    assert not elbo(beta=Linear(0, 2, 4), free_bits=0.1).state_dict()
    assert not ScheduledValue(3.0).state_dict()


def test_constant_weight_does_not_change():
    weight = ScheduledValue(3.0)
    weight.set_step(100)
    assert weight.value == 3


# Reported parts


@pytest.mark.parametrize(
    "objective",
    [
        elbo(),
        elbo(4.0),
        elbo(free_bits=0.5),
        elbo(0.0),
        elbo(Linear(0, 1, 9)),
        reconstruction_only(),
    ],
)
def test_reported_reconstruction_and_kl_are_unweighted(objective):
    trace = posterior_trace(*posterior())
    parts = objective(trace, 0)[1]
    torch.testing.assert_close(parts["reconstruction"], reconstruction(trace).mean())
    if "density" in objective.requires:
        torch.testing.assert_close(parts["kl"], kl(trace).mean())
    assert all(not value.requires_grad and value.dim() == 0 for value in parts.values())


def test_reconstruction_is_reported_without_such_a_term():
    parts = Objective(WeightedTerm("kl", kl))(posterior_trace(*posterior()))[1]
    assert set(parts) == {"reconstruction", "kl", "beta"}


def test_autoencoder_reports_no_kl():
    trace, (mean, _) = posterior_trace(*posterior()), posterior()
    q = Independent(Delta(mean), 1)
    trace.levels = [Level(q.rsample((1,)), q, standard_normal(3))]
    loss, parts = reconstruction_only()(trace)
    assert set(parts) == {"reconstruction"}
    assert loss == parts["reconstruction"]


def test_free_bits_report_beta_and_the_plain_kl():
    parts = elbo(beta=2.0, free_bits_per_level=3.0)(posterior_trace(*posterior()))[1]
    assert parts["beta"] == 2
    assert set(parts) == {"reconstruction", "free_bits_kl", "kl", "beta"}


# Sums over dimensions, means over rows


@pytest.mark.parametrize(
    "objective", [elbo(), elbo(4.0), elbo(free_bits=0.2), reconstruction_only()]
)
def test_loss_does_not_depend_on_repeated_rows(objective):
    mean, log_variance = posterior()
    once = posterior_trace(mean, log_variance)
    twice = posterior_trace(torch.cat([mean, mean]), torch.cat([log_variance, log_variance]))
    torch.testing.assert_close(objective(once)[0], objective(twice)[0])


@pytest.mark.parametrize("free_bits", [0.0, 0.2])
def test_kl_is_a_sum_over_latent_dimensions(free_bits):
    mean, log_variance = posterior()
    wide = torch.cat([mean, mean], 1), torch.cat([log_variance, log_variance], 1)
    name = "free_bits_kl" if free_bits else "kl"
    once, twice = (
        elbo(free_bits=free_bits)(posterior_trace(*q))[1][name]
        for q in ((mean, log_variance), wide)
    )
    torch.testing.assert_close(twice, 2 * once)


def test_reconstruction_is_a_sum_over_data_dimensions():
    once, twice = (posterior_trace(*posterior(), data=n) for n in (5, 10))
    torch.testing.assert_close(reconstruction(twice), 2 * reconstruction(once))


@pytest.mark.parametrize(
    "term", [reconstruction, kl, FreeBits(0.1), FreeBits(0.0), FreeBits(0.1, "level")]
)
def test_term_has_one_value_per_row(term):
    assert term(posterior_trace(*posterior(rows=6))).shape == (6,)


def test_terms_use_the_weights_of_the_draws():
    spec = Spec.parse(net={"name": "mlp", "width": 8}, latent=3)
    trace = compose(spec, (5,))[0](torch.rand(4, 5).round(), samples=2)
    trace.weights = torch.tensor([[1.0], [0.0]]).expand(2, 4)
    torch.testing.assert_close(reconstruction(trace), -trace.log_px[0])


# Free bits


def test_dimension_below_the_minimum_gets_no_gradient():
    mean, log_variance = posterior(rows=50)
    with torch.no_grad():
        mean[:, 0] *= 0.01
        log_variance[:, 0] *= 0.01
        mean[:, 1:] += 3
    gradients, of_kl = (
        torch.autograd.grad(term(posterior_trace(mean, log_variance)).mean(), (mean, log_variance))
        for term in (FreeBits(0.5), kl)
    )
    for gradient, expected in zip(gradients, of_kl, strict=True):
        assert (gradient[:, 0] == 0).all()
        assert (expected[:, 0] != 0).any()
        torch.testing.assert_close(gradient[:, 1:], expected[:, 1:])


@pytest.mark.parametrize("per", ["dimension", "level"])
def test_minimum_applies_to_the_batch_mean(per):
    # The KLs are 0 and 2 nats; their mean of 1 exceeds the minimum of 0.5.
    mean = torch.tensor([[0.0], [2.0]], requires_grad=True)
    value = FreeBits(0.5, per)(posterior_trace(mean, torch.zeros(2, 1)))
    torch.testing.assert_close(value, torch.tensor([0.0, 2.0]))


def test_collapsed_posterior_has_the_minimum_per_dimension():
    trace = posterior_trace(torch.zeros(4, 3), torch.zeros(4, 3))
    torch.testing.assert_close(FreeBits(0.25)(trace), torch.full((4,), 0.75))


def test_zero_free_bits_are_the_elbo():
    trace = posterior_trace(*posterior())
    assert elbo(free_bits=0.0).names == elbo().names == ["reconstruction", "kl"]
    torch.testing.assert_close(FreeBits(0.0)(trace), kl(trace))


def test_free_bits_can_be_scheduled():
    trace = posterior_trace(torch.zeros(4, 3), torch.zeros(4, 3))
    objective = elbo(free_bits=Linear(1.0, 0.0, 10))
    values = [objective(trace, step)[1]["free_bits_kl"].item() for step in (0, 5, 10)]
    assert values == [3, 1.5, 0]


def ladder_trace(*scales, rows=4, samples=1):
    """Return a trace with one level per scale, which is the posterior mean in all dimensions."""
    trace, levels = posterior_trace(torch.zeros(rows, 2), torch.zeros(rows, 2)), []
    for scale in scales:
        mean = (scale * torch.ones(samples, rows, 2)).requires_grad_()
        q = Independent(Gaussian(mean, torch.zeros_like(mean)), 1)
        levels.append(Level(q.rsample(), q, standard_normal(2)))
    trace.levels = levels
    return trace


def test_minimum_per_level():
    trace = ladder_trace(0.1, 2.0)  # 0.01 and 4 nats
    value = FreeBits(1.0, "level")(trace)
    torch.testing.assert_close(value, torch.full((4,), 5.0))
    low, high = (level.q.mean for level in trace.levels)
    gradients = torch.autograd.grad(value.sum(), (low, high), allow_unused=True)
    assert gradients[0] is None or not gradients[0].any()
    torch.testing.assert_close(gradients[1], high)


@pytest.mark.parametrize("weighted", [False, True])
def test_free_bits_of_a_ladder_are_means_over_draws(weighted):
    trace = ladder_trace(1.0, 3.0, samples=2)
    with torch.no_grad():
        trace.levels[0].q.mean[1] *= 3  # 0.5 nats per dimension in one draw, 4.5 in the other
    expected = 2 * (0.5 + 4.5) / 2
    if weighted:
        trace.weights = torch.tensor([[0.75], [0.25]]).expand(2, 4)
        expected = 2 * (0.75 * 0.5 + 0.25 * 4.5)
    value = FreeBits(0.1)(trace)
    torch.testing.assert_close(value, torch.full((4,), expected + 9.0))
    torch.testing.assert_close(value, kl(trace))
    torch.testing.assert_close(FreeBits(0.1, "level")(trace), kl(trace))


# Settings and errors


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda: elbo(beta=-1), "objective='reconstruction'"),
        (lambda: elbo(free_bits=0.1, free_bits_per_level=1.0), "cannot be combined"),
        (lambda: elbo(gaussian_weight=-1), "gaussian_weight=-1 must not be negative"),
        (lambda: FreeBits(0.1, "unit"), "must be 'dimension' or 'level'"),
        (lambda: ms_ssim(ssim_weight=-1.0), "ssim_weight=-1.0 must not be negative"),
        (lambda: ms_ssim(beta=-1.0), "beta=-1.0 must not be negative"),
    ],
)
def test_invalid_settings_raise(create, message):
    with pytest.raises(VariedError, match=message):
        create()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_has_defaults(name):
    objective = OBJECTIVES[name]()
    assert isinstance(objective, Objective)
    assert objective.requires <= {"density", "marginals", "codes", "parts"}
    assert objective.samples >= 1


# Every objective in the training loop

NEEDS_IMAGES = {"ms-ssim", "vae-gan", "patchgan"}
#: Objectives of other architectures, which have their own tests.
NEEDS_CLASSES = {"m2", "m1m2"}
#: Settings that select a different implementation.
VARIANTS = [
    {"name": "elbo", "free_bits_per_level": 1.0},
    {"name": "elbo", "gaussian_weight": "linear(1, 0, 0.5)"},
    {"name": "iwae", "gradient_estimator": "dreg"},
    {"name": "iwae", "n_kept": 2},
    {"name": "dip-vae", "variant": "ii"},
    {"name": "beta-tc-vae", "dataset_size": 1000},
    {"name": "wae-mmd", "kernel": "rbf"},
    {"name": "rae", "regularizer": "gp"},
    {"name": "annealed-capacity", "capacity": 3.0},
]
#: The objectives that require only one level of Gaussian latent variables.
FOR_A_VAE = [
    *(
        {"name": name}
        for name in OBJECTIVES
        if name not in NEEDS_CLASSES and OBJECTIVES[name]().requires <= {"density", "marginals"}
    ),
    *VARIANTS,
]
every_objective = pytest.mark.parametrize("objective", FOR_A_VAE, ids=str)


def trained(objective, precision="float32", steps=2, **parts):
    """Return the training step and the events of a short training run."""
    shape = (1, 16, 16) if objective["name"] in NEEDS_IMAGES else (6,)
    spec = Spec.parse(
        objective=objective,
        net={"name": "mlp", "width": 16},
        latent=3,
        plan=Plan(steps=steps, batch_size=8, precision=precision, compile="no", threads=1, lr=1e-2),
        **parts,
    )
    step = Step(*compose(spec, shape))
    batches = Batches(torch.rand(32, *shape).round(), size=8, seed=0)
    return step, list(train(step, batches, spec.plan))


@every_objective
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_objective_trains(objective, precision):
    step, events = trained(objective, precision)
    assert len(events) == 2
    assert events[-1].state.skipped == 0
    for event in events:
        parts = event.parts
        assert {"loss", "reconstruction"} <= parts.keys()
        assert ("kl" in parts) == ("density" in step.objective.requires)
        assert ("beta" in parts) == bool({"kl", "free_bits_kl"} & set(step.objective.names))
        assert all(torch.as_tensor(value).isfinite() for value in parts.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in step.model.parameters())


@every_objective
def test_every_objective_has_a_value_without_gradients(objective):
    step, _ = trained(objective, steps=1)
    with torch.no_grad():
        loss, parts = step(torch.rand(5, *step.model.event_shape).round())
    assert loss.isfinite()
    assert all(torch.as_tensor(value).isfinite() for value in parts.values())


@pytest.mark.parametrize("name", ["reconstruction", "rae", "wae-mmd"])
def test_objectives_without_a_density_train_a_deterministic_encoder(name):
    _, events = trained({"name": name}, posterior="deterministic")
    assert {"kl", "beta"}.isdisjoint(events[-1].parts)


def test_full_precision_disables_autocast_and_keeps_the_name():
    @full_precision
    def gram(trace):
        return (trace.x @ trace.x.T).sum(1)

    assert gram.__name__ == "gram"
    trace = posterior_trace(*posterior())
    trace.x = torch.rand(6, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (trace.x @ trace.x.T).dtype == torch.bfloat16
        assert gram(trace).dtype == torch.float32
