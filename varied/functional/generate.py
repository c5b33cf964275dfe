"""Decoding, reconstruction and sampling."""

from __future__ import annotations

import torch
from torch import Tensor

from varied.distributions import given_library_size
from varied.models import LatentModel, Temperature
from varied.models.vae import zero_missing
from varied.runtime import eval_float32
from varied.seeding import seeded


def decode(
    model: LatentModel, z: Tensor, c: Tensor | None = None, *, sample_x: bool = False
) -> Tensor:
    """Return the mean of p(x | z), or a sample from it, with shape (N, *event).

    Arguments:
        model: The model.
        z: The latent variables, with shape (N, *latent).
        c: The context, with shape (N, F), or None.
        sample_x: Whether to sample from p(x | z) instead of returning its mean. A mean is smoother
            than real data, while a sample contains the noise of the likelihood.
    """
    with eval_float32(model):
        px = model.decode(z, c)
        x: Tensor = px.sample() if sample_x else px.mean
        return x


def reconstruct(model: LatentModel, x: Tensor, c: Tensor | None = None) -> Tensor:
    """Return the mean of p(x | z) at the posterior mean of each example, with the shape of ``x``.

    Arguments:
        model: The model.
        x: The data, with shape (N, *event).
        c: The context, with shape (N, F), or None.
    """
    with eval_float32(model):
        px = given_library_size(model.decode(model.encode(x, c).mean, c), x)
        reconstruction: Tensor = px.mean
        return reconstruction


def reconstruct_missing(
    model: LatentModel, x: Tensor, c: Tensor | None, mask: Tensor | None, *, sweeps: int
) -> Tensor:
    """Return data in which missing values are replaced by their reconstructions.

    The missing values are 0 at first, and each sweep reconstructs them from the completed data.
    This is for encoders that were trained without missing values, which would otherwise have to
    extrapolate to inputs with zeros.

    References:
        Stochastic Backpropagation and Approximate Inference in Deep Generative Models (Rezende et
        al., 2014), https://arxiv.org/abs/1401.4082, with draws instead of means.

    Arguments:
        model: The model.
        x: The data, with shape (N, *event).
        c: The context, with shape (N, F), or None.
        mask: 1 for observed elements, with the shape of ``x``; if None, ``x`` is returned.
        sweeps: The number of sweeps.
    """
    if mask is None:
        return x
    completed = zero_missing(x, mask)
    for _ in range(sweeps):
        completed = torch.where(mask > 0, x, reconstruct(model, completed, c))
    return completed


def sample(
    model: LatentModel,
    n: int,
    c: Tensor | None = None,
    *,
    temperature: Temperature = 1.0,
    sample_x: bool = False,
    seed: int = 0,
) -> Tensor:
    """Return samples from the model, with shape (n, *event).

    Arguments:
        model: The model.
        n: The number of samples.
        c: The context, with shape (n, F), or None.
        temperature: A factor by which deviations from the mean of the prior are multiplied; values
            below 1 result in more typical samples. A ladder VAE also accepts one value per level,
            from the bottom level up.
        sample_x: Whether to sample from p(x | z) instead of returning its mean.
        seed: The random seed.
    """
    with eval_float32(model), seeded(seed, "sample"):
        return decode(model, model.sample_prior(n, c, temperature), c, sample_x=sample_x)
