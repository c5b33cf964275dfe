"""The evidence lower bound and its nearest kin, and reconstruction alone."""

from __future__ import annotations

from varied.errors import VariedError
from varied.objectives.base import Objective, WeightedTerm
from varied.schedules import Number
from varied.terms import FreeBits, FreeBitsPerLevel, PIController, kl, ms_ssim_loss, reconstruction

__all__ = ["control_vae", "elbo", "ms_ssim", "reconstruction_only"]


def elbo(
    beta: Number = 1.0, free_bits: Number = 0.0, free_bits_per_level: Number = 0.0
) -> Objective:
    r"""The negative evidence lower bound, with a weight on the KL.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \beta \, KL(q(z \mid x), p(z))

    With ``beta=1`` it is the bound itself; a schedule is KL annealing.

    References:
        beta-VAE (Higgins et al., 2017), https://openreview.net/forum?id=Sy2fzU9gl

    Arguments:
        beta: The weight of the KL, a number, or a schedule such as linear(0, 1, 2000).
        free_bits: Nats of each dimension that cost nothing, a number or a schedule.
        free_bits_per_level: Nats of each level of latents that cost nothing, a number or a schedule.
    """
    _not_below(beta, "beta", "0 is an objective='reconstruction'")
    if free_bits and free_bits_per_level:
        raise VariedError("Give free nats by dimension (free_bits) or by level (free_level).")
    cost = WeightedTerm("kl", kl, beta)
    if free_bits:
        cost = WeightedTerm("free_bits_kl", FreeBits(free_bits), beta)
    if free_bits_per_level:
        cost = WeightedTerm("free_bits_kl", FreeBitsPerLevel(free_bits_per_level), beta)
    return Objective(WeightedTerm("reconstruction", reconstruction), cost)


def reconstruction_only() -> Objective:
    r"""Reconstruction alone: the objective of an autoencoder.

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
    r"""The bound with a weight on the KL that turns itself, so that the KL holds a number of nats.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \beta_t \, KL(q(z \mid x), p(z))

    with :math:`\beta_t` from a `varied.terms.PIController`. The defaults suit sums in nats: 20 of
    them are a little less than digits take at beta 1, and ``ki`` is ten times the paper's, so that
    a run of some 2,000 steps gets there.

    References:
        ControlVAE: Controllable Variational Autoencoder (Shao et al., 2020),
        https://arxiv.org/abs/2004.05988

    Arguments:
        kl_target: The nats to hold, a number, or a schedule such as linear(1, 20, 0.3).
        kp: The share of the weight that follows the present error.
        ki: The share that follows the sum of all errors, for each nat and step.
        min_weight: The least weight, with which it starts.
        max_weight: The largest weight.
    """
    _not_below(kl_target, "kl_target", "say how many nats to hold, such as 20")
    weight = PIController(kl_target, kp=kp, ki=ki, min_weight=min_weight, max_weight=max_weight)
    return Objective(WeightedTerm("reconstruction", reconstruction), WeightedTerm("kl", kl, weight))


def ms_ssim(ssim_weight: Number = 100.0, beta: Number = 1.0) -> Objective:
    r"""The bound, and what the eye sees: how unlike in structure a picture and its mean are.

    .. math:: \mathbb E_q[-\log p(x \mid z)] + \beta \, KL(q(z \mid x), p(z))
        + w \, (1 - \mathrm{MSSSIM}(x, \mathbb E[x \mid z]))

    For pictures in [0, 1].

    References:
        Multiscale structural similarity for image quality assessment (Wang et al., 2003),
        https://doi.org/10.1109/ACSSC.2003.1292216
        Learning to Generate Images with Perceptual Similarity Metrics (Snell et al., 2017),
        https://arxiv.org/abs/1511.06409

    Arguments:
        ssim_weight: Nats for a picture without any likeness, a number or a schedule.
        beta: The weight of the KL, a number or a schedule.
    """
    _not_below(ssim_weight, "ssim_weight", "0 is an objective='elbo'")
    _not_below(beta, "beta", "0 leaves the KL out")
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("kl", kl, beta),
        WeightedTerm("ms_ssim", ms_ssim_loss, ssim_weight),
    )


def _not_below(value: Number, name: str, way: str) -> None:
    if isinstance(value, float | int) and value < 0:
        raise VariedError(f"{name}={value} must not be below 0; {way}.")
