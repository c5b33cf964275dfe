"""Draws of the code with their weights: what imputation and detection stand on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from varied import distributions as d
from varied.distributions import base_distribution
from varied.models import VAE, LatentModel
from varied.models.vae import zero_missing
from varied.seeding import seeded
from varied.trace import Level, Trace

__all__ = ["CHUNK", "importance_bound", "posterior_draws"]

#: Numbers that the draws of one chunk of rows may fill.
CHUNK = 2**21


def posterior_draws(
    model: LatentModel,
    x: Tensor,
    c: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    samples: int,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    r"""Return draws of the code of each datum, and their log-weights.

    .. math:: \log w_k = \log p(x, z_k) - \log q(z_k \mid x), \qquad z_k \sim q(z \mid x)

    The draws hang on the datum and the seed alone, so that the same datum always comes to the same,
    wherever it stands: all data share the noise that is scaled by their posterior. Where that is
    not a Gaussian they are drawn one by one, which takes longer.

    Arguments:
        model: The model; call it in evaluation mode, without gradients.
        x: Data, with shape (B, *event).
        c: The context, with shape (B, F), or None.
        mask: 1 where observed, with the shape of ``x``, or None.
        samples: The number K of draws; those of all classes together, where a model tries every
            class, each of them once at least.
        seed: Which draws.

    Returns:
        Codes with shape (K, B, *latent), as `decode` takes them, and nats with shape (K, B).
    """
    x = zero_missing(x, mask)
    q = model.encode(x, c) if isinstance(model, VAE) else None
    if q is None or not isinstance(base_distribution(q), d.Gaussian):
        found = [_alone(model, *_row(i, x, c, mask), samples, seed) for i in range(len(x))]
        codes, log_w = zip(*found, strict=True)
        return torch.cat(codes, 1), torch.cat(log_w, 1)
    with seeded(seed, "weigh"):
        shared = torch.randn(samples, 1, *q.event_shape, device=x.device)
    z: Tensor = q.mean + q.variance.sqrt() * shared
    assert isinstance(model, VAE)
    return z, Trace(x, model.decode(z, c), [Level(z, q, model.prior(c))], mask, c=c).log_weight


def importance_bound(log_w: Tensor) -> Tensor:
    r"""Return the importance-weighted bound :math:`\log \frac1K \sum_k w_k`, with shape (B)."""
    return log_w.logsumexp(0) - math.log(len(log_w))


def _row(
    i: int, x: Tensor, c: Tensor | None, mask: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    rows = slice(i, i + 1)
    return x[rows], None if c is None else c[rows], None if mask is None else mask[rows]


def _alone(
    model: LatentModel,
    x: Tensor,
    c: Tensor | None,
    mask: Tensor | None,
    samples: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    with seeded(seed, "weigh"):
        trace = model(x, c, mask, max(1, samples // model.num_enumerated))
    return trace.z, trace.log_weight
