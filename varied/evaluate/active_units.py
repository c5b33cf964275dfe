"""Active latent units, and warnings about collapsed posteriors and unused codes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from varied.evaluate._resampling import bootstrap_std
from varied.evaluate._types import Ints
from varied.evaluate.estimate import Estimate

#: A unit is active if the variance of its posterior mean over the data exceeds this value.
THRESHOLD = 0.01
#: A KL is negative, not just inexact, if it is below 0 by more than this number of standard errors
#: and more than this number of nats, which exceeds the rounding errors of float32.
_MAX_ERRORS, _ROUNDING = 4.0, 1e-3


def is_active(means: Tensor) -> Tensor:
    r"""Return whether each latent unit depends on the data, bool with shape (D).

    .. math:: \mathrm{Var}_x(\mathbb E_{q(z \mid x)}[z_j]) > 0.01

    References:
        Importance Weighted Autoencoders (Burda et al., 2015), https://arxiv.org/abs/1509.00519

    Arguments:
        means: The mean of each posterior, with shape (N, D). If the prior depends on a context, the
            means must be standardized with `Prior.standardize`.
    """
    return means.var(0, correction=min(1, len(means) - 1)) > THRESHOLD


def active_units(means: Tensor, resamples: int = 50) -> Estimate:
    """Return the number of active units, with its bootstrap standard error.

    Arguments:
        means: The mean of each posterior, with shape (N, D); see `is_active`.
        resamples: The number of bootstrap resamples for the standard error.
    """

    def count(rows: Ints | slice) -> float:
        return float(is_active(means[rows]).sum())

    error = bootstrap_std(count, len(means), resamples, 0, "active units", 2000)
    return Estimate(count(slice(None)), error, len(means))


def collapse_warning(active: float, latent_dim: int) -> str | None:
    """Return a warning with remedies if fewer than 10% of the units are active."""
    if active >= 0.1 * latent_dim:
        return None
    units = f"only {active:.0f} of {latent_dim} latent units are active"
    if active < 0.5:
        units = f"none of the {latent_dim} latent units is active"
    return (
        f"The posterior has collapsed: {units}, so the decoder ignores most of the code. Anneal "
        "the KL weight (--beta 'linear(0, 1, 2000)'), use free bits (--free-bits 0.25), or lower "
        "--beta."
    )


def negative_kl_warning(kl: Estimate | None) -> str | None:
    """Return a warning if a KL is negative by more than its sampling and rounding error."""
    if kl is None or not kl.value < -max(_MAX_ERRORS * kl.error, _ROUNDING):
        return None
    return (
        f"The KL is negative ({kl.value:.2g} nats), which is impossible: training has not "
        "converged, and the weights are not usable; train again with a lower learning rate (--lr)."
    )


def collapsed_levels_warning(kl_by_level: Sequence[float]) -> str | None:
    """Return a warning if the KL divergence of some levels of a hierarchy is below 0.1 nats.

    Arguments:
        kl_by_level: The mean KL of each level, from the bottom level up, in nats.
    """
    collapsed = [str(level) for level, kl in enumerate(kl_by_level, 1) if kl < 0.1]
    if not collapsed:
        return None
    plural = len(collapsed) > 1
    subject = f"Level{'s' * plural} {', '.join(collapsed)} of {len(kl_by_level)}"
    return (
        f"{subject} carr{'y' if plural else 'ies'} less than 0.1 nats (level 1 is closest to the "
        "data); use fewer levels, or use free bits for each level (--free-bits-per-level 1)."
    )


def unused_codes_warning(usage: float, codebook_size: int) -> str | None:
    """Return a warning with remedies if less than half of a codebook is used."""
    if usage >= 0.5:
        return None
    return (
        f"Only {100 * usage:.0f}% of the {codebook_size} codes are used; use a smaller codebook "
        f"(--codebook-size {codebook_size // 4}), replace unused codes sooner "
        "(--dead-code-threshold 0.1), or use --posterior fsq, which has no codebook."
    )
