"""Learning classes from few labels."""

from __future__ import annotations

from varied.errors import VariedError
from varied.objectives.base import Objective, Weighted
from varied.schedules import Number
from varied.terms import distortion, rate
from varied.terms.classes import Above, Classification

__all__ = ["semi", "stacked"]


def semi(alpha: Number = 5.0, beta: Number = 1.0) -> Objective:
    r"""The bound, and what the classifier pays for the labels.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \beta \, KL(q, p) - \alpha \log q(y \mid x)

    where the last is a mean over the rows that have a label. With structure='classes' it is that of
    M2. With a structure='stacked' it is M1+M2 where that is joint, else M1 and a classifier on its
    codes.

    A weight of the KL that falls to 1, such as linear(5, 1, 0.5), is worth a try: at first only the
    class is worth its price, and it stays undecided for longer.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298

    Arguments:
        alpha: The weight of classifying the labelled rows, a number or a schedule.
        beta: The weight of the KL, a number or a schedule.
    """
    _above(alpha, "alpha")
    _above(beta, "beta")
    return Objective(
        Weighted("distortion", distortion),
        Weighted("rate", rate, beta),
        Weighted("classification", Classification(), alpha),
    )


def stacked(alpha: Number = 5.0, generative: Number = 1.0, beta: Number = 1.0) -> Objective:
    r"""The bound of M1, that of M2 on its codes, and what the classifier pays for the labels.

    .. math:: L_1(x) + g \, L_2(z_1) - \alpha \log q(y \mid z_1)

    For a structure='stacked' that is not joint.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298

    Arguments:
        alpha: The weight of classifying the labelled rows, a number or a schedule.
        generative: The weight of the bound of M2, a number or a schedule.
        beta: The weight of the KL of M1, a number or a schedule; below 1 the codes say more of a
            datum, and M2 has more to tell classes by.
    """
    _above(alpha, "alpha")
    _above(generative, "generative")
    _above(beta, "beta")
    return Objective(
        Weighted("distortion", distortion),
        Weighted("rate", rate, beta),
        Weighted("above_distortion", Above(distortion), generative),
        Weighted("above_rate", Above(rate), generative),
        Weighted("classification", Classification(), alpha),
    )


def _above(value: Number, name: str) -> None:
    if isinstance(value, float | int) and value < 0:
        raise VariedError(f"{name}={value} must not be below 0; 0 leaves its part out.")
