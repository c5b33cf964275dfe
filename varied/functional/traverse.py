"""One latent dimension moved at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from varied.functional.decode import decode
from varied.models import LatentModel

__all__ = ["traverse"]

#: Standard deviations of the prior on both sides: 99 % of its mass.
REACH = 2.576


def traverse(
    model: LatentModel,
    z: Tensor,
    dimensions: Sequence[int],
    c: Tensor | None = None,
    *,
    steps: int = 9,
) -> tuple[Tensor, Tensor]:
    """Return what each dimension does when it alone moves over the prior's central mass.

    Arguments:
        model: The model.
        z: The latent to start from, with shape (D).
        dimensions: Which dimensions, a row each.
        c: The context, with shape (1, F), or None.
        steps: Values of each dimension.

    Returns:
        Data with shape (len(dimensions), steps, *event), and the values, with shape (steps).
    """
    values = torch.linspace(-REACH, REACH, steps)
    moved = z.repeat(len(dimensions), steps, 1)
    for row, dimension in enumerate(dimensions):
        moved[row, :, dimension] = values
    flat = moved.flatten(0, 1)
    x = decode(model, flat, None if c is None else c.expand(len(flat), -1))
    return x.reshape(len(dimensions), steps, *x.shape[1:]), values
