"""Objectives that ask for dimensions which mean something each, by itself."""

from __future__ import annotations

from varied.errors import VariedError
from varied.objectives.base import Objective, WeightedTerm
from varied.schedules import Linear, Number
from varied.terms import (
    Capacity,
    DimensionWiseKL,
    IndexCodeMI,
    PartCapacity,
    TotalCorrelation,
    VariancePenalty,
    covariance_penalty,
    kl,
    reconstruction,
)

__all__ = ["annealed_capacity", "beta_tc_vae", "dip_vae", "joint_vae"]


def annealed_capacity(gamma: Number = 5.0, capacity: Number = Linear(0, 25, 0.7)) -> Objective:  # noqa: B008
    r"""Reconstruction, with a KL that is held at a capacity which grows.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \gamma \left| \overline{KL} - C_t \right|

    Factors of variation find their dimensions one after the other, as there is room for them. The
    defaults suit digits, which take about 25 nats in all.

    References:
        Understanding disentangling in beta-VAE (Burgess et al., 2018),
        https://arxiv.org/abs/1804.03599

    Arguments:
        gamma: Nats that a nat too much or too little costs, a number or a schedule. 5 holds the
            capacity within half a nat on digits; 30 buys it with codes that say nothing of the
            data, and the paper's 1000 is for longer runs.
        capacity: The KL to hold, in nats, a number or a schedule.
    """
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("capacity", Capacity(capacity), gamma),
    )


def joint_vae(
    gamma: Number = 5.0,
    continuous_capacity: Number = Linear(0, 20, 0.7),  # noqa: B008
    discrete_capacity: Number = Linear(0, 2.2, 0.7),  # noqa: B008
) -> Objective:
    r"""Reconstruction, with one capacity for numbers and one for a choice among classes.

    .. math:: \mathbb E_q[-\log p(x \mid z, y)] + \gamma \left| \overline{KL}_z - C_z \right|
        + \gamma \left| \overline{KL}_y - C_y \right|

    Without the second, a model tells all by its numbers, and leaves the choice alone. For
    posterior='gaussian-gumbel' and prior='gaussian-categorical'.

    References:
        Learning Disentangled Joint Continuous and Discrete Representations (Dupont, 2018),
        https://arxiv.org/abs/1804.00104

    Arguments:
        gamma: Nats that a nat too much or too little costs, a number or a schedule.
        continuous_capacity: The KL of the numbers to hold, in nats, a number or a schedule.
        discrete_capacity: The KL of the choice to hold, in nats, a number or a schedule; at most the
            logarithm of the number of classes, which is 2.30 for ten.
    """
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("continuous_capacity", PartCapacity(continuous_capacity, 0), gamma),
        WeightedTerm("discrete_capacity", PartCapacity(discrete_capacity, 1), gamma),
    )


def beta_tc_vae(
    tc_weight: Number = 6.0,
    mi_weight: Number = 1.0,
    dimension_kl_weight: Number = 1.0,
    dataset_size: int = 0,
) -> Objective:
    r"""The bound with its KL in three parts, and a weight on the dependence between dimensions.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \alpha \, I(z; n)
        + \beta \, KL(q(z), \textstyle\prod_j q(z_j))
        + \gamma \textstyle\sum_j KL(q(z_j), p(z_j))

    All weights at 1 are the bound. The mixtures over data are read off the batch, so a larger batch
    tells more of them.

    References:
        Isolating Sources of Disentanglement in VAEs (Chen et al., 2018),
        https://arxiv.org/abs/1802.04942

    Arguments:
        tc_weight: The weight of the total correlation, a number or a schedule.
        mi_weight: The weight of what a code says of which datum it is.
        dimension_kl_weight: The weight of the KL of each dimension by itself.
        dataset_size: The number of training rows, which shifts the parts that are shown and not what is
            learned; 0 takes the batch for the whole.
    """
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("mutual_information", IndexCodeMI(dataset_size), mi_weight),
        WeightedTerm("total_correlation", TotalCorrelation(dataset_size), tc_weight),
        WeightedTerm("dimension_kl", DimensionWiseKL(dataset_size), dimension_kl_weight),
    )


def dip_vae(variant: str = "i", lambda_od: Number = 10.0, lambda_d: Number = 10.0) -> Objective:
    r"""The bound, and codes of all data whose covariance is near that of the prior.

    .. math:: -\mathrm{ELBO} + \lambda_{od} \textstyle\sum_{i \ne j} C_{ij}^2
        + \lambda_d \textstyle\sum_i (C_{ii} - 1)^2

    References:
        Variational Inference of Disentangled Latent Concepts from Unlabeled Observations
        (Kumar et al., 2017), https://arxiv.org/abs/1711.00848

    Arguments:
        variant: "i" (DIP-VAE-I) takes the covariance of the means, "ii" (DIP-VAE-II) that of the draws.
        lambda_od: The weight of covariances, a number or a schedule.
        lambda_d: The weight of variances; the paper has 10 times ``off`` for kind 1, which makes
            every dimension active, and ``off`` for kind 2.
    """
    if variant not in ("i", "ii"):
        raise VariedError(f"variant='{variant}' must be 'i' or 'ii'.")
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("kl", kl),
        WeightedTerm("covariance_penalty", covariance_penalty, lambda_od),
        WeightedTerm("variance_penalty", VariancePenalty(variant), lambda_d),
    )
