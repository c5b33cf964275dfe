"""Latent traversals, and grids over two-dimensional latent spaces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from varied.functional.generate import decode
from varied.models import LatentModel
from varied.runtime import eval_float32

#: The maximum distance of a traversal from the mean, in prior standard deviations; the range
#: contains 99% of the mass.
RANGE = 2.576


def traverse(
    model: LatentModel,
    z: Tensor,
    dimensions: Sequence[int],
    c: Tensor | None = None,
    *,
    steps: int = 9,
) -> tuple[Tensor, Tensor]:
    """Vary one latent dimension at a time over the central 99% of the prior.

    Arguments:
        model: The model.
        z: The latent variables to start from, with shape (*latent).
        dimensions: The dimensions to vary, as indices of the flattened latent variables.
        c: The context, with shape (1, F), or None.
        steps: The number of values for each dimension.

    Returns:
        Data with shape (len(dimensions), steps, *event), and the values in standard deviations of
        the prior, with shape (steps).
    """
    values = torch.linspace(-RANGE, RANGE, steps)
    with eval_float32(model):
        codes = model.standardize(z[None], c).flatten(1).repeat(len(dimensions), steps, 1)
    for row, dimension in enumerate(dimensions):
        codes[row, :, dimension] = values
    x = _decode_standardized(model, codes.flatten(0, 1), c)
    return x.reshape(len(dimensions), steps, *x.shape[1:]), values


def manifold(model: LatentModel, side: int = 20, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Decode a two-dimensional latent space on a grid of prior quantiles.

    Arguments:
        model: A model with two latent dimensions.
        side: The number of rows and columns of the grid.
        c: The context, with shape (1, F), or None.

    Returns:
        Data with shape (side * side, *event), where element ``i * side + j`` has the i-th value in
        the second latent dimension and the j-th value in the first; and the values in ascending
        order, with shape (side).
    """
    values = normal_quantiles(side)
    z1, z0 = torch.meshgrid(values, values, indexing="ij")
    z = torch.stack([z0.flatten(), z1.flatten()], 1)
    return _decode_standardized(model, z, c), values


def _decode_standardized(model: LatentModel, z: Tensor, c: Tensor | None) -> Tensor:
    c = None if c is None else c.expand(len(z), -1)
    with eval_float32(model):
        return decode(model, model.unstandardize(z.reshape(-1, *model.latent_shape), c), c)


def normal_quantiles(n: int, mass: float = 0.99) -> Tensor:
    """Return n standard normal quantiles, evenly spaced in probability over the central mass."""
    tail = (1 - mass) / 2
    probabilities = torch.linspace(tail, 1 - tail, n, dtype=torch.float64)
    quantiles: Tensor = torch.special.ndtri(probabilities).float()
    return quantiles
