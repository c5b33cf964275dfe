"""Interpolation and the density of codes."""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from varied import functional
from varied.composition import compose
from varied.errors import VariedError
from varied.functional.interpolate import along_density, linear, spherical
from varied.spec import Spec

SHAPE = (1, 5, 7)


@pytest.fixture(params=[0, 3], ids=["unconditional", "conditional"])
def case(request):
    """A model, data and their context."""
    spec = Spec.parse(net={"name": "mlp", "width": 8}, latent=2, context=request.param)
    c = torch.eye(3)[torch.arange(6) % 3] if request.param else None
    return compose(spec, SHAPE)[0], torch.rand(6, *SHAPE).round(), c


@pytest.mark.parametrize("path", ["linear", "spherical", "density"])
def test_paths_start_at_reconstructions(path, case):
    model, x, c = case
    c = None if c is None else c[:3]
    density = functional.fit_latent_density(torch.randn(100, 2), torch.randn(100, 2))
    points = functional.interpolate(model, x[:3], x[3:], c, steps=5, path=path, density=density)
    assert points.shape == (3, 5, *SHAPE)
    assert torch.allclose(points[:, 0], functional.reconstruct(model, x[:3], c), atol=1e-5)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("density", "requires a latent density"),
        ("dense", "There is no path 'dense': did you mean 'density'"),
    ],
)
def test_interpolate_refuses_unknown_paths_and_a_missing_density(path, message, case):
    model, x, c = case
    c = None if c is None else c[:3]
    with pytest.raises(VariedError, match=message):
        functional.interpolate(model, x[:3], x[3:], c, path=path)


def test_spherical_path_keeps_the_norm_and_the_linear_one_does_not():
    a, b = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    t = torch.linspace(0, 1, 9)
    assert torch.allclose(spherical(a, b, t).norm(dim=-1), torch.ones(1, 9), atol=1e-6)
    assert linear(a, b, t).norm(dim=-1).min() < 0.71
    assert torch.allclose(spherical(a, a, t), linear(a, a, t))
    assert torch.isfinite(spherical(a, -a, t)).all()


def arc(n: int) -> torch.Tensor:
    """Return codes on the upper third of a ring."""
    angle = torch.pi * (1 + 4 * torch.rand(n)) / 6
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(n, 2)


def test_density_path_avoids_empty_regions():
    density = functional.fit_latent_density(arc(1500), arc(1000))
    a, b = torch.tensor([[0.866, 0.5]]), torch.tensor([[-0.866, 0.5]])
    t = torch.linspace(0, 1, 9)
    path = along_density(a, b, t, density=density)
    assert torch.equal(path[:, 0], a)
    assert torch.equal(path[:, -1], b)
    assert (path.norm(dim=-1) - 1).abs().max() < 0.15
    assert linear(a, b, t).norm(dim=-1).min() < 0.51
    assert not density.is_out_of_support(path).any()
    assert density.is_out_of_support(linear(a, b, t)[:, 2:-2]).all()
    steps = path.diff(dim=1).norm(dim=-1)
    assert steps.max() / steps.min() < 1.2
    assert torch.equal(path, along_density(a, b, t, density=density))


def test_density_path_is_straight_in_a_flat_density():
    codes = 1000 * torch.randn(5000, 2)
    density = functional.fit_latent_density(codes[:4000], codes[4000:])
    a, b, t = torch.randn(3, 2), torch.randn(3, 2), torch.linspace(0, 1, 5)
    path = along_density(a, b, t, density=density)
    torch.testing.assert_close(path, linear(a, b, t), atol=0.05, rtol=0)


def test_density_path_between_two_modes_passes_the_third():
    modes = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0]])
    codes = modes[torch.arange(6000) % 3] + 0.45 * torch.randn(6000, 2)
    density = functional.fit_latent_density(codes[:4500], codes[4500:])
    a, b, t = modes[:1], modes[2:], torch.linspace(0, 1, 11)
    truth = MixtureSameFamily(Categorical(torch.ones(3)), Independent(Normal(modes, 0.45), 1))
    curved, straight = (
        truth.log_prob(path) for path in (along_density(a, b, t, density=density), linear(a, b, t))
    )
    assert curved.min() > straight.min() + 0.5
    assert curved.mean() > straight.mean() + 0.3


def test_grid_has_reconstructions_at_its_corners(case):
    model, x, c = case
    c = None if c is None else c[:4]
    points = functional.grid(model, x[:4], c, steps=3)
    assert points.shape == (3, 3, *SHAPE)
    corners = torch.stack([points[0, 0], points[0, 2], points[2, 0], points[2, 2]])
    torch.testing.assert_close(corners, functional.reconstruct(model, x[:4], c))
    z = model.encode(x[:4], c).mean.mean(0, keepdim=True)
    center = functional.decode(model, z, None if c is None else c.mean(0, keepdim=True))
    torch.testing.assert_close(points[1, 1], center[0])
    with pytest.raises(VariedError, match="exactly 4 examples, got 3"):
        functional.grid(model, x[:3], None if c is None else c[:3])


def test_latent_density_separates_held_out_codes_from_distant_ones():
    codes = torch.cat([torch.randn(3000, 2), torch.randn(3000, 2) + 12])
    codes = codes[torch.randperm(6000)]
    density = functional.fit_latent_density(codes[:4000], codes[4000:])
    assert density.is_out_of_support(codes[4000:]).float().mean() <= 0.002
    assert density.is_out_of_support(torch.tensor([[6.0, 6.0], [0.0, 12.0], [60.0, 0.0]])).all()
    assert not density.is_out_of_support(torch.tensor([[0.0, 0.0], [12.0, 12.0]])).any()
    with pytest.raises(VariedError, match="with 2,000 dimensions"):
        functional.fit_latent_density(torch.zeros(5, 2000), codes)
