"""A ladder is a VAE whose latents stand above each other: what holds for one rung holds for all."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as td

from varied.data.batches import Batch, Batches
from varied.errors import VariedError
from varied.evaluate import evaluate
from varied.evaluate.active_units import collapsed_levels_warning
from varied.models import ARCHITECTURES, Ladder
from varied.nets.ladder_blocks import ConvBlocks
from varied.spec import Spec, compose
from varied.training_loop import Step, train

KINDS = {
    "vectors": ("mlp", (1, 6, 6), 4),
    "maps": ("conv", (1, 12, 12), 2),
    "odd maps": ("resnet", (3, 13, 9), 2),
}
kinds = pytest.mark.parametrize(("net", "shape", "latent"), KINDS.values(), ids=KINDS)


def made(net="mlp", shape=(1, 6, 6), latent=4, levels=3, context=0, objective="elbo"):
    structure = {"name": "ladder", "levels": levels, "hidden_size": 12}
    spec = Spec.of(
        architecture=structure, net=net, latent=latent, context=context, objective=objective
    )
    return compose(spec, shape)


def data(shape, rows=5):
    return torch.rand(rows, *shape).round()


@kinds
@pytest.mark.parametrize("context", [0, 3])
def test_a_trace_has_a_level_for_each_rung(net, shape, latent, context):
    model, _ = made(net, shape, latent, context=context)
    x, c = data(shape), torch.eye(5, 3) if context else None
    trace = model(x, c, samples=2)
    assert [level.z[0, 0].numel() for level in trace.levels] == model.sizes
    assert trace.log_weight.shape == (2, 5)
    assert trace.px.mean.shape == (2, 5, *shape)
    assert all(level.kl.shape == (2, 5) and (level.kl >= -1e-4).all() for level in trace.levels)


@kinds
@pytest.mark.parametrize("context", [0, 3])
def test_gradient_reaches_every_parameter(net, shape, latent, context):
    model, objective = made(net, shape, latent, context=context)
    c = torch.eye(3)[torch.arange(40) % 3] if context else None
    Step(model, objective)(data(shape, 40), c)[0].backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]


@kinds
def test_its_latent_is_all_levels_side_by_side(net, shape, latent):
    model, _ = made(net, shape, latent)
    z = model.encode(data(shape)).mean
    assert z.shape == (5, *model.latent_shape) == (5, sum(model.sizes))
    trace = model(data(shape))
    flat = torch.cat([level.z.flatten(2) for level in trace.levels], 2)
    torch.testing.assert_close(model.decode(flat).mean, trace.px.mean)
    assert model.sample(7).shape == (7, *shape)


@kinds
def test_samples_come_from_the_priors_alone(net, shape, latent):
    model, _ = made(net, shape, latent)
    torch.manual_seed(0)
    cold = model.sample_prior(4, temperature=0.0)
    torch.testing.assert_close(cold, cold[:1].expand_as(cold))
    torch.testing.assert_close(cold, model.sample_prior(4, temperature=[0.0] * 3))
    warm = model.sample_prior(4, temperature=[1.0, 0.0, 0.0]).split(model.sizes, 1)
    assert warm[0].std(0).min() > 0
    torch.testing.assert_close(warm[1], warm[1][:1].expand_as(warm[1]))
    with pytest.raises(VariedError, match="has 3 levels, and 2 temperatures"):
        model.sample_prior(4, temperature=[1.0, 1.0])


def test_the_bound_is_below_the_likelihood_found_by_brute_force():
    """Two levels of one number each: log p(x) by quadrature over both."""
    torch.manual_seed(3)
    model, _ = made(shape=(4,), latent=1, levels=2)
    model, x = model.double(), torch.tensor([[0.0, 1.0, 1.0, 0.0]]).double()
    grid = torch.linspace(-8, 8, 201).double()
    low, high = torch.meshgrid(grid, grid, indexing="ij")
    z = torch.stack([low.flatten(), high.flatten()], 1)
    log_pz = []

    def draw(index, h, p):
        log_pz.append(p.log_prob(z[:, index : index + 1]))
        return z[:, index : index + 1]

    h = model._descend(draw, (len(z),), None)
    log_px = model._px(h, (len(z),)).log_prob(x)
    area = 2 * math.log((grid[1] - grid[0]).item())
    exact = (log_px + log_pz[0] + log_pz[1]).logsumexp(0) + area
    torch.testing.assert_close(
        (log_pz[0] + log_pz[1]).logsumexp(0) + area, torch.tensor(0.0).double(), atol=1e-3, rtol=0
    )
    with torch.no_grad():
        log_w = model(x, samples=20_000).log_weight[:, 0]
    assert log_w.mean() < exact
    estimate = log_w.logsumexp(0) - math.log(20_000)
    torch.testing.assert_close(estimate, exact, atol=5e-3, rtol=0)


def test_one_level_is_a_flat_vae_with_a_learned_prior():
    model, objective = made(levels=1)
    trace = model(data((1, 6, 6)))
    (level,) = trace.levels
    exact = td.kl_divergence(
        *(td.Normal(d.mean, d.variance.sqrt()) for d in (level.q.base_dist, level.p.base_dist))
    ).sum(-1)
    torch.testing.assert_close(level.kl, exact, atol=1e-4, rtol=1e-4)
    assert objective(trace)[0].isfinite()


@pytest.mark.parametrize("objective", [
    "elbo",
    {"name": "elbo", "beta": 4.0},
    {"name": "elbo", "free_bits": 0.1},
    "reconstruction",
])  # fmt: skip
def test_objectives_do_not_know_that_it_is_a_ladder(objective):
    model, objective = made(objective=objective)
    loss, parts = Step(model, objective)(data((1, 6, 6)))
    loss.backward()
    assert loss.isfinite()
    assert parts["reconstruction"].isfinite()


def test_it_trains_and_half_precision_agrees():
    x = (data((1, 6, 6), 4).repeat(16, 1, 1, 1) * 255).byte()
    losses = {}
    for precision in ("float32", "bfloat16"):
        model, objective = made()
        plan = Spec.of(
            plan={
                "precision": precision,
                "steps": 150,
                "batch_size": 32,
                "lr": 0.01,
                "lr_warmup": 5,
            }
        ).plan
        step = Step(model, objective, lambda x: x.float() / 255)
        events = [e.parts["loss"].item() for e in train(step, Batches(x, size=32, seed=0), plan)]
        losses[precision] = sum(events[-10:]) / 10
        assert losses[precision] < events[0] - 5
    assert losses["float32"] == pytest.approx(losses["bfloat16"], rel=0.1)


def test_levels_that_say_nothing_are_named():
    assert collapsed_levels_warning([3.0, 0.05, 2.0]).startswith(
        "Level 2 of 3 carries less than 0.1 nats"
    )
    assert collapsed_levels_warning([0.0, 0.05, 2.0]).startswith("Levels 1, 2 of 3 carry less")
    assert collapsed_levels_warning([3.0, 0.5]) is None
    model, _ = made()
    with torch.no_grad():
        for rung in model.rungs:
            for value in rung.both[-1].parameters():
                value.zero_()  # the posterior is the prior: no level says anything
    found = evaluate(model, lambda x: x, [Batch(data((1, 6, 6)))])
    assert found.kl_by_level == (0.0, 0.0, 0.0)
    assert any("Levels 1, 2, 3 of 3" in warning for warning in found.warnings)


def test_maps_are_smaller_the_higher_they_stand():
    fabric = ConvBlocks((1, 28, 28), 8, 5)
    assert [fabric.rest(level) for level in range(1, 6)] == [
        (14, 14),
        (7, 7),
        (7, 7),
        (4, 4),
        (4, 4),
    ]


@pytest.mark.parametrize(("change", "says"), [
    ({"levels": 0}, "at least 1"),
    ({"net": "conv", "shape": (9,)}, "use net='mlp'"),
])  # fmt: skip
def test_refusals(change, says):
    with pytest.raises(VariedError, match=says):
        made(**change)


def test_it_is_a_row():
    assert isinstance(made()[0], Ladder)
    assert "ladder" in ARCHITECTURES
