"""New data from the prior."""

from __future__ import annotations

import torch
from torch import Tensor

from varied.functional.decode import decode
from varied.models import LatentModel, Temperature
from varied.runtime import eval_float32
from varied.seeding import seeded

__all__ = ["manifold", "quantiles", "sample"]


def sample(
    model: LatentModel,
    n: int,
    c: Tensor | None = None,
    *,
    temperature: Temperature = 1.0,
    sample_x: bool = False,
    seed: int = 0,
) -> Tensor:
    """Return new data, with shape (n, *event); the same seed gives the same.

    Arguments:
        model: The model.
        n: How many.
        c: The context, with shape (n, F), or None.
        temperature: A factor on the deviation from the prior's mean: below 1 is more typical; a
            ladder takes one for each level too, from the datum upwards.
        sample_x: Whether to draw from p(x given z) rather than take its mean.
        seed: Which draws.
    """
    with eval_float32(model), seeded(seed, "sample"):
        return decode(model, model.sample_prior(n, c, temperature), c, sample_x=sample_x)


def quantiles(count: int, reach: float = 0.99) -> Tensor:
    """Return quantiles of a standard normal, evenly spread over its central mass; shape (count)."""
    tail = (1 - reach) / 2
    places = torch.linspace(tail, 1 - tail, count, dtype=torch.float64)
    values: Tensor = torch.special.ndtri(places).float()
    return values


def manifold(model: LatentModel, side: int = 20, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return what a two-dimensional latent space decodes to, on a grid of prior quantiles.

    Arguments:
        model: A model with two latent dimensions.
        side: Rows and columns of the grid.
        c: The context, with shape (1, F), or None.

    Returns:
        Data with shape (side * side, *event), where number ``i * side + j`` lies at z0 = value j
        and z1 = value i; and the values, rising, with shape (side).
    """
    values = quantiles(side)
    z1, z0 = torch.meshgrid(values, values, indexing="ij")
    z = torch.stack([z0.flatten(), z1.flatten()], 1)
    return decode(model, z, None if c is None else c.expand(len(z), -1)), values
