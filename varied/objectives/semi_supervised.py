"""Learning classes from few labels."""

from __future__ import annotations

from varied.errors import VariedError
from varied.objectives.base import Objective, WeightedTerm
from varied.schedules import Number
from varied.terms import kl, reconstruction
from varied.terms.semi_supervised import Classification, UpperTerm

__all__ = ["m1m2", "m2"]


def m2(alpha: Number = 5.0, beta: Number = 1.0) -> Objective:
    r"""The bound, and what the classifier pays for the labels.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \beta \, KL(q, p) - \alpha \log q(y \mid x)

    where the last is a mean over the rows that have a label. With architecture='m2' it is that of
    M2. With a architecture='m1m2' it is M1+M2 where that is joint, else M1 and a classifier on its
    codes.

    A weight of the KL that falls to 1, such as linear(5, 1, 0.5), is worth a try: at first only the
    class is worth its price, and it stays undecided for longer.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298

    Arguments:
        alpha: The weight of classifying the labeled rows, a number or a schedule.
        beta: The weight of the KL, a number or a schedule.
    """
    _above(alpha, "alpha")
    _above(beta, "beta")
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("kl", kl, beta),
        WeightedTerm("classification", Classification(), alpha),
    )


def m1m2(alpha: Number = 5.0, generative_weight: Number = 1.0, beta: Number = 1.0) -> Objective:
    r"""The bound of M1, that of M2 on its codes, and what the classifier pays for the labels.

    .. math:: L_1(x) + g \, L_2(z_1) - \alpha \log q(y \mid z_1)

    For a architecture='m1m2' that is not joint.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298

    Arguments:
        alpha: The weight of classifying the labeled rows, a number or a schedule.
        generative_weight: The weight of the bound of M2, a number or a schedule.
        beta: The weight of the KL of M1, a number or a schedule; below 1 the codes say more of a
            datum, and M2 has more to tell classes by.
    """
    _above(alpha, "alpha")
    _above(generative_weight, "generative")
    _above(beta, "beta")
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("kl", kl, beta),
        WeightedTerm("upper_reconstruction", UpperTerm(reconstruction), generative_weight),
        WeightedTerm("upper_kl", UpperTerm(kl), generative_weight),
        WeightedTerm("classification", Classification(), alpha),
    )


def _above(value: Number, name: str) -> None:
    if isinstance(value, float | int) and value < 0:
        raise VariedError(f"{name}={value} must not be below 0; 0 leaves its part out.")
