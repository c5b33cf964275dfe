"""Data for latents."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from varied.models import LatentModel
from varied.runtime import eval_float32

__all__ = ["decode"]


def decode(
    model: LatentModel, z: Tensor, c: Tensor | None = None, *, sample_x: bool = False
) -> Tensor:
    """Return data for latents: the mean of p(x given z), or a draw from it.

    Arguments:
        model: The model.
        z: Latents, with shape (N, *latent).
        c: The context, with shape (N, F), or None.
        sample_x: Whether to draw; a mean is smoother than any datum, a draw has the noise of one.

    Returns:
        Data with shape (N, *event).
    """
    with eval_float32(model):
        px: Distribution = model.decode(z, c)
        x: Tensor = px.sample() if sample_x else px.mean
        return x
