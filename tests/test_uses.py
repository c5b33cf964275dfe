"""Uses as mathematics: paths, temperatures, grids."""

import pytest
import torch

from varied import functional
from varied.data import Batch
from varied.errors import VariedError
from varied.functional.interpolate import PATHS, along_density, linear, spherical
from varied.functional.sample import quantiles
from varied.spec import Spec, compose

SHAPE = (1, 5, 7)


@pytest.fixture(params=[0, 3], ids=["plain", "conditional"])
def case(request):
    spec = Spec.of(net={"name": "mlp", "width": 8}, latent=2, context=request.param)
    c = torch.eye(3)[torch.arange(6) % 3] if request.param else None
    return compose(spec, SHAPE)[0], torch.rand(6, *SHAPE).round(), c


def test_samples_follow_the_seed_and_leave_the_random_state(case):
    model, _, c = case
    state = torch.get_rng_state()
    first, again = (functional.sample(model, 6, c, seed=1) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, functional.sample(model, 6, c, seed=2))
    assert first.shape == (6, *SHAPE)
    assert set(functional.sample(model, 6, c, sample_x=True).unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(state, torch.get_rng_state())


def test_temperature_scales_the_deviation_from_the_mean(case):
    model, _, c = case
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wide = model.sample_prior(6, c, 2.0)
        torch.manual_seed(0)
        assert torch.allclose(wide, 2 * model.sample_prior(6, c))
    still = functional.sample(model, 6, None if c is None else c[:1].expand(6, -1), temperature=0.0)
    assert torch.allclose(still, still[:1].expand_as(still))


def test_a_reconstruction_has_the_shape_of_the_datum(case):
    model, x, c = case
    assert functional.reconstruct(model, x, c).shape == x.shape


@pytest.mark.parametrize("name", PATHS)
def test_a_path_begins_and_ends_at_its_ends(name, case):
    model, x, c = case
    half = None if c is None else c[:3]
    made = functional.interpolate(model, x[:3], x[3:], half, steps=5, path=name)
    assert made.shape == (3, 5, *SHAPE)
    assert torch.allclose(made[:, 0], functional.reconstruct(model, x[:3], half), atol=1e-5)


def test_an_arc_keeps_the_norm_and_a_line_does_not():
    a, b = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    t = torch.linspace(0, 1, 9)
    assert torch.allclose(spherical(a, b, t).norm(dim=-1), torch.ones(1, 9), atol=1e-6)
    assert linear(a, b, t).norm(dim=-1).min() < 0.71
    assert torch.allclose(spherical(a, a, t), linear(a, a, t))
    assert torch.isfinite(spherical(a, -a, t)).all()


def crescent(n: int) -> torch.Tensor:
    """Return codes on the upper third of a ring."""
    angle = torch.pi * (1 + 4 * torch.rand(n)) / 6
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(n, 2)


def test_a_path_along_the_density_goes_round_what_is_empty():
    support = functional.fit_latent_density(crescent(1500), crescent(1000))
    a, b = torch.tensor([[0.866, 0.5]]), torch.tensor([[-0.866, 0.5]])
    t = torch.linspace(0, 1, 9)
    bent = along_density(a, b, t, support=support)
    assert torch.equal(bent[:, 0], a)
    assert torch.equal(bent[:, -1], b)
    assert (bent.norm(dim=-1) - 1).abs().max() < 0.15  # it cuts the corner a little
    assert linear(a, b, t).norm(dim=-1).min() < 0.51
    assert not support.outside(bent).any()
    assert support.outside(linear(a, b, t)[:, 2:-2]).all()
    steps = bent.diff(dim=1).norm(dim=-1)
    assert steps.max() / steps.min() < 1.2
    assert torch.equal(bent, along_density(a, b, t, support=support))


def test_where_the_density_is_flat_the_path_is_straight():
    support = functional.fit_latent_density(
        1000 * torch.randn(4000, 2), 1000 * torch.randn(1000, 2)
    )
    a, b, t = torch.randn(3, 2), torch.randn(3, 2), torch.linspace(0, 1, 5)
    bent = along_density(a, b, t, support=support)
    torch.testing.assert_close(bent, linear(a, b, t), atol=0.05, rtol=0)


def test_two_modes_are_joined_by_where_data_are():
    """Three heaps in a corner: the way from the first to the last passes the one between."""
    heaps = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0]])
    codes = heaps[torch.arange(6000) % 3] + 0.45 * torch.randn(6000, 2)
    support = functional.fit_latent_density(codes[:4500], codes[4500:])
    a, b, t = heaps[:1], heaps[2:], torch.linspace(0, 1, 11)
    known = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(3)),
        torch.distributions.Independent(torch.distributions.Normal(heaps, 0.45), 1),
    )
    bent, straight = (
        known.log_prob(path) for path in (along_density(a, b, t, support=support), linear(a, b, t))
    )
    assert bent.min() > straight.min() + 0.5
    assert bent.mean() > straight.mean() + 0.3


def test_a_path_along_the_density_needs_one(case):
    model, x, c = case
    half = None if c is None else c[:3]
    with pytest.raises(VariedError, match="give a support"):
        functional.interpolate(model, x[:3], x[3:], half, path="density")
    with pytest.raises(VariedError, match="There is no path 'dense': did you mean 'density'"):
        functional.interpolate(model, x[:3], x[3:], half, path="dense")


def test_the_corners_of_a_square_are_reconstructions(case):
    model, x, c = case
    four = None if c is None else c[:4]
    made = functional.grid(model, x[:4], four, steps=3)
    assert made.shape == (3, 3, *SHAPE)
    ends = torch.stack([made[0, 0], made[0, 2], made[2, 0], made[2, 2]])
    torch.testing.assert_close(ends, functional.reconstruct(model, x[:4], four))
    z = model.encode(x[:4], four).mean.mean(0, keepdim=True)
    middle = functional.decode(model, z, None if c is None else four.mean(0, keepdim=True))
    torch.testing.assert_close(made[1, 1], middle[0])
    with pytest.raises(VariedError, match="four corners"):
        functional.grid(model, x[:3], None if c is None else c[:3])


def test_traversals_move_one_dimension_alone(case):
    model, _, c = case
    one = None if c is None else c[:1]
    z = torch.tensor([0.3, -0.2])
    made, values = functional.traverse(model, z, [1, 0], one, steps=5)
    assert made.shape == (2, 5, *SHAPE)
    assert torch.allclose(values, -values.flip(0))
    moved = torch.tensor([[0.3, values[0]]])
    assert torch.allclose(made[0, 0], functional.decode(model, moved, one)[0], atol=1e-6)


def test_the_manifold_is_laid_out_by_prior_quantiles(case):
    model, _, c = case
    one = None if c is None else c[:1]
    made, values = functional.manifold(model, 4, one)
    assert made.shape == (16, *SHAPE)
    assert torch.allclose(torch.special.ndtr(values).diff(), torch.full((3,), 0.33))
    assert values.tolist() == pytest.approx(quantiles(4).tolist())
    for i, j in ((0, 0), (0, 3), (2, 1)):
        z = torch.stack([values[j], values[i]])[None]
        assert torch.allclose(made[i * 4 + j], functional.decode(model, z, one)[0], atol=1e-6)


def test_codes_are_always_the_same(case):
    model, x, c = case
    first, again = (functional.encode(model, torch.Tensor.float, [Batch(x, c)]) for _ in range(2))
    assert torch.equal(first.mean, again.mean)
    assert first.mean.shape == first.spread.shape == (6, 2)
    assert (first.rate >= 0).all()
