"""The evidence lower bound, and reconstruction alone."""

from __future__ import annotations

from varied.errors import VariedError
from varied.objectives.base import Objective, Weighted
from varied.schedules import Number
from varied.terms import FreeBits, distortion, rate

__all__ = ["elbo", "reconstruction"]


def elbo(beta: Number = 1.0, free_bits: Number = 0.0) -> Objective:
    r"""The negative evidence lower bound, with a weight on the KL.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \beta \, KL(q(z \mid x), p(z))

    With ``beta=1`` it is the bound itself; a schedule is KL annealing.

    References:
        beta-VAE (Higgins et al., 2017), https://openreview.net/forum?id=Sy2fzU9gl

    Arguments:
        beta: The weight of the KL, a number, or a schedule such as linear(0, 1, 2000).
        free_bits: Nats of each dimension that cost nothing, a number or a schedule.
    """
    if isinstance(beta, float | int) and beta < 0:
        raise VariedError(f"beta={beta} must not be below 0; 0 is an objective='reconstruction'.")
    free = FreeBits(free_bits) if free_bits else None
    cost = Weighted("free_rate", free, beta) if free is not None else Weighted("rate", rate, beta)
    return Objective(Weighted("distortion", distortion), cost)


def reconstruction() -> Objective:
    r"""Reconstruction alone: the objective of an autoencoder.

    .. math:: \mathbb E_q[-\log p(x \mid z)]
    """
    return Objective(Weighted("distortion", distortion))
