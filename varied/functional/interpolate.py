"""A path between two codes, a sheet between four, and what lies along them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from varied.errors import VariedError, lookup
from varied.functional.decode import decode
from varied.functional.latent_density import LatentDensity
from varied.models import LatentModel
from varied.runtime import eval_float32

__all__ = ["PATHS", "along_density", "grid", "interpolate"]

#: From two codes with shape (N, D) and places with shape (T) to codes with shape (N, T, D).
Way = Callable[[Tensor, Tensor, Tensor], Tensor]

#: Points of a path that is bent, and waves that it is bent by.
POINTS, WAVES = 33, 6
#: Steps of bending, and the size of the first in spreads of a unit; they become shorter.
BENDS, BEND = 150, 0.05
TINY = 1e-12


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    r"""Return the straight path, with shape (N, T, D).

    .. math:: (1 - t) \, a + t \, b
    """
    return a[:, None] + t[None, :, None] * (b - a)[:, None]


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    r"""Return the path along the arc between two codes, with shape (N, T, D).

    .. math:: \frac{\sin((1 - t) \omega) \, a + \sin(t \omega) \, b}{\sin \omega}

    A straight path between two draws of a wide Gaussian passes nearer to 0 than any draw does; an
    arc does not. Where the codes point almost the same way, it is the straight path.

    References:
        Sampling Generative Networks (White, 2016), https://arxiv.org/abs/1609.04468
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1).clamp(-1, 1)
    omega = torch.acos(cosine)[:, None, None]
    along = t[None, :, None]
    arc = torch.sin((1 - along) * omega) * a[:, None] + torch.sin(along * omega) * b[:, None]
    straight = omega.sin() < 1e-3
    return torch.where(straight, linear(a, b, t), arc / omega.sin().clamp_min(1e-3))


def along_density(a: Tensor, b: Tensor, t: Tensor, *, support: LatentDensity) -> Tensor:
    r"""Return the path that is shortest where data are dense, with shape (N, T, D).

    .. math:: \min_z \int_0^1 \frac{|\dot z(t)|}{p(z(t))^{1 / D}} \, dt, \qquad
        z(0) = a, \quad z(1) = b

    With D units in use, :math:`p^{-1/D}` is how far neighbors lie apart, so a path is as long as
    it has neighbors to pass, and goes round what is empty. It starts straight, and Adam bends it
    by a few waves across the straight path, none along it; its points are then laid out evenly.

    References:
        Nonhomogeneous Euclidean First-Passage Percolation and Distance Learning (Groisman et al.,
        2018), https://arxiv.org/abs/1810.09398; geodesics in the latents of a VAE by the decoder's
        own metric: Latent Space Oddity (Arvanitidis et al., 2018),
        https://arxiv.org/abs/1710.11379

    Warning:
        It is a local optimum, near to the straight path.

    Arguments:
        a: Codes, with shape (N, D).
        b: Codes, with shape (N, D).
        t: Places along the path from 0 to 1, with shape (T).
        support: Where the codes of the training data lie.
    """
    places = torch.linspace(0, 1, POINTS, dtype=torch.float64, device=a.device)
    start, chord = linear(a.double(), b.double(), places), (b - a).double()[:, None]
    far = chord.norm(dim=-1, keepdim=True)
    scale = torch.minimum(support.density().variance.sqrt(), far)
    along = chord / far.clamp_min(TINY)
    numbers = torch.arange(1, WAVES + 1, dtype=torch.float64, device=a.device)
    waves = torch.sin(torch.pi * places[:, None] * numbers) / numbers
    with torch.enable_grad():
        heights = torch.zeros_like(start[:, :WAVES]).requires_grad_()
        adam = torch.optim.Adam([heights], lr=BEND)
        calmer = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.01, BENDS)
        for _ in range(BENDS):
            cost = _length(start + _across(waves @ heights * scale, along), support)
            adam.zero_grad()
            cost.backward()
            adam.step()
            calmer.step()
    path = _evenly(start + _across(waves @ heights.detach() * scale, along), t.double())
    ends = (t == 0)[None, :, None], (t == 1)[None, :, None]
    return torch.where(ends[0], a[:, None], torch.where(ends[1], b[:, None], path.to(a.dtype)))


def _across(bent: Tensor, along: Tensor) -> Tensor:
    """Return what of moves does not go along the straight path."""
    return bent - (bent * along).sum(-1, keepdim=True) * along


def _length(path: Tensor, support: LatentDensity) -> Tensor:
    """Return the logarithm of the length of paths in distances of neighbors, summed over paths.

    The logarithm has slopes of one size, wherever a path may lead.
    """
    steps = path.diff(dim=1).norm(dim=-1).clamp_min(TINY)
    thin = -support.log_density((path[:, 1:] + path[:, :-1]) / 2) / support.dimensions
    length: Tensor = (steps.log() + thin).logsumexp(1).sum()
    return length


def _evenly(path: Tensor, t: Tensor) -> Tensor:
    """Return points of paths at shares of their length, with shape (N, T, D)."""
    steps = path.diff(dim=1).norm(dim=-1)
    gone = torch.nn.functional.pad(steps.cumsum(1), (1, 0))
    wanted = t * gone[:, -1:]
    left = (torch.searchsorted(gone, wanted.contiguous()) - 1).clamp(0, path.shape[1] - 2)
    share = (wanted - gone.gather(1, left)) / steps.gather(1, left).clamp_min(TINY)
    at = left[..., None].expand(-1, -1, path.shape[-1])
    return torch.lerp(path.gather(1, at), path.gather(1, at + 1), share[..., None])


PATHS: dict[str, Way] = {
    "linear": linear,
    "spherical": spherical,
}


def interpolate(
    model: LatentModel,
    start: Tensor,
    end: Tensor,
    c: Tensor | None = None,
    *,
    steps: int = 10,
    path: str = "linear",
    support: LatentDensity | None = None,
) -> Tensor:
    """Return what lies between pairs of data; both ends are reconstructions.

    Arguments:
        model: The model.
        start: Data, with shape (N, *event).
        end: Data, with shape (N, *event).
        c: The context of each start, with shape (N, F), or None; it is held along the path.
        steps: Data along each path, both ends among them.
        path: "linear", "spherical", or "density", for which see `densely`.
        support: Where the codes of the training data lie; "density" alone needs it.

    Returns:
        Data with shape (N, steps, *event).
    """
    way = lookup(PATHS | {"density": partial(_bent, support=support)}, path, "path")
    with eval_float32(model):
        a, b = (model.encode(x, c).mean for x in (start, end))
        along = torch.linspace(0, 1, steps, device=a.device)
        z = way(a.flatten(1), b.flatten(1), along)
        held = None if c is None else c.repeat_interleave(steps, 0)
        x = decode(model, z.reshape(-1, *a.shape[1:]), held)
    return x.reshape(len(start), steps, *x.shape[1:])


def _bent(a: Tensor, b: Tensor, t: Tensor, support: LatentDensity | None) -> Tensor:
    if support is None:
        raise VariedError("path='density' needs to know where codes lie: give a support of them.")
    return along_density(a, b, t, support=support)


def grid(model: LatentModel, x: Tensor, c: Tensor | None = None, *, steps: int = 8) -> Tensor:
    r"""Return what lies between four data, whose reconstructions are the corners of a square.

    .. math:: z(s, t) = (1 - s)(1 - t) \, z_1 + (1 - s) \, t \, z_2 + s \, (1 - t) \, z_3
        + s \, t \, z_4

    Arguments:
        model: The model.
        x: Four data, with shape (4, *event): upper left and right, lower left and right.
        c: Their contexts, with shape (4, F), or None; they are mixed as the codes are.
        steps: Data along each side.

    Returns:
        Data with shape (steps, steps, *event).

    Raises:
        VariedError: If there are not four.
    """
    if len(x) != 4:
        raise VariedError(f"A square has four corners, and {len(x)} data were given: give four.")
    with eval_float32(model):
        code = model.encode(x, c).mean
        t = torch.linspace(0, 1, steps, device=code.device)
        side = torch.stack([1 - t, t], 1)
        share = torch.einsum("ia,jb->ijab", side, side).reshape(-1, 4)
        z = (share @ code.flatten(1)).reshape(-1, *code.shape[1:])
        made = decode(model, z, None if c is None else share @ c)
    return made.reshape(steps, steps, *made.shape[1:])
