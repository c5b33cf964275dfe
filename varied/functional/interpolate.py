"""Interpolation between two or four codes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, pad

from varied.errors import VariedError, lookup
from varied.functional.generate import decode
from varied.functional.latent_density import LatentDensity
from varied.models import LatentModel
from varied.runtime import eval_float32

#: The number of points on a curved path, and the number of sine waves in its deformation.
POINTS, WAVES = 33, 6
#: The number of optimization steps for a curved path, and the initial learning rate for the
#: relative amplitudes of the sine waves.
STEPS, RATE = 150, 0.05
TINY = 1e-12


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    r"""Return points with shape (N, T, D) on the straight path.

    .. math:: (1 - t) \, a + t \, b
    """
    return a[:, None] + t[None, :, None] * (b - a)[:, None]


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    r"""Return points with shape (N, T, D) on the arc between two codes (slerp).

    .. math:: \frac{\sin((1 - t) \omega) \, a + \sin(t \omega) \, b}{\sin \omega}

    The midpoint between two samples from a high-dimensional Gaussian has an atypically small norm,
    while an arc preserves the norm. If the codes are almost parallel or antiparallel, the path is
    straight.

    References:
        Sampling Generative Networks (White, 2016), https://arxiv.org/abs/1609.04468
    """
    omega = torch.acos(cosine_similarity(a, b, dim=-1).clamp(-1, 1))[:, None, None]
    along = t[None, :, None]
    arc = torch.sin((1 - along) * omega) * a[:, None] + torch.sin(along * omega) * b[:, None]
    parallel = omega.sin() < 1e-3
    return torch.where(parallel, linear(a, b, t), arc / omega.sin().clamp_min(1e-3))


def along_density(a: Tensor, b: Tensor, t: Tensor, *, density: LatentDensity) -> Tensor:
    r"""Return points with shape (N, T, D) on a path that stays where training codes are dense.

    .. math:: \min_z \int_0^1 \frac{|\dot z(t)|}{p(z(t))^{1 / A}} \, dt, \qquad
        z(0) = a, \quad z(1) = b

    With A active units, :math:`p^{-1/A}` is proportional to the distance between neighboring codes.
    The integral therefore penalizes regions with few codes, and the shortest path avoids empty
    regions. Starting from the straight path, Adam optimizes a deformation that consists of a few
    sine waves orthogonal to that path. The points are evenly spaced along the resulting path.

    References:
        Nonhomogeneous Euclidean First-Passage Percolation and Distance Learning (Groisman et al.,
        2018), https://arxiv.org/abs/1810.09398; for geodesics under the metric of the decoder, see
        Latent Space Oddity (Arvanitidis et al., 2018), https://arxiv.org/abs/1710.11379

    Warning:
        The path is a local optimum close to the straight path.

    Arguments:
        a: The codes at the start of each path, with shape (N, D).
        b: The codes at the end of each path, with shape (N, D).
        t: The positions along the path, between 0 and 1, with shape (T).
        density: The density of the codes of training data.
    """
    grid_t = torch.linspace(0, 1, POINTS, dtype=torch.float64, device=a.device)
    start, chord = linear(a.double(), b.double(), grid_t), (b - a).double()[:, None]
    length = chord.norm(dim=-1, keepdim=True)
    scale = torch.minimum(density.mixture().variance.sqrt(), length)
    direction = chord / length.clamp_min(TINY)
    frequency = torch.arange(1, WAVES + 1, dtype=torch.float64, device=a.device)
    waves = torch.sin(torch.pi * grid_t[:, None] * frequency) / frequency
    with torch.enable_grad():
        amplitudes = torch.zeros_like(start[:, :WAVES]).requires_grad_()
        adam = torch.optim.Adam([amplitudes], lr=RATE)
        decay = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.01, STEPS)
        for _ in range(STEPS):
            path = start + _orthogonal(waves @ amplitudes * scale, direction)
            adam.zero_grad()
            _log_length(path, density).backward()
            adam.step()
            decay.step()
    path = start + _orthogonal(waves @ amplitudes.detach() * scale, direction)
    points = _resample(path, t.double()).to(a.dtype)
    at_start, at_end = (t == 0)[None, :, None], (t == 1)[None, :, None]
    return torch.where(at_start, a[:, None], torch.where(at_end, b[:, None], points))


def _orthogonal(offset: Tensor, direction: Tensor) -> Tensor:
    """Return the component of offsets that is orthogonal to a direction."""
    return offset - (offset * direction).sum(-1, keepdim=True) * direction


def _log_length(path: Tensor, density: LatentDensity) -> Tensor:
    """Return the sum of the log lengths of the paths, with distances weighted by the density.

    With logarithms, the gradients of long and short paths are comparable.
    """
    steps = path.diff(dim=1).norm(dim=-1).clamp_min(TINY)
    midpoints = (path[:, 1:] + path[:, :-1]) / 2
    log_spacing = -density.log_density(midpoints) / density.active_units
    length: Tensor = (steps.log() + log_spacing).logsumexp(1).sum()
    return length


def _resample(path: Tensor, t: Tensor) -> Tensor:
    """Return the points (N, T, D) at the given fractions of the length of each path."""
    steps = path.diff(dim=1).norm(dim=-1)
    position = pad(steps.cumsum(1), (1, 0))
    target = t * position[:, -1:]
    left = (torch.searchsorted(position, target.contiguous()) - 1).clamp(0, path.shape[1] - 2)
    fraction = (target - position.gather(1, left)) / steps.gather(1, left).clamp_min(TINY)
    index = left[..., None].expand(-1, -1, path.shape[-1])
    return torch.lerp(path.gather(1, index), path.gather(1, index + 1), fraction[..., None])


PATHS: dict[str, Callable[..., Tensor]] = {
    "linear": linear,
    "spherical": spherical,
    "density": along_density,
}


def interpolate(
    model: LatentModel,
    start: Tensor,
    end: Tensor,
    c: Tensor | None = None,
    *,
    steps: int = 10,
    path: str = "linear",
    density: LatentDensity | None = None,
) -> Tensor:
    """Decode a path between the codes of each pair of examples.

    Arguments:
        model: The model.
        start: The first example of each pair, with shape (N, *event).
        end: The second example of each pair, with shape (N, *event).
        c: The context of each pair, with shape (N, F), or None; it stays fixed along the path.
        steps: The number of points on each path, including both ends.
        path: The type of path: "linear", "spherical", or "density", which uses `along_density`.
        density: The density of the codes of training data; required for "density".

    Returns:
        Data with shape (N, steps, *event).

    Raises:
        VariedError: If the path is unknown, or if it is "density" and ``density`` is None.
    """
    with eval_float32(model):
        a, b = (model.encode(x, c).mean for x in (start, end))
        z = path_codes(a.flatten(1), b.flatten(1), steps=steps, path=path, density=density)
        fixed_c = None if c is None else c.repeat_interleave(steps, 0)
        x = decode(model, z.reshape(-1, *a.shape[1:]), fixed_c)
    return x.reshape(len(start), steps, *x.shape[1:])


def path_codes(
    a: Tensor,
    b: Tensor,
    *,
    steps: int = 10,
    path: str = "linear",
    density: LatentDensity | None = None,
) -> Tensor:
    """Return the codes on a path between each pair of codes, with shape (N, steps, D).

    Arguments:
        a: The codes at the start of each path, with shape (N, D).
        b: The codes at the end of each path, with shape (N, D).
        steps: The number of points on each path, including both ends.
        path: The type of path; see `interpolate`.
        density: The density of the codes of training data; required for "density".

    Raises:
        VariedError: If the path is unknown, or if it is "density" and ``density`` is None.
    """
    points = lookup(PATHS, path, "path")
    if path == "density" and density is None:
        raise VariedError(
            "path='density' requires a latent density; pass the result of `fit_latent_density` as "
            "`density`."
        )
    options = {"density": density} if path == "density" else {}
    return points(a, b, torch.linspace(0, 1, steps, device=a.device), **options)


def grid(model: LatentModel, x: Tensor, c: Tensor | None = None, *, steps: int = 8) -> Tensor:
    r"""Decode a bilinear interpolation between the codes of four examples.

    .. math:: z(s, t) = (1 - s)(1 - t) \, z_1 + (1 - s) \, t \, z_2 + s \, (1 - t) \, z_3
        + s \, t \, z_4

    Arguments:
        model: The model.
        x: The corners, with shape (4, *event): upper left, upper right, lower left and lower right.
        c: The contexts of the corners, with shape (4, F), or None; they are interpolated like the
            codes.
        steps: The number of points along each side.

    Returns:
        Data with shape (steps, steps, *event).

    Raises:
        VariedError: If there are not four examples.
    """
    if len(x) != 4:
        raise VariedError(f"A grid requires exactly 4 examples, got {len(x)}.")
    with eval_float32(model):
        z, contexts = grid_codes(model, model.encode(x, c).mean, c, steps=steps)
        decoded = decode(model, z, contexts)
    return decoded.reshape(steps, steps, *decoded.shape[1:])


def grid_codes(
    model: LatentModel, corners: Tensor, c: Tensor | None = None, *, steps: int = 8
) -> tuple[Tensor, Tensor | None]:
    """Return the codes and the contexts on a bilinear grid between four codes; see `grid`.

    Arguments:
        model: The model.
        corners: The codes of the corners, with shape (4, *latent).
        c: The contexts of the corners, with shape (4, F), or None.
        steps: The number of points along each side.

    Returns:
        Codes with shape (steps * steps, *latent), row by row; and their contexts, with shape
        (steps * steps, F), or None.
    """
    codes = model.standardize(corners, c)
    t = torch.linspace(0, 1, steps, device=codes.device)
    weights = torch.stack([1 - t, t], 1)
    weights = torch.einsum("ia,jb->ijab", weights, weights).reshape(-1, 4)
    z = (weights @ codes.flatten(1)).reshape(-1, *codes.shape[1:])
    contexts = None if c is None else weights @ c
    return model.unstandardize(z, contexts), contexts
