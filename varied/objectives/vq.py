"""The objective of a VQ-VAE."""

from __future__ import annotations

from varied.errors import VariedError
from varied.objectives.base import Objective, WeightedTerm
from varied.schedules import Number
from varied.terms import reconstruction
from varied.terms.quantization import quantization

__all__ = ["vq_vae"]


def vq_vae(vq_weight: Number = 1.0) -> Objective:
    r"""Reconstruction, and what the codebook costs: the objective of a VQ-VAE.

    .. math:: -\log p(x \mid z) + w \, \mathrm{cost}

    where the cost is the quantizer's own: for "vq" the squared distances to the codes with their
    commitment, for "fsq" nothing. Both are sums over dimensions. The KL to a uniform prior over
    codes would be a constant.

    References:
        Neural Discrete Representation Learning (van den Oord et al., 2017),
        https://arxiv.org/abs/1711.00937

    Arguments:
        vq_weight: The weight of the quantizer's loss, a number or a schedule.
    """
    if isinstance(vq_weight, float | int) and vq_weight < 0:
        raise VariedError(f"vq_weight={vq_weight} must not be below 0; 1 is usual.")
    return Objective(
        WeightedTerm("reconstruction", reconstruction),
        WeightedTerm("quantization", quantization, vq_weight),
    )
