"""What the latent space holds: which units are active, and whether the posterior collapsed."""

from __future__ import annotations

import torch
from torch import Tensor

from varied.evaluate.estimate import Estimate
from varied.randomness import generator

__all__ = ["THRESHOLD", "active_units", "collapse", "is_active"]

#: The variance of a unit's posterior mean, over data, above which it counts as active.
THRESHOLD = 0.01


def is_active(means: Tensor) -> Tensor:
    r"""Return which latent units depend on the data, as bool with shape (D).

    .. math:: \mathrm{Var}_x(\mathbb E_{q(z \mid x)}[z_j]) > 0.01

    References:
        Importance Weighted Autoencoders (Burda et al., 2015), https://arxiv.org/abs/1509.00519

    Arguments:
        means: The mean of each posterior, with shape (N, D).
    """
    return means.var(0) > THRESHOLD


def active_units(means: Tensor, resamples: int = 50) -> Estimate:
    """Return the number of active units, with its standard error over resampled data.

    Arguments:
        means: The mean of each posterior, with shape (N, D).
        resamples: Bootstrap resamples for the standard error.
    """
    n = len(means)
    counts = []
    for i in range(resamples):
        rows = torch.randint(n, (min(n, 2000),), generator=generator(0, "active units", i))
        counts.append(is_active(means[rows]).sum())
    error = torch.stack(counts).double().std() * (min(n, 2000) / n) ** 0.5
    return Estimate(float(is_active(means).sum()), float(error), n)


def collapse(active: float, latent: int) -> str | None:
    """Return a warning, with the cures, where fewer than 10 % of the units are active."""
    if active >= 0.1 * latent:
        return None
    return (
        f"The posterior has collapsed: {int(active)} of {latent} latent units are active, so the "
        "code says next to nothing about the data. Warm the KL up (--beta 'linear(0, 1, 2000)'), "
        "give each unit free bits (--free-bits 0.25), or take a smaller --beta."
    )
