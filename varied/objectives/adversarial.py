"""Objectives with a discriminator of codes or images."""

from __future__ import annotations

from varied.discriminators import (
    FeatureMatching,
    ImageDiscriminatorSettings,
    LatentDiscriminator,
    PatchGAN,
    TotalCorrelation,
)
from varied.objectives.base import Objective, WeightedTerm, check_not_negative
from varied.schedules import Number
from varied.terms import kl, reconstruction


def factor_vae(
    gamma: Number = 10.0, disc_width: int = 256, disc_depth: int = 3, disc_lr: float = 1.0
) -> Objective:
    r"""FactorVAE: the negative ELBO plus the total correlation, estimated by a discriminator.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + KL(q(z \mid x) \,\|\, p(z))
        + \gamma \, KL(q(z) \,\|\, \textstyle\prod_j q(z_j))

    Independent dimensions tend to encode one factor of variation each, and the reconstruction error
    is lower than with a large weight on the entire KL.

    References:
        Disentangling by Factorizing (Kim & Mnih, 2018), https://arxiv.org/abs/1802.05983

    Arguments:
        gamma: The weight of the total correlation: a number or a schedule. The best values in the
            paper are 10 to 40.
        disc_width: The number of hidden units per layer of the discriminator.
        disc_depth: The number of hidden layers of the discriminator.
        disc_lr: The learning rate of the discriminator, relative to that of the model.
    """
    check_not_negative(gamma=gamma)
    term = TotalCorrelation(width=disc_width, depth=disc_depth, lr=disc_lr)
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("kl", kl),
        WeightedTerm("total_correlation", term, gamma),
    )


def aae(
    adv_weight: Number = 10.0,
    disc_width: int = 256,
    disc_depth: int = 3,
    disc_lr: float = 1.0,
    r1_weight: float = 1.0,
) -> Objective:
    r"""Adversarial autoencoder, with a discriminator that distinguishes codes from prior samples.

    .. math:: \mathbb E_q[-\log p(x \mid z)] - w \, \mathbb E_{q(z)} \log D(z)

    The objective has no KL term, so the encoder may be deterministic (posterior='deterministic').

    References:
        Adversarial Autoencoders (Makhzani et al., 2015), https://arxiv.org/abs/1511.05644

    Arguments:
        adv_weight: The weight of the adversarial loss: a number or a schedule. The paper alternates
            between the two losses instead of weighting them.
        disc_width: The number of hidden units per layer of the discriminator.
        disc_depth: The number of hidden layers of the discriminator.
        disc_lr: The learning rate of the discriminator, relative to that of the model.
        r1_weight: The weight of the R1 penalty at samples from the prior; 0 disables it.
    """
    return wae_gan(adv_weight, False, disc_width, disc_depth, disc_lr, r1_weight)


def wae_gan(
    adv_weight: Number = 10.0,
    prior_in_logit: bool = True,
    disc_width: int = 256,
    disc_depth: int = 3,
    disc_lr: float = 1.0,
    r1_weight: float = 1.0,
) -> Objective:
    r"""Wasserstein autoencoder with a discriminator that distinguishes codes from prior samples.

    .. math:: \mathbb E_q[-\log p(x \mid z)] - \lambda \, \mathbb E_{q(z)} \log D(z)

    This objective differs from `aae` in that, by default, the log-density of the prior is added to
    the logit of the discriminator. The cost function in the paper is the squared error, which
    corresponds to likelihood='gaussian' with a fixed scale.

    References:
        Wasserstein Auto-Encoders (Tolstikhin et al., 2018), https://arxiv.org/abs/1711.01558

    Arguments:
        adv_weight: The weight lambda of the adversarial loss: a number or a schedule.
        prior_in_logit: Whether to add the log-density of the prior to the logit.
        disc_width: The number of hidden units per layer of the discriminator.
        disc_depth: The number of hidden layers of the discriminator.
        disc_lr: The learning rate of the discriminator, relative to that of the model.
        r1_weight: The weight of the R1 penalty at samples from the prior; 0 disables it.
    """
    check_not_negative(adv_weight=adv_weight)
    term = LatentDiscriminator(
        width=disc_width,
        depth=disc_depth,
        lr=disc_lr,
        r1_weight=r1_weight,
        prior_in_logit=prior_in_logit,
    )
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("adversarial", term, adv_weight),
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
    r"""VAE-GAN: the negative ELBO plus a reconstruction loss in a discriminator's feature space.

    See `varied.discriminators.FeatureMatching` for the formula and the differences from the paper.

    References:
        Autoencoding beyond pixels using a learned similarity metric (Larsen et al., 2016),
        https://arxiv.org/abs/1512.09300

    Arguments:
        feature_weight: The weight of the feature reconstruction and of the generator loss: a number
            or a schedule.
        pixel_weight: The weight of the pixel likelihood: a number or a schedule. The paper uses 0,
            in which case a learned scale of the likelihood is not trained.
        beta: The weight of the KL: a number or a schedule.
        adv_weight: The weight of the generator loss relative to the feature reconstruction; at 1,
            the gradients of the two have the same norm.
        disc_start: The fraction of training (below 1), or the step, at which adversarial training
            starts; before that, the objective is the negative ELBO.
        recon_tolerance: The relative increase in the squared error over its lowest value beyond
            which the generator loss is reduced.
        feature_layer: The index of the feature map, counted from the image; -1 is the last.
        disc_width: The number of channels of the first layer of the discriminator.
        disc_depth: The maximum number of downsampling layers of the discriminator.
        disc_lr: The learning rate of the discriminator, relative to that of the model.
        spectral_norm: Whether to apply spectral normalization to the discriminator.
        r1_weight: The weight of the R1 penalty on real data; 0 disables it.
    """
    check_not_negative(feature_weight=feature_weight, pixel_weight=pixel_weight, beta=beta)
    settings = ImageDiscriminatorSettings(
        disc_start, recon_tolerance, disc_width, disc_depth, disc_lr, spectral_norm, r1_weight
    )
    term = FeatureMatching(settings, feature_layer, adv_weight)
    return Objective(
        WeightedTerm("reconstruction", reconstruction, pixel_weight),
        WeightedTerm("kl", kl, beta),
        WeightedTerm("feature_reconstruction", term, feature_weight),
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
    r"""The negative ELBO plus a PatchGAN loss with a delayed start and an adaptive weight.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \beta \, KL(q(z \mid x) \,\|\, p(z))
        - w \lambda \, \mathbb E_q D(\mu(z))

    See `varied.discriminators.PatchGAN` for the definition of :math:`\lambda`, the discriminator
    loss, and the distance between feature maps that is added to :math:`-D` if ``feature_weight`` is
    positive.

    References:
        Taming Transformers for High-Resolution Image Synthesis (Esser et al., 2021),
        https://arxiv.org/abs/2012.09841

        High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2022),
        https://arxiv.org/abs/2112.10752

    Arguments:
        beta: The weight of the KL: a number or a schedule; 0 for a posterior without a density.
        adv_weight: The weight of the generator loss: a number or a schedule; at 1, its gradient has
            the same norm as the gradient of the reconstruction.
        disc_start: The fraction of training (below 1), or the step, at which adversarial training
            starts.
        feature_weight: The weight of the distance between the feature maps of images and
            reconstructions in the generator loss, relative to the weight of the logits.
        recon_tolerance: The relative increase in the squared error over its lowest value beyond
            which the generator loss is reduced.
        disc_width: The number of channels of the first layer of the discriminator.
        disc_depth: The maximum number of downsampling layers of the discriminator.
        disc_lr: The learning rate of the discriminator, relative to that of the model.
        spectral_norm: Whether to apply spectral normalization to the discriminator.
        r1_weight: The weight of the R1 penalty on real data; 0 disables it, and typical values are
            1 to 10.
    """
    check_not_negative(beta=beta, adv_weight=adv_weight)
    settings = ImageDiscriminatorSettings(
        disc_start, recon_tolerance, disc_width, disc_depth, disc_lr, spectral_norm, r1_weight
    )
    kl_terms = [WeightedTerm("kl", kl, beta)] if beta else []
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        *kl_terms,
        WeightedTerm("adversarial", PatchGAN(settings, feature_weight), adv_weight),
    )
