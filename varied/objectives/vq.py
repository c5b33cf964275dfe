"""The objective of a VQ-VAE."""

from __future__ import annotations

from varied.objectives.base import Objective, WeightedTerm, check_not_negative
from varied.schedules import Number
from varied.terms import quantization, reconstruction


def vq_vae(vq_weight: Number = 1.0) -> Objective:
    r"""The objective of a VQ-VAE: reconstruction plus the loss of the quantizer.

    .. math:: -\log p(x \mid z) + w \, L_\mathrm{quantizer}

    With posterior='vq', the loss of the quantizer is the commitment loss, plus the codebook loss if
    codebook_update='gradient'; with posterior='fsq', it is 0. For the other quantizers, see
    `varied.quantizers`. Squared distances are summed over dimensions. The KL to a uniform prior
    over codes is constant and therefore omitted.

    References:
        Neural Discrete Representation Learning (van den Oord et al., 2017),
        https://arxiv.org/abs/1711.00937

    Arguments:
        vq_weight: The weight of the quantizer's loss: a number or a schedule.
    """
    check_not_negative("a typical value is 1", vq_weight=vq_weight)
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("quantization", quantization, vq_weight),
    )
