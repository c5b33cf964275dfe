"""Uses as mathematics: paths, temperatures, grids."""

import pytest
import torch

from varied import uses
from varied.data import Batch
from varied.spec import Spec, compose
from varied.uses.interpolate import PATHS, linear, spherical
from varied.uses.sample import quantiles

SHAPE = (1, 5, 7)


@pytest.fixture(params=[0, 3], ids=["plain", "conditional"])
def case(request):
    spec = Spec.of(net={"name": "mlp", "width": 8}, latent=2, context=request.param)
    c = torch.eye(3)[torch.arange(6) % 3] if request.param else None
    return compose(spec, SHAPE)[0], torch.rand(6, *SHAPE).round(), c


def test_samples_follow_the_seed_and_leave_the_random_state(case):
    model, _, c = case
    state = torch.get_rng_state()
    first, again = (uses.sample(model, 6, c, seed=1) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, uses.sample(model, 6, c, seed=2))
    assert first.shape == (6, *SHAPE)
    assert set(uses.sample(model, 6, c, draw=True).unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(state, torch.get_rng_state())


def test_temperature_scales_the_deviation_from_the_mean(case):
    model, _, c = case
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wide = model.latents(6, c, 2.0)
        torch.manual_seed(0)
        assert torch.allclose(wide, 2 * model.latents(6, c))
    still = uses.sample(model, 6, None if c is None else c[:1].expand(6, -1), temperature=0.0)
    assert torch.allclose(still, still[:1].expand_as(still))


def test_a_reconstruction_has_the_shape_of_the_datum(case):
    model, x, c = case
    assert uses.reconstruct(model, x, c).shape == x.shape


@pytest.mark.parametrize("name", PATHS)
def test_a_path_begins_and_ends_at_its_ends(name, case):
    model, x, c = case
    half = None if c is None else c[:3]
    made = uses.interpolate(model, x[:3], x[3:], half, steps=5, path=name)
    assert made.shape == (3, 5, *SHAPE)
    assert torch.allclose(made[:, 0], uses.reconstruct(model, x[:3], half), atol=1e-5)


def test_an_arc_keeps_the_norm_and_a_line_does_not():
    a, b = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    t = torch.linspace(0, 1, 9)
    assert torch.allclose(spherical(a, b, t).norm(dim=-1), torch.ones(1, 9), atol=1e-6)
    assert linear(a, b, t).norm(dim=-1).min() < 0.71
    assert torch.allclose(spherical(a, a, t), linear(a, a, t))
    assert torch.isfinite(spherical(a, -a, t)).all()


def test_traversals_move_one_dimension_alone(case):
    model, _, c = case
    one = None if c is None else c[:1]
    z = torch.tensor([0.3, -0.2])
    made, values = uses.traverse(model, z, [1, 0], one, steps=5)
    assert made.shape == (2, 5, *SHAPE)
    assert torch.allclose(values, -values.flip(0))
    moved = torch.tensor([[0.3, values[0]]])
    assert torch.allclose(made[0, 0], uses.decode(model, moved, one)[0], atol=1e-6)


def test_the_manifold_is_laid_out_by_prior_quantiles(case):
    model, _, c = case
    one = None if c is None else c[:1]
    made, values = uses.manifold(model, 4, one)
    assert made.shape == (16, *SHAPE)
    assert torch.allclose(torch.special.ndtr(values).diff(), torch.full((3,), 0.33))
    assert values.tolist() == pytest.approx(quantiles(4).tolist())
    for i, j in ((0, 0), (0, 3), (2, 1)):
        z = torch.stack([values[j], values[i]])[None]
        assert torch.allclose(made[i * 4 + j], uses.decode(model, z, one)[0], atol=1e-6)


def test_codes_are_always_the_same(case):
    model, x, c = case
    first, again = (uses.encode(model, torch.Tensor.float, [Batch(x, c)]) for _ in range(2))
    assert torch.equal(first.mean, again.mean)
    assert first.mean.shape == first.spread.shape == (6, 2)
    assert (first.rate >= 0).all()
