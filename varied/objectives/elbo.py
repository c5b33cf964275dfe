"""The evidence lower bound and its variants, and the reconstruction objective of autoencoders."""

from __future__ import annotations

from varied.errors import VariedError
from varied.objectives.base import Objective, WeightedTerm, check_not_negative
from varied.schedules import Number
from varied.terms import (
    FreeBits,
    MixedReconstruction,
    PIController,
    kl,
    ms_ssim_loss,
    reconstruction,
)


def elbo(
    beta: Number = 1.0,
    free_bits: Number = 0.0,
    free_bits_per_level: Number = 0.0,
    gaussian_weight: Number = 0.0,
) -> Objective:
    r"""The negative evidence lower bound (ELBO), with a weight on the KL.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \beta \, KL(q(z \mid x) \,\|\, p(z))

    With ``beta=1``, this is the negative ELBO itself; a schedule results in KL annealing.

    References:
        beta-VAE (Higgins et al., 2017), https://openreview.net/forum?id=Sy2fzU9gl

    Arguments:
        beta: The weight of the KL: a number, or a schedule such as linear(0, 1, 2000).
        free_bits: The threshold, in nats, below which the mean KL of a latent dimension receives no
            gradient: a number or a schedule; 0 for none.
        free_bits_per_level: The threshold, in nats, below which the mean KL of a level of latent
            variables receives no gradient: a number or a schedule; 0 for none.
        gaussian_weight: The weight of a Gaussian with the same mean in a weighted mean of its
            log-likelihood and the log-likelihood of the model: a number or a schedule. With a
            schedule that decreases to 0, the means are learned before the scales.

    Raises:
        VariedError: If a weight is negative, or both kinds of free bits are used.
    """
    check_not_negative("0 is equivalent to objective='reconstruction'", beta=beta)
    check_not_negative("use a schedule such as linear(1, 0, 0.4)", gaussian_weight=gaussian_weight)
    if free_bits and free_bits_per_level:
        raise VariedError("`free_bits` and `free_bits_per_level` cannot be combined; use one.")
    kl_term = WeightedTerm("kl", kl, beta)
    if free_bits:
        kl_term = WeightedTerm("free_bits_kl", FreeBits(free_bits), beta)
    if free_bits_per_level:
        kl_term = WeightedTerm("free_bits_kl", FreeBits(free_bits_per_level, "level"), beta)
    if gaussian_weight:
        mixed = WeightedTerm("mixed_reconstruction", MixedReconstruction(gaussian_weight))
        return Objective(mixed, kl_term)
    return Objective(WeightedTerm("reconstruction", reconstruction), kl_term)


def reconstruction_only() -> Objective:
    r"""The objective of an autoencoder: the negative log-likelihood of the data given their codes.

    .. math:: \mathbb E_q[-\log p(x \mid z)]
    """
    return Objective(WeightedTerm("reconstruction", reconstruction))


def control_vae(
    kl_target: Number = 20.0,
    kp: float = 0.01,
    ki: float = 1e-3,
    min_weight: float = 0.0,
    max_weight: float = 10.0,
) -> Objective:
    r"""The negative ELBO with a KL weight that a controller adapts to reach a target KL.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \beta_t \, KL(q(z \mid x) \,\|\, p(z))

    where :math:`\beta_t` is set by a `varied.terms.PIController`. The default target of 20 nats is
    slightly below the KL on MNIST with a beta of 1. The default ``ki`` is ten times the value in
    the paper, so that a run of about 2,000 steps reaches the target.

    References:
        ControlVAE: Controllable Variational Autoencoder (Shao et al., 2020),
        https://arxiv.org/abs/2004.05988

    Arguments:
        kl_target: The target KL in nats: a number, or a schedule such as linear(1, 20, 0.3).
        kp: The proportional gain.
        ki: The integral gain, per nat and step.
        min_weight: The minimum weight, which is also the initial weight.
        max_weight: The maximum weight.
    """
    check_not_negative("use a KL in nats, such as 20", kl_target=kl_target)
    weight = PIController(kl_target, kp=kp, ki=ki, min_weight=min_weight, max_weight=max_weight)
    return Objective(WeightedTerm("reconstruction", reconstruction), WeightedTerm("kl", kl, weight))


def ms_ssim(ssim_weight: Number = 100.0, beta: Number = 1.0) -> Objective:
    r"""The negative ELBO plus a structural similarity (MS-SSIM) loss of the reconstructions.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \beta \, KL(q(z \mid x) \,\|\, p(z))
        + w \, (1 - \mathrm{MSSSIM}(x, \mathbb E[x \mid z]))

    The pixel values must be in [0, 1].

    References:
        Multiscale structural similarity for image quality assessment (Wang et al., 2003),
        https://doi.org/10.1109/ACSSC.2003.1292216;
        Learning to Generate Images with Perceptual Similarity Metrics (Snell et al., 2017),
        https://arxiv.org/abs/1511.06409

    Arguments:
        ssim_weight: The weight of 1 - MS-SSIM, in nats: a number or a schedule.
        beta: The weight of the KL: a number or a schedule.
    """
    check_not_negative("0 is equivalent to objective='elbo'", ssim_weight=ssim_weight)
    check_not_negative("0 removes the KL", beta=beta)
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("kl", kl, beta),
        WeightedTerm("ms_ssim", ms_ssim_loss, ssim_weight),
    )
