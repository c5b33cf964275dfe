"""The hierarchical VAE: its levels, its bound, its training and its prior."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as td

from varied.composition import compose
from varied.data.batches import Batch, Batches
from varied.errors import VariedError
from varied.evaluate import evaluate
from varied.evaluate.active_units import collapsed_levels_warning
from varied.models import Ladder
from varied.nets.ladder_blocks import ConvBlocks
from varied.spec import Spec
from varied.training_loop import train
from varied.training_step import Step

#: Network, data shape and latent units or channels.
KINDS = {
    "vectors": ("mlp", (1, 6, 6), 4),
    "maps": ("conv", (1, 12, 12), 2),
    "odd maps": ("resnet", (3, 13, 9), 2),
}
every_kind = pytest.mark.parametrize(("net", "shape", "latent"), KINDS.values(), ids=KINDS)


def compose_ladder(net="mlp", shape=(1, 6, 6), latent=4, levels=3, context=0, objective="elbo"):
    spec = Spec.parse(
        architecture={"name": "ladder", "levels": levels, "hidden_size": 12},
        net=net,
        latent=latent,
        context=context,
        objective=objective,
    )
    return compose(spec, shape)


def random_rows(shape, rows=5):
    return torch.rand(rows, *shape).round()


@every_kind
@pytest.mark.parametrize("context", [0, 3])
def test_trace_has_the_levels_of_the_ladder(net, shape, latent, context):
    model, _ = compose_ladder(net, shape, latent, context=context)
    assert isinstance(model, Ladder)
    x, c = random_rows(shape), torch.eye(5, 3) if context else None
    trace = model(x, c, samples=2)
    assert [level.z[0, 0].numel() for level in trace.levels] == model.sizes
    assert trace.log_weight.shape == (2, 5)
    assert trace.px.mean.shape == (2, 5, *shape)
    assert all(level.kl.shape == (2, 5) and (level.kl >= -1e-4).all() for level in trace.levels)


@every_kind
@pytest.mark.parametrize("context", [0, 3])
def test_objective_trains_every_parameter(net, shape, latent, context):
    model, objective = compose_ladder(net, shape, latent, context=context)
    c = torch.eye(3)[torch.arange(40) % 3] if context else None
    Step(model, objective)(random_rows(shape, 40), c)[0].backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]


@every_kind
def test_latent_vector_is_the_concatenation_of_the_levels(net, shape, latent):
    model, _ = compose_ladder(net, shape, latent)
    x = random_rows(shape)
    assert model.encode(x).mean.shape == (5, *model.latent_shape) == (5, sum(model.sizes))
    trace = model(x)
    z = torch.cat([level.z.flatten(2) for level in trace.levels], 2)
    torch.testing.assert_close(model.decode(z).mean, trace.px.mean)
    assert model.sample(7).shape == (7, *shape)


@every_kind
def test_temperature_per_level(net, shape, latent):
    model, _ = compose_ladder(net, shape, latent)
    cold = model.sample_prior(4, temperature=0.0)
    torch.testing.assert_close(cold, cold[:1].expand_as(cold))
    torch.testing.assert_close(cold, model.sample_prior(4, temperature=[0.0] * 3))
    bottom, middle, _ = model.sample_prior(4, temperature=[1.0, 0.0, 0.0]).split(model.sizes, 1)
    assert bottom.std(0).min() > 0
    torch.testing.assert_close(middle, middle[:1].expand_as(middle))
    with pytest.raises(VariedError, match="has 3 levels, but 2 temperatures"):
        model.sample_prior(4, temperature=[1.0, 1.0])


def test_importance_weights_converge_to_the_integral_over_two_levels():
    torch.manual_seed(3)
    model, _ = compose_ladder(shape=(4,), latent=1, levels=2)
    model, x = model.double(), torch.tensor([[0.0, 1.0, 1.0, 0.0]]).double()
    axis = torch.linspace(-8, 8, 201).double()
    z = torch.stack([t.flatten() for t in torch.meshgrid(axis, axis, indexing="ij")], 1)
    log_pz = []

    def grid_point(index, state, p):
        log_pz.append(p.log_prob(z[:, index : index + 1]))
        return z[:, index : index + 1]

    state = model._top_down(grid_point, (len(z),), None)
    log_px = model._likelihood(state, (len(z),)).log_prob(x)
    log_area = 2 * math.log((axis[1] - axis[0]).item())
    total = (log_pz[0] + log_pz[1]).logsumexp(0) + log_area
    torch.testing.assert_close(total, torch.tensor(0.0).double(), atol=1e-3, rtol=0)
    exact = (log_px + log_pz[0] + log_pz[1]).logsumexp(0) + log_area
    with torch.no_grad():
        log_weight = model(x, samples=20_000).log_weight[:, 0]
    assert log_weight.mean() < exact
    estimate = log_weight.logsumexp(0) - math.log(20_000)
    torch.testing.assert_close(estimate, exact, atol=5e-3, rtol=0)


def test_kl_of_a_level_is_that_of_two_gaussians():
    model, _ = compose_ladder(levels=1)
    (level,) = model(random_rows((1, 6, 6))).levels
    q, p = (td.Normal(d.mean, d.variance.sqrt()) for d in (level.q.base_dist, level.p.base_dist))
    expected = td.kl_divergence(q, p).sum(-1)
    torch.testing.assert_close(level.kl, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "objective",
    [
        "elbo",
        {"name": "elbo", "beta": 4.0},
        {"name": "elbo", "free_bits": 0.1},
        {"name": "elbo", "free_bits_per_level": 0.1},
        "reconstruction",
    ],
    ids=str,
)
def test_objectives_of_a_vae_support_a_ladder(objective):
    loss, parts = Step(*compose_ladder(objective=objective))(random_rows((1, 6, 6)))
    loss.backward()
    assert loss.isfinite()
    assert parts["reconstruction"].isfinite()


@pytest.mark.slow
def test_training_lowers_the_loss_in_both_precisions():
    x = (random_rows((1, 6, 6), 4).repeat(16, 1, 1, 1) * 255).byte()
    losses = {}
    for precision in ("float32", "bfloat16"):
        plan = {"steps": 150, "batch_size": 32, "lr": 0.01, "lr_warmup": 5, "precision": precision}
        step = Step(*compose_ladder(), lambda x: x.float() / 255)
        batches = Batches(x, size=32, seed=0)
        values = [e.parts["loss"].item() for e in train(step, batches, Spec.parse(plan=plan).plan)]
        losses[precision] = sum(values[-10:]) / 10
        assert losses[precision] < values[0] - 5
    assert losses["float32"] == pytest.approx(losses["bfloat16"], rel=0.1)


@pytest.mark.parametrize(
    ("kls", "warning"),
    [
        ([3.0, 0.05, 2.0], "Level 2 of 3 carries less than 0.1 nats"),
        ([0.0, 0.05, 2.0], "Levels 1, 2 of 3 carry less"),
    ],
)
def test_collapsed_levels_are_listed(kls, warning):
    assert collapsed_levels_warning(kls).startswith(warning)


def test_active_levels_give_no_warning():
    assert collapsed_levels_warning([3.0, 0.5]) is None


def test_level_without_an_offset_from_its_prior_has_no_kl():
    model, _ = compose_ladder()
    with torch.no_grad():
        for level in model.levels:
            for value in level.posterior_net[-1].parameters():
                value.zero_()
    result = evaluate(model, lambda x: x, [Batch(random_rows((1, 6, 6)))])
    assert result.kl_by_level == (0.0, 0.0, 0.0)
    assert any("Levels 1, 2, 3 of 3" in warning for warning in result.warnings)


def test_higher_levels_have_smaller_maps():
    blocks = ConvBlocks((1, 28, 28), 8, 5)
    sizes = [blocks.spatial_shape(level) for level in range(1, 6)]
    assert sizes == [(14, 14), (7, 7), (7, 7), (4, 4), (4, 4)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"levels": 0}, "at least 1"), ({"net": "conv", "shape": (9,)}, "use net='mlp'")],
)
def test_invalid_settings_raise(settings, message):
    with pytest.raises(VariedError, match=message):
        compose_ladder(**settings)
