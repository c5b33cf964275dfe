"""Objectives for semi-supervised models."""

from __future__ import annotations

from varied.objectives.base import Objective, WeightedTerm, check_not_negative
from varied.schedules import Number
from varied.terms import Classification, UpperTerm, kl, reconstruction


def m2(alpha: Number = 5.0, beta: Number = 1.0) -> Objective:
    r"""The negative ELBO plus the classification loss of labeled examples.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \beta \, KL(q \,\|\, p) - \alpha \log q(y \mid x)

    where the last term is a mean over the labeled examples. With architecture='m2', this is the
    objective of M2. With architecture='m1m2', it is the objective of a joint M1+M2, or of M1 with a
    classifier of its codes.

    A KL weight that decays to 1, such as linear(5, 1, 0.5), often helps: as long as the weight is
    large, only the class reduces the reconstruction error by more than it adds to the weighted KL,
    and the classifier does not become confident too early.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298

    Arguments:
        alpha: The weight of the classification loss: a number or a schedule.
        beta: The weight of the KL: a number or a schedule.
    """
    check_not_negative("0 removes the term", alpha=alpha, beta=beta)
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("kl", kl, beta),
        WeightedTerm("classification", Classification(), alpha),
    )


def m1m2(alpha: Number = 5.0, generative_weight: Number = 1.0, beta: Number = 1.0) -> Objective:
    r"""The negative ELBOs of M1 and of M2 on the codes of M1, plus the classification loss.

    .. math:: L_1(x) + g \, L_2(z_1) - \alpha \log q(y \mid z_1)

    where :math:`L_1` and :math:`L_2` are the negative ELBOs. This objective requires
    architecture='m1m2' with joint=False.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298

    Arguments:
        alpha: The weight of the classification loss: a number or a schedule.
        generative_weight: The weight of the negative ELBO of M2: a number or a schedule.
        beta: The weight of the KL of M1: a number or a schedule. Below 1, the codes contain more
            information about the data, from which M2 can infer the class.
    """
    weights = {"alpha": alpha, "generative_weight": generative_weight, "beta": beta}
    check_not_negative("0 removes the term", **weights)
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("kl", kl, beta),
        WeightedTerm("upper_reconstruction", UpperTerm(reconstruction), generative_weight),
        WeightedTerm("upper_kl", UpperTerm(kl), generative_weight),
        WeightedTerm("classification", Classification(), alpha),
    )
