"""Objectives for disentangled representations, without a discriminator."""

from __future__ import annotations

from varied.objectives.base import Objective, WeightedTerm
from varied.schedules import Linear, Number
from varied.terms import (
    Capacity,
    DimensionWiseKL,
    IndexCodeMI,
    TotalCorrelation,
    VariancePenalty,
    covariance_penalty,
    kl,
    reconstruction,
)


def annealed_capacity(gamma: Number = 5.0, capacity: Number = Linear(0, 25, 0.7)) -> Objective:  # noqa: B008
    r"""Reconstruction plus the distance between the KL and a capacity that grows during training.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \gamma \left| \overline{KL} - C_t \right|

    As the capacity increases, the latent dimensions encode one factor of variation after another.
    The defaults are for MNIST, where the KL is about 25 nats.

    References:
        Understanding disentangling in beta-VAE (Burgess et al., 2018),
        https://arxiv.org/abs/1804.03599

    Arguments:
        gamma: The penalty per nat of distance from the capacity: a number or a schedule. On MNIST,
            5 keeps the KL within half a nat of the capacity; with 30, the codes become
            uninformative, and the value of 1000 from the paper requires longer training runs.
        capacity: The target KL in nats: a number or a schedule.
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
    r"""Reconstruction plus capacity terms for continuous and for discrete latent variables.

    .. math:: \mathbb E_q[-\log p(x \mid z, y)] + \gamma \left| \overline{KL}_z - C_z \right|
        + \gamma \left| \overline{KL}_y - C_y \right|

    Without the second capacity, a model tends to ignore its discrete latent variable. This
    objective requires posterior='gaussian-gumbel' and prior='gaussian-categorical'.

    References:
        Learning Disentangled Joint Continuous and Discrete Representations (Dupont, 2018),
        https://arxiv.org/abs/1804.00104

    Arguments:
        gamma: The penalty per nat of distance from the capacities: a number or a schedule.
        continuous_capacity: The target KL of the continuous latent variables, in nats: a number or
            a schedule.
        discrete_capacity: The target KL of the discrete latent variable, in nats: a number or a
            schedule. The KL cannot exceed the logarithm of the number of classes, which is 2.30 for
            ten classes.
    """
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("continuous_capacity", Capacity(continuous_capacity, factor=0), gamma),
        WeightedTerm("discrete_capacity", Capacity(discrete_capacity, factor=1), gamma),
    )


def beta_tc_vae(
    tc_weight: Number = 6.0,
    mi_weight: Number = 1.0,
    dimension_kl_weight: Number = 1.0,
    dataset_size: int = 0,
) -> Objective:
    r"""The negative ELBO with a decomposed KL, in which the total correlation has a larger weight.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \alpha \, I(z; n)
        + \beta \, KL(q(z) \,\|\, \textstyle\prod_j q(z_j))
        + \gamma \textstyle\sum_j KL(q(z_j) \,\|\, p(z_j))

    If all weights are 1, this is the negative ELBO. The aggregate posterior is estimated from the
    batch, so larger batches result in better estimates.

    References:
        Isolating Sources of Disentanglement in VAEs (Chen et al., 2018),
        https://arxiv.org/abs/1802.04942

    Arguments:
        tc_weight: The weight of the total correlation: a number or a schedule.
        mi_weight: The weight of the mutual information between an example and its code.
        dimension_kl_weight: The weight of the KL between the marginals of the codes and the prior.
        dataset_size: The number of training rows; it shifts the reported values but does not affect
            the gradients. If 0, the batch is treated as the dataset.
    """
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("mutual_information", IndexCodeMI(dataset_size), mi_weight),
        WeightedTerm("total_correlation", TotalCorrelation(dataset_size), tc_weight),
        WeightedTerm("dimension_kl", DimensionWiseKL(dataset_size), dimension_kl_weight),
    )


def dip_vae(variant: str = "i", lambda_od: Number = 10.0, lambda_d: Number = 10.0) -> Objective:
    r"""DIP-VAE: the negative ELBO plus penalties on the distance of the code covariance from I.

    .. math:: -\mathrm{ELBO} + \lambda_{od} \textstyle\sum_{i \ne j} C_{ij}^2
        + \lambda_d \textstyle\sum_i (C_{ii} - 1)^2

    References:
        Variational Inference of Disentangled Latent Concepts from Unlabeled Observations
        (Kumar et al., 2017), https://arxiv.org/abs/1711.00848

    Arguments:
        variant: The DIP-VAE variant: "i" for the covariance C of the posterior means, or "ii" for
            the covariance of posterior draws.
        lambda_od: The weight of the off-diagonal elements: a number or a schedule.
        lambda_d: The weight of the diagonal elements: a number or a schedule. The paper uses 10
            times ``lambda_od`` for variant "i", which makes every dimension active, and the same
            value as ``lambda_od`` for variant "ii".
    """
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("kl", kl),
        WeightedTerm("covariance_penalty", covariance_penalty, lambda_od),
        WeightedTerm("variance_penalty", VariancePenalty(variant), lambda_d),
    )
