"""An objective is a sum of weighted terms, in nats, summed over dimensions, averaged over rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Independent

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
from varied.spec import Plan, Spec, compose
from varied.terms import FreeBits, FreeBitsPerLevel, full_precision, kl, reconstruction
from varied.trace import Level, Trace
from varied.training_loop import Step, train


def standard(dims):
    return Independent(Gaussian(torch.zeros(dims), torch.zeros(dims)), 1)


def made(mean, log_variance, data=5):
    """Return a trace with this posterior, and a decoder that does not look."""
    q = Independent(Gaussian(mean, log_variance), 1)
    z = q.rsample((1,))
    zero = torch.zeros(1, len(mean), data)
    px = Independent(Gaussian(zero, zero), 1)
    return Trace(torch.ones(len(mean), data), px, [Level(z, q, standard(mean.shape[1]))])


def posterior(rows=6, dims=3, scale=1.0):
    mean = (scale * torch.randn(rows, dims)).requires_grad_()
    return mean, (0.3 * torch.randn(rows, dims)).requires_grad_()


# Against an oracle that shares no code with ours


def numpy_of(model):
    return {name: p.detach().numpy() for name, p in model.named_parameters()}


def oracle(w, x, z, likelihood, latent):
    """Return -ELBO of a VAE with one hidden layer each way, from its draws, in NumPy alone."""

    def net(h, side):
        first, second = (f"{side}.net.{i}" for i in (1, 3))
        h = np.maximum(h @ w[f"{first}.weight"].T + w[f"{first}.bias"], 0)
        return h @ w[f"{second}.weight"].T + w[f"{second}.bias"]

    h = net(x.reshape(len(x), -1), "encoder")
    mean, log_variance = h[:, :latent], 10 * np.tanh(h[:, latent:] / 10)
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(1)
    out, x = net(z, "decoder"), x.reshape(len(x), -1)
    if likelihood == "bernoulli":
        chance = 1 / (1 + np.exp(-out))
        log_px = (x * np.log(chance) + (1 - x) * np.log(1 - chance)).sum(1)
    else:
        floor = np.log(1 / 510)
        log_scale = floor + np.log1p(np.exp(30 * np.tanh(likelihood / 30) - floor))
        square = ((x - out) / np.exp(log_scale)) ** 2
        log_px = (-0.5 * np.log(2 * np.pi) - log_scale - square / 2).sum(1)
    return (kl - log_px).mean(), kl.mean(), -log_px.mean()


@pytest.mark.parametrize("name", ["bernoulli", "gaussian"])
def test_loss_is_minus_the_elbo_of_an_independent_oracle(name):
    spec = Spec.of(
        net={"name": "mlp", "width": 32, "depth": 1, "activation": "relu"},
        likelihood=name,
        latent=4,
    )
    model, objective = compose(spec, (1, 5, 5))
    model, objective = model.double(), objective.double()
    x = torch.rand(9, 1, 5, 5).double().round()
    trace = model(x)
    loss, parts = objective(trace)
    kind = name if name == "bernoulli" else 10 * model.decoder.head.scale.raw.item()
    z = trace.levels[0].z[0].detach().numpy()
    wanted = oracle(numpy_of(model), x.numpy(), z, kind, 4)
    told = (loss.item(), parts["kl"].item(), parts["reconstruction"].item())
    assert told == pytest.approx(wanted, rel=1e-6, abs=1e-6)


# The weight of the KL


def test_gradient_in_beta_is_the_kl():
    trace = made(*posterior())
    low, high = (elbo(beta=beta)(trace)[0] for beta in (1.0, 3.0))
    torch.testing.assert_close((high - low) / 2, kl(trace).mean())


@pytest.mark.parametrize("free_bits", [0.0, 0.1])
def test_a_schedule_moves_the_weight(free_bits):
    trace = made(*posterior())
    objective = elbo(beta=Linear(0, 2, 4), free_bits=free_bits)
    name = objective.names[1]
    for step, beta in ((0, 0.0), (2, 1.0), (4, 2.0), (99, 2.0), (1, 0.5)):
        loss, parts = objective(trace, step)
        assert objective.weight(name) == parts["beta"].item() == beta
        torch.testing.assert_close(loss, parts["reconstruction"] + beta * parts[name])


def test_the_beta_that_was_told_does_not_move_on():
    trace, objective = made(*posterior()), elbo(beta=Linear(0, 2, 4))
    told = objective(trace, 2)[1]["beta"]
    objective.set_step(4)
    assert told == 1


def test_numbers_that_move_are_not_saved():
    assert not elbo(beta=Linear(0, 2, 4), free_bits=0.1).state_dict()
    assert not ScheduledValue(3.0).state_dict()


def test_a_dial_without_a_schedule_stays():
    dial = ScheduledValue(3.0)
    dial.set_step(100)
    assert dial.value == 3


# What is told


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
def test_parts_are_unweighted_nats_whatever_the_terms(objective):
    trace = made(*posterior())
    parts = objective(trace, 0)[1]
    torch.testing.assert_close(parts["reconstruction"], reconstruction(trace).mean())
    if "density" in objective.requires:
        torch.testing.assert_close(parts["kl"], kl(trace).mean())
    assert all(not value.requires_grad and value.dim() == 0 for value in parts.values())


def test_distortion_is_told_where_it_is_no_term():
    parts = Objective(WeightedTerm("kl", kl))(made(*posterior()))[1]
    assert set(parts) == {"reconstruction", "kl", "beta"}


def test_an_autoencoder_has_no_rate():
    mean, _ = posterior()
    trace = made(*posterior())
    q = Independent(Delta(mean), 1)
    trace.levels = [Level(q.rsample((1,)), q, standard(3))]
    loss, parts = reconstruction_only()(trace)
    assert set(parts) == {"reconstruction"}
    assert loss == parts["reconstruction"]


def test_a_loss_is_the_weighted_sum_of_its_terms():
    trace = made(*posterior())
    objective = Objective(WeightedTerm("a", reconstruction, 2.0), WeightedTerm("b", kl, 0.5))
    loss, parts = objective(trace)
    torch.testing.assert_close(loss, 2 * parts["a"] + 0.5 * parts["b"])
    assert objective.requires == {"density"}


# Sums over dimensions, means over rows


@pytest.mark.parametrize(
    "objective", [elbo(), elbo(4.0), elbo(free_bits=0.2), reconstruction_only()]
)
def test_twice_the_batch_changes_nothing(objective):
    mean, log_variance = posterior()
    once = made(mean, log_variance)
    twice = made(torch.cat([mean, mean]), torch.cat([log_variance, log_variance]))
    torch.testing.assert_close(objective(once)[0], objective(twice)[0])


@pytest.mark.parametrize("free_bits", [0.0, 0.2])
def test_twice_the_latents_is_twice_the_rate(free_bits):
    mean, log_variance = posterior()
    wide = made(torch.cat([mean, mean], 1), torch.cat([log_variance, log_variance], 1))
    name = "free_bits_kl" if free_bits else "kl"
    once, twice = (
        elbo(free_bits=free_bits)(trace)[1][name] for trace in (made(mean, log_variance), wide)
    )
    torch.testing.assert_close(twice, 2 * once)


def test_twice_the_data_is_twice_the_distortion():
    once, twice = (made(*posterior(), data=n) for n in (5, 10))
    torch.testing.assert_close(reconstruction(twice), 2 * reconstruction(once))


def test_terms_give_one_number_a_row():
    trace = made(*posterior(rows=6))
    for term in (reconstruction, kl, FreeBits(0.1), FreeBits(0.0), FreeBitsPerLevel(0.1)):
        assert term(trace).shape == (6,)


def test_weights_of_samples_apply_to_every_term():
    spec = Spec.of(net={"name": "mlp", "width": 8}, latent=3)
    trace = compose(spec, (5,))[0](torch.rand(4, 5).round(), samples=2)
    trace.weights = torch.tensor([[1.0], [0.0]]).expand(2, 4)
    torch.testing.assert_close(reconstruction(trace), -trace.log_px[0])


# Free bits


def in_bits(trace, nats):
    mean, log_variance = trace
    loss = FreeBits(nats)(made(mean, log_variance)).mean()
    return loss, *torch.autograd.grad(loss, (mean, log_variance), allow_unused=True)


def test_a_dimension_below_gets_no_gradient_and_one_above_gets_the_plain():
    pair = posterior(rows=50)
    with torch.no_grad():
        pair[0][:, 0] *= 0.01
        pair[1][:, 0] *= 0.01
        pair[0][:, 1:] += 3
    _, free_mean, free_variance = in_bits(pair, 0.5)
    plain = torch.autograd.grad(kl(made(*pair)).mean(), pair)
    for free, whole in zip((free_mean, free_variance), plain, strict=True):
        assert (free[:, 0] == 0).all()
        assert (whole[:, 0] != 0).any()
        torch.testing.assert_close(free[:, 1:], whole[:, 1:])


def test_the_free_nats_are_of_the_mean_over_the_batch():
    # Half the rows carry nothing and half carry 2 nats: their mean, 1, is above 0.5, so all pay.
    mean = torch.tensor([[0.0], [2.0]], requires_grad=True)
    cost = FreeBits(0.5)(made(mean, torch.zeros(2, 1)))
    torch.testing.assert_close(cost, torch.tensor([0.0, 2.0]))


def test_all_below_costs_the_free_nats_alone():
    trace = made(torch.zeros(4, 3), torch.zeros(4, 3))
    torch.testing.assert_close(FreeBits(0.25)(trace), torch.full((4,), 0.75))


def test_no_free_bits_is_the_plain_bound():
    trace = made(*posterior())
    assert elbo(free_bits=0.0).names == elbo().names == ["reconstruction", "kl"]
    torch.testing.assert_close(FreeBits(0.0)(trace), kl(trace))


def test_free_bits_may_move():
    trace = made(torch.zeros(4, 3), torch.zeros(4, 3))
    objective = elbo(free_bits=Linear(1.0, 0.0, 10))
    assert [objective(trace, step)[1]["free_bits_kl"].item() for step in (0, 5, 10)] == [3, 1.5, 0]


# Free nats by level, and ladders


def ladder(*scales, rows=4, samples=1):
    """Return a trace whose levels carry so much, each with a posterior for each draw."""
    trace, levels = made(torch.zeros(rows, 2), torch.zeros(rows, 2)), []
    for scale in scales:
        mean = (scale * torch.ones(samples, rows, 2)).requires_grad_()
        q = Independent(Gaussian(mean, torch.zeros_like(mean)), 1)
        levels.append(Level(q.rsample(), q, standard(2)))
    trace.levels = levels
    return trace


def test_each_level_has_its_free_nats():
    trace = ladder(0.1, 2.0)  # 0.01 and 4 nats
    cost = FreeBitsPerLevel(1.0)(trace)
    torch.testing.assert_close(cost, torch.full((4,), 5.0))
    low, high = (level.q.mean for level in trace.levels)
    slopes = torch.autograd.grad(cost.sum(), (low, high), allow_unused=True)
    assert slopes[0] is None or not slopes[0].any()
    torch.testing.assert_close(slopes[1], high)


def test_free_nats_of_a_level_are_of_the_mean_over_the_batch():
    mean = torch.tensor([[0.0], [2.0]], requires_grad=True)
    cost = FreeBitsPerLevel(0.5)(made(mean, torch.zeros(2, 1)))
    torch.testing.assert_close(cost, torch.tensor([0.0, 2.0]))


@pytest.mark.parametrize("weighted", [False, True])
def test_free_bits_of_a_ladder_are_means_over_its_draws(weighted):
    trace = ladder(1.0, 3.0, samples=2)
    with torch.no_grad():
        trace.levels[0].q.mean[1] *= 3  # 0.5 nats a dimension in one draw, 4.5 in the other
    wanted = 2 * (0.5 + 4.5) / 2
    if weighted:
        trace.weights = torch.tensor([[0.75], [0.25]]).expand(2, 4)
        wanted = 2 * (0.75 * 0.5 + 0.25 * 4.5)
    free = FreeBits(0.1)(trace)
    assert free.shape == (4,)
    torch.testing.assert_close(free, torch.full((4,), wanted + 9.0))
    torch.testing.assert_close(free, kl(trace))
    torch.testing.assert_close(FreeBitsPerLevel(0.1)(trace), kl(trace))


def test_the_weight_of_free_nats_is_beta():
    parts = elbo(beta=2.0, free_bits_per_level=3.0)(made(*posterior()))[1]
    assert parts["beta"] == 2
    assert set(parts) == {"reconstruction", "free_bits_kl", "kl", "beta"}


# Refusals, and the table


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: elbo(beta=-1), "objective='reconstruction'"),
        (lambda: elbo(free_bits=0.1, free_bits_per_level=1.0), "by dimension .* or by level"),
        (lambda: ms_ssim(ssim_weight=-1.0), "weight=-1.0 must not be below 0"),
        (lambda: ms_ssim(beta=-1.0), "beta=-1.0 must not be below 0"),
    ],
)
def test_bad_settings_are_refused(make, told):
    with pytest.raises(VariedError, match=told):
        make()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_of_the_table_is_made_without_settings(name):
    objective = OBJECTIVES[name]()
    assert isinstance(objective, Objective)
    assert objective.requires <= {"density", "marginals", "codes", "parts"}
    assert objective.samples >= 1


PICTURES = {"ms-ssim", "vae-gan", "patchgan"}
#: Settings that take another way through the code.
OTHERS = [
    {"name": "elbo", "free_bits_per_level": 1.0},
    {"name": "iwae", "gradient_estimator": "dreg"},
    {"name": "iwae", "n_kept": 2},
    {"name": "dip-vae", "variant": "ii"},
    {"name": "beta-tc-vae", "dataset_size": 1000},
    {"name": "wae-mmd", "kernel": "rbf"},
    {"name": "rae", "regularizer": "gp"},
    {"name": "annealed-capacity", "capacity": 3.0},
]
EVERY = [*({"name": name} for name in OBJECTIVES), *OTHERS]


def trained(objective, precision="float32", steps=2, **parts):
    shape = (1, 16, 16) if objective["name"] in PICTURES else (6,)
    spec = Spec.of(
        objective=objective,
        net={"name": "mlp", "width": 16},
        latent=3,
        plan=Plan(steps=steps, batch_size=8, precision=precision, compile="no", threads=1, lr=1e-2),
        **parts,
    )
    model, made_objective = compose(spec, shape)
    batches = Batches(torch.rand(32, *shape).round(), size=8, seed=0)
    step = Step(model, made_objective)
    return step, list(train(step, batches, spec.plan))


#: Objectives of other structures, which have tests of their own.
STRUCTURED = {"m2", "m1m2"}


def is_plain(objective):
    """Whether one level of Gaussian latents is enough: no codes and no classes are read."""
    reads = OBJECTIVES[objective["name"]]().requires
    return objective["name"] not in STRUCTURED and reads <= {"density", "marginals"}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("objective", [o for o in EVERY if is_plain(o)], ids=str)
def test_every_objective_trains_and_tells(objective, precision):
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


NO_RATE = {"reconstruction", "rae", "wae-mmd"}


@pytest.mark.parametrize("name", sorted(NO_RATE))
def test_points_train_with_what_reads_no_density(name):
    _, events = trained({"name": name}, posterior="deterministic")
    assert {"kl", "beta"}.isdisjoint(events[-1].parts)


@pytest.mark.parametrize("objective", [o for o in EVERY if is_plain(o)], ids=str)
def test_every_objective_has_a_value_without_gradients(objective):
    step, _ = trained(objective, steps=1)
    shape = step.model.event_shape
    with torch.no_grad():
        loss, parts = step(torch.rand(5, *shape).round())
    assert loss.isfinite()
    assert all(torch.as_tensor(value).isfinite() for value in parts.values())


def test_a_precise_term_is_itself_and_in_float32():
    @full_precision
    def term(trace):
        """Multiply."""
        return (trace.x @ trace.x.T).sum(1)

    assert term.__name__ == "term"
    trace = made(*posterior())
    trace.x = torch.rand(6, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (trace.x @ trace.x.T).dtype == torch.bfloat16
        assert term(trace).dtype == torch.float32
