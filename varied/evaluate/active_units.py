"""What the latent space holds: which units are active, and whether the posterior collapsed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from varied.evaluate.estimate import Estimate
from varied.seeding import generator

__all__ = [
    "THRESHOLD",
    "active_units",
    "collapse_warning",
    "collapsed_levels_warning",
    "is_active",
    "unused_codes_warning",
]

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
    return means.var(0, correction=min(1, len(means) - 1)) > THRESHOLD


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


def collapse_warning(active: float, latent: int) -> str | None:
    """Return a warning, with the cures, where fewer than 10 % of the units are active."""
    if active >= 0.1 * latent:
        return None
    return (
        f"The posterior has collapsed: {int(active)} of {latent} latent units are active, so the "
        "code says next to nothing about the data. Warm the KL up (--beta 'linear(0, 1, 2000)'), "
        "give each unit free bits (--free-bits 0.25), or take a smaller --beta."
    )


def collapsed_levels_warning(rates: Sequence[float]) -> str | None:
    """Return a warning that names the levels of a hierarchy which carry under 0.1 nats.

    Arguments:
        rates: The mean KL of each level, from the datum upwards, in nats.
    """
    quiet = [str(level) for level, rate in enumerate(rates, 1) if rate < 0.1]
    if not quiet:
        return None
    levels = f"Level{'s' * (len(quiet) > 1)} {', '.join(quiet)} of {len(rates)}"
    return (
        f"{levels} carr{'ies' if len(quiet) == 1 else 'y'} less than 0.1 nats (level 1 is nearest "
        "to the data); take fewer levels, or let each have free nats (--free-bits-per-level 1)."
    )


def unused_codes_warning(used: float, codes: int) -> str | None:
    """Return a warning, with the cures, where less than half of a codebook is in use."""
    if used >= 0.5:
        return None
    return (
        f"Only {used:.0%} of the {codes} codes are in use; take fewer (--codes {codes // 4}), "
        "revive dead ones (--revive), or use posterior='fsq', which needs no codebook."
    )
