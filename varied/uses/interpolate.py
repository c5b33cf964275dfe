"""A path between two codes, and what lies along it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from varied.errors import pick
from varied.models import LatentModel
from varied.runtime import exactly
from varied.uses.decode import decode

__all__ = ["PATHS", "interpolate"]


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


PATHS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
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
) -> Tensor:
    """Return what lies between pairs of data; both ends are reconstructions.

    Arguments:
        model: The model.
        start: Data, with shape (N, *event).
        end: Data, with shape (N, *event).
        c: The context of each start, with shape (N, F), or None; it is held along the path.
        steps: Data along each path, both ends among them.
        path: "linear" or "spherical".

    Returns:
        Data with shape (N, steps, *event).
    """
    with exactly(model):
        a, b = (model.encode(x, c).mean for x in (start, end))
        along = torch.linspace(0, 1, steps, device=a.device)
        z = pick(PATHS, path, "path")(a.flatten(1), b.flatten(1), along)
        held = None if c is None else c.repeat_interleave(steps, 0)
        x = decode(model, z.reshape(-1, *a.shape[1:]), held)
    return x.reshape(len(start), steps, *x.shape[1:])
