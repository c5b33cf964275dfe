"""Importance-weighted bounds."""

from __future__ import annotations

from varied.errors import VariedError, lookup
from varied.objectives.base import Objective, WeightedTerm
from varied.schedules import Number
from varied.terms import CIWAE, PIWAE, DReG, MultiplyIWAE, SubsampledIWAE
from varied.terms import iwae as weighted

__all__ = ["ciwae", "iwae", "multiply_iwae", "piwae"]

ESTIMATORS = {"standard": SubsampledIWAE, "dreg": DReG}


def iwae(samples: int = 5, gradient_estimator: str = "standard", n_kept: int = 0) -> Objective:
    r"""The negative importance-weighted bound: the tighter, the more draws.

    .. math:: -\log \frac1K \sum_k \frac{p(x, z_k)}{q(z_k \mid x)}

    One draw is the evidence lower bound, with the KL taken from the draw.

    References:
        Importance Weighted Autoencoders (Burda et al., 2015), https://arxiv.org/abs/1509.00519
        Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives (Tucker et al., 2018),
        https://arxiv.org/abs/1810.04152

    Arguments:
        samples: The number K of draws for each datum; a step takes about K times as long.
        gradient_estimator: Of the encoder's gradient: "standard", or "dreg", which is less noisy, the more
            so with many draws.
        n_kept: Learn from this many draws, picked by their weights, in place of all: without
            bias, a little more noisy, and a quarter faster with 5 of 50; 0 learns from all.
    """
    _at_least_one(samples=samples)
    estimate = lookup(ESTIMATORS, gradient_estimator, "gradient estimator")
    if n_kept:
        _at_least_one(n_kept=n_kept)
    term = weighted if estimate is SubsampledIWAE and not n_kept else estimate(n_kept)
    return Objective(WeightedTerm("iwae", term), samples=samples)


def multiply_iwae(n_groups: int = 8, samples: int = 8) -> Objective:
    r"""The mean of importance-weighted bounds: an encoder that still learns, a bound less tight.

    .. math:: -\frac1M \sum_m \log \frac1K \sum_k w_{mk}

    References:
        Tighter Variational Bounds are Not Necessarily Better (Rainforth et al., 2018),
        https://arxiv.org/abs/1802.04537

    Arguments:
        n_groups: The number M of bounds.
        samples: The number K of draws for each; a step takes about M times K times as long.
    """
    _at_least_one(n_groups=n_groups, samples=samples)
    return Objective(WeightedTerm("miwae", MultiplyIWAE(n_groups)), samples=n_groups * samples)


def piwae(n_groups: int = 8, samples: int = 8) -> Objective:
    r"""The decoder learns by the tight bound of all draws, the encoder by the mean of looser ones.

    .. math:: \theta: -\log \frac1{MK} \sum_{mk} w_{mk}, \qquad
        \phi: -\frac1M \sum_m \log \frac1K \sum_k w_{mk}

    References:
        Tighter Variational Bounds are Not Necessarily Better (Rainforth et al., 2018),
        https://arxiv.org/abs/1802.04537

    Arguments:
        n_groups: The number M of the encoder's bounds.
        samples: The number K of draws for each; a step takes about M times K times as long.
    """
    _at_least_one(n_groups=n_groups, samples=samples)
    return Objective(WeightedTerm("piwae", PIWAE(n_groups)), samples=n_groups * samples)


def ciwae(elbo_share: Number = 0.05, samples: int = 5) -> Objective:
    r"""A mixture of the evidence lower bound and the importance-weighted one.

    .. math:: -\beta \, \mathrm{ELBO} - (1 - \beta) \log \frac1K \sum_k w_k

    References:
        Tighter Variational Bounds are Not Necessarily Better (Rainforth et al., 2018),
        https://arxiv.org/abs/1802.04537

    Arguments:
        elbo_share: The share of the evidence lower bound, from 0 to 1, a number or a schedule.
        samples: The number K of draws for each datum; a step takes about K times as long.
    """
    _at_least_one(samples=samples)
    if isinstance(elbo_share, float | int) and not 0 <= elbo_share <= 1:
        raise VariedError(f"elbo_share={elbo_share} must be from 0 to 1; 0.05 is usual.")
    return Objective(WeightedTerm("ciwae", CIWAE(elbo_share)), samples=samples)


def _at_least_one(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise VariedError(f"{name}={count} must be at least 1; 5 to 8 is usual.")
