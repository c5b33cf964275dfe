"""Objectives with a critic: independent codes, codes like the prior, pictures like the data."""

from __future__ import annotations

from varied.discriminators import FeatureMatching, LatentDiscriminator, PatchGAN, TotalCorrelation
from varied.errors import VariedError
from varied.objectives.base import Objective, WeightedTerm
from varied.schedules import Number
from varied.terms import kl, reconstruction

__all__ = ["aae", "factor_vae", "patchgan", "vae_gan", "wae_gan"]


def factor_vae(
    gamma: Number = 10.0,
    disc_width: int = 256,
    disc_depth: int = 3,
    disc_lr: float = 1.0,
) -> Objective:
    r"""The bound, and the total correlation of the codes as a critic estimates it.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + KL(q(z \mid x), p(z))
        + \gamma \, KL(q(z), \textstyle\prod_j q(z_j))

    Independent dimensions tend to be one factor of the data each, with less loss in reconstruction
    than from a large weight on the whole KL.

    References:
        Disentangling by Factorizing (Kim & Mnih, 2018), https://arxiv.org/abs/1802.05983

    Arguments:
        gamma: The weight of the total correlation, a number or a schedule; the paper's best are
            10 to 40.
        disc_width: The units of each hidden layer of the critic.
        disc_depth: The hidden layers of the critic.
        disc_lr: The critic's learning rate as a factor on the model's.
    """
    _sound(gamma=gamma)
    critic = TotalCorrelation(width=disc_width, depth=disc_depth, lr=disc_lr)
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("kl", kl),
        WeightedTerm("total_correlation", critic, gamma),
    )


def aae(
    adv_weight: Number = 10.0,
    disc_width: int = 256,
    disc_depth: int = 3,
    disc_lr: float = 1.0,
    r1_weight: float = 1.0,
) -> Objective:
    r"""Reconstruction, and codes that a critic cannot tell from draws of the prior.

    .. math:: \mathbb E_q[-\log p(x \mid z)] - w \, \mathbb E_{q(z)} \log D(z)

    The encoder may put out points (posterior='deterministic') or distributions; there is no KL.

    References:
        Adversarial Autoencoders (Makhzani et al., 2015), https://arxiv.org/abs/1511.05644

    Arguments:
        adv_weight: The weight of the second part, a number or a schedule. The paper takes turns
            between the two parts, which is no weight at all.
        disc_width: The units of each hidden layer of the critic.
        disc_depth: The hidden layers of the critic.
        disc_lr: The critic's learning rate as a factor on the model's.
        r1_weight: The weight of the gradient penalty on draws of the prior; 0 for none.
    """
    _sound(adv_weight=adv_weight)
    critic = LatentDiscriminator(
        width=disc_width, depth=disc_depth, lr=disc_lr, r1_weight=r1_weight
    )
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("adversarial", critic, adv_weight),
    )


def wae_gan(
    adv_weight: Number = 10.0,
    prior_in_logit: bool = True,
    disc_width: int = 256,
    disc_depth: int = 3,
    disc_lr: float = 1.0,
    r1_weight: float = 1.0,
) -> Objective:
    r"""Optimal transport to the data, with a critic that holds the codes to the prior.

    .. math:: \mathbb E_q[-\log p(x \mid z)] - \lambda \, \mathbb E_{q(z)} \log D(z)

    It is `aae` with the paper's weight and its trick: the log-density of the prior is part of the
    critic's logit. The paper's cost is the squared error: a likelihood 'gaussian' with a fixed
    scale.

    References:
        Wasserstein Auto-Encoders (Tolstikhin et al., 2018), https://arxiv.org/abs/1711.01558

    Arguments:
        adv_weight: The weight lambda of the second part, a number or a schedule.
        prior_in_logit: Whether the log-density of the prior is part of the critic's logit.
        disc_width: The units of each hidden layer of the critic.
        disc_depth: The hidden layers of the critic.
        disc_lr: The critic's learning rate as a factor on the model's.
        r1_weight: The weight of the gradient penalty on draws of the prior; 0 for none.
    """
    _sound(adv_weight=adv_weight)
    critic = LatentDiscriminator(
        prior_in_logit=prior_in_logit,
        width=disc_width,
        depth=disc_depth,
        lr=disc_lr,
        r1_weight=r1_weight,
    )
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("adversarial", critic, adv_weight),
    )


def vae_gan(
    feature_weight: Number = 0.1,
    pixel_weight: Number = 1.0,
    beta: Number = 1.0,
    adv_weight: float = 0.1,
    disc_start: float = 0.4,
    recon_tolerance: float = 0.3,
    feature_layer: int = -2,
    disc_width: int = 32,
    disc_depth: int = 3,
    disc_lr: float = 1.0,
    spectral_norm: bool = True,
    r1_weight: float = 0.0,
) -> Objective:
    r"""Reconstruction in a hidden layer of a critic, and pictures that it cannot tell from data.

    See `varied.discriminators.FeatureMatching` for the formula, and for what is not as in the paper.

    References:
        Autoencoding beyond pixels using a learned similarity metric (Larsen et al., 2016),
        https://arxiv.org/abs/1512.09300

    Arguments:
        feature_weight: The weight of what the critic says, a number or a schedule.
        pixel_weight: The weight of the likelihood of pixels; the paper has 0, and then a likelihood's
            scale learns nothing.
        beta: The weight of the KL, a number or a schedule.
        adv_weight: The weight of fooling the critic; 1 pulls as hard as the likeness of features does.
        disc_start: The share of the run (below 1) or the step from which the critic is awake; before
            it, pixels are all there is.
        recon_tolerance: By how much the squared error may rise above its lowest before the weight of
            fooling the critic is halved.
        feature_layer: Which hidden layer of the critic, counted from 0 at the picture; -1 is the last.
        disc_width: The channels of the critic's first layer.
        disc_depth: The most halvings of the critic.
        disc_lr: The critic's learning rate as a factor on the model's.
        spectral_norm: Whether the critic's layers are held at gain 1.
        r1_weight: The weight of the gradient penalty on real data; 0 for none.
    """
    _sound(feature_weight=feature_weight, pixel_weight=pixel_weight, beta=beta)
    critic = FeatureMatching(
        layer=feature_layer,
        adv_weight=adv_weight,
        start=disc_start,
        tolerance=recon_tolerance,
        width=disc_width,
        depth=disc_depth,
        lr=disc_lr,
        spectral_norm=spectral_norm,
        r1_weight=r1_weight,
    )
    return Objective(
        WeightedTerm("reconstruction", reconstruction, pixel_weight),
        WeightedTerm("kl", kl, beta),
        WeightedTerm("feature_reconstruction", critic, feature_weight),
    )


def patchgan(
    beta: Number = 1.0,
    adv_weight: Number = 0.3,
    disc_start: float = 0.4,
    feature_weight: float = 1.0,
    recon_tolerance: float = 0.3,
    disc_width: int = 32,
    disc_depth: int = 3,
    disc_lr: float = 1.0,
    spectral_norm: bool = True,
    r1_weight: float = 0.0,
) -> Objective:
    r"""The bound, and a critic of patches that wakes late and pulls as hard as reconstruction.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \beta \, KL(q(z \mid x), p(z))
        - w \lambda \, \mathbb E_q D(\mu(z))

    See `varied.discriminators.PatchGAN` for :math:`\lambda`, the critic's loss, and the brake.

    References:
        Taming Transformers for High-Resolution Image Synthesis (Esser et al., 2021),
        https://arxiv.org/abs/2012.09841

        High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2022),
        https://arxiv.org/abs/2112.10752

    Arguments:
        beta: The weight of the KL, a number or a schedule; 0 for a posterior without a density.
        adv_weight: The weight of the critic, a number or a schedule: 1 pulls as hard as the
            reconstruction.
        disc_start: The share of the run (below 1) or the step from which the critic is awake.
        feature_weight: The weight of the distance in the critic's hidden maps beside its score.
        recon_tolerance: By how much the squared error may rise above its lowest before the critic's
            weight is halved.
        disc_width: The channels of the critic's first layer.
        disc_depth: The most halvings of the critic.
        disc_lr: The critic's learning rate as a factor on the model's.
        spectral_norm: Whether the critic's layers are held at gain 1.
        r1_weight: The weight of the gradient penalty on real data; 0 for none, 1 to 10 is usual.
    """
    _sound(beta=beta, adv_weight=adv_weight)
    critic = PatchGAN(
        start=disc_start,
        feature_weight=feature_weight,
        tolerance=recon_tolerance,
        width=disc_width,
        depth=disc_depth,
        lr=disc_lr,
        spectral_norm=spectral_norm,
        r1_weight=r1_weight,
    )
    paid = [WeightedTerm("kl", kl, beta)] if beta else []
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        *paid,
        WeightedTerm("adversarial", critic, adv_weight),
    )


def _sound(**weights: Number) -> None:
    for name, weight in weights.items():
        if isinstance(weight, float | int) and weight < 0:
            raise VariedError(f"{name}={weight} must not be below 0.")
