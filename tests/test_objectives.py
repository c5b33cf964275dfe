"""An objective is a sum of weighted terms, in nats, summed over dimensions, averaged over rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Independent

from varied.distributions import Gaussian, Point
from varied.errors import VariedError
from varied.objectives import OBJECTIVES, Objective, Weighted, elbo, reconstruction
from varied.schedules import Linear
from varied.spec import Spec, compose
from varied.terms import Dial, FreeBits, distortion, rate
from varied.trace import Level, Trace


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
    kind = name if name == "bernoulli" else 10 * model.decoder.head.spread.raw.item()
    z = trace.levels[0].z[0].detach().numpy()
    wanted = oracle(numpy_of(model), x.numpy(), z, kind, 4)
    told = (loss.item(), parts["rate"].item(), parts["distortion"].item())
    assert told == pytest.approx(wanted, rel=1e-6, abs=1e-6)


# The weight of the KL


def test_gradient_in_beta_is_the_kl():
    trace = made(*posterior())
    low, high = (elbo(beta=beta)(trace)[0] for beta in (1.0, 3.0))
    torch.testing.assert_close((high - low) / 2, rate(trace).mean())


@pytest.mark.parametrize("free_bits", [0.0, 0.1])
def test_a_schedule_moves_the_weight(free_bits):
    trace = made(*posterior())
    objective = elbo(beta=Linear(0, 2, 4), free_bits=free_bits)
    name = objective.names[1]
    for step, beta in ((0, 0.0), (2, 1.0), (4, 2.0), (99, 2.0), (1, 0.5)):
        loss, parts = objective(trace, step)
        assert objective.weight(name) == parts["beta"].item() == beta
        torch.testing.assert_close(loss, parts["distortion"] + beta * parts[name])


def test_the_beta_that_was_told_does_not_move_on():
    trace, objective = made(*posterior()), elbo(beta=Linear(0, 2, 4))
    told = objective(trace, 2)[1]["beta"]
    objective.turn(4)
    assert told == 1


def test_numbers_that_move_are_not_saved():
    assert not elbo(beta=Linear(0, 2, 4), free_bits=0.1).state_dict()
    assert not Dial(3.0).state_dict()


def test_a_dial_without_a_schedule_stays():
    dial = Dial(3.0)
    dial.turn(100)
    assert dial.value == 3


# What is told


@pytest.mark.parametrize(
    "objective",
    [elbo(), elbo(4.0), elbo(free_bits=0.5), elbo(0.0), elbo(Linear(0, 1, 9)), reconstruction()],
)
def test_parts_are_unweighted_nats_whatever_the_terms(objective):
    trace = made(*posterior())
    parts = objective(trace, 0)[1]
    torch.testing.assert_close(parts["distortion"], distortion(trace).mean())
    if "density" in objective.reads:
        torch.testing.assert_close(parts["rate"], rate(trace).mean())
    assert all(not value.requires_grad and value.dim() == 0 for value in parts.values())


def test_distortion_is_told_where_it_is_no_term():
    parts = Objective(Weighted("rate", rate))(made(*posterior()))[1]
    assert set(parts) == {"distortion", "rate", "beta"}


def test_an_autoencoder_has_no_rate():
    mean, _ = posterior()
    trace = made(*posterior())
    q = Independent(Point(mean), 1)
    trace.levels = [Level(q.rsample((1,)), q, standard(3))]
    loss, parts = reconstruction()(trace)
    assert set(parts) == {"distortion"}
    assert loss == parts["distortion"]


def test_a_loss_is_the_weighted_sum_of_its_terms():
    trace = made(*posterior())
    objective = Objective(Weighted("a", distortion, 2.0), Weighted("b", rate, 0.5))
    loss, parts = objective(trace)
    torch.testing.assert_close(loss, 2 * parts["a"] + 0.5 * parts["b"])
    assert objective.reads == {"density"}


# Sums over dimensions, means over rows


@pytest.mark.parametrize("objective", [elbo(), elbo(4.0), elbo(free_bits=0.2), reconstruction()])
def test_twice_the_batch_changes_nothing(objective):
    mean, log_variance = posterior()
    once = made(mean, log_variance)
    twice = made(torch.cat([mean, mean]), torch.cat([log_variance, log_variance]))
    torch.testing.assert_close(objective(once)[0], objective(twice)[0])


@pytest.mark.parametrize("free_bits", [0.0, 0.2])
def test_twice_the_latents_is_twice_the_rate(free_bits):
    mean, log_variance = posterior()
    wide = made(torch.cat([mean, mean], 1), torch.cat([log_variance, log_variance], 1))
    name = "free_rate" if free_bits else "rate"
    once, twice = (
        elbo(free_bits=free_bits)(trace)[1][name] for trace in (made(mean, log_variance), wide)
    )
    torch.testing.assert_close(twice, 2 * once)


def test_twice_the_data_is_twice_the_distortion():
    once, twice = (made(*posterior(), data=n) for n in (5, 10))
    torch.testing.assert_close(distortion(twice), 2 * distortion(once))


def test_terms_give_one_number_a_row():
    trace = made(*posterior(rows=6))
    for term in (distortion, rate, FreeBits(0.1), FreeBits(0.0)):
        assert term(trace).shape == (6,)


def test_weights_of_samples_apply_to_every_term():
    spec = Spec.of(net={"name": "mlp", "width": 8}, latent=3)
    trace = compose(spec, (5,))[0](torch.rand(4, 5).round(), samples=2)
    trace.weights = torch.tensor([[1.0], [0.0]]).expand(2, 4)
    torch.testing.assert_close(distortion(trace), -trace.log_px[0])


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
    plain = torch.autograd.grad(rate(made(*pair)).mean(), pair)
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
    assert elbo(free_bits=0.0).names == elbo().names == ["distortion", "rate"]
    torch.testing.assert_close(FreeBits(0.0)(trace), rate(trace))


def test_free_bits_may_move():
    trace = made(torch.zeros(4, 3), torch.zeros(4, 3))
    objective = elbo(free_bits=Linear(1.0, 0.0, 10))
    assert [objective(trace, step)[1]["free_rate"].item() for step in (0, 5, 10)] == [3, 1.5, 0]


# Refusals, and the table


def test_a_negative_beta_is_refused():
    with pytest.raises(VariedError, match="objective='reconstruction'"):
        elbo(beta=-1)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_of_the_table_is_made_without_settings(name):
    objective = OBJECTIVES[name]()
    assert isinstance(objective, Objective)
    assert objective.reads <= {"density", "marginals"}
    assert objective.samples >= 1
