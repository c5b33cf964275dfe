"""Posteriors that put each latent on a code of a codebook: VQ-VAE and its successors.

A quantizer is a head. Its event is (C, *rest), and each place of ``rest`` (a grid, a sequence, or
nothing) holds one vector of C numbers that is replaced by a code. What it returns is a
`varied.distributions.codebook.CodebookPoint`: the latents, which codes they are, and the quantizer's own loss.
"""

from varied.quantizers.base import Quantized, Quantizer
from varied.quantizers.fsq import FSQ
from varied.quantizers.lfq import LFQ
from varied.quantizers.nearest import nearest_code, rotation_trick
from varied.quantizers.residual_vq import ResidualVQ
from varied.quantizers.simvq import SimVQ
from varied.quantizers.usage import code_counts, code_usage, usage_from_counts
from varied.quantizers.vq import VQ

__all__ = [
    "FSQ",
    "LFQ",
    "QUANTIZERS",
    "VQ",
    "Quantized",
    "Quantizer",
    "ResidualVQ",
    "SimVQ",
    "code_counts",
    "code_usage",
    "nearest_code",
    "rotation_trick",
    "usage_from_counts",
]

QUANTIZERS: dict[str, type[Quantizer]] = {
    "vq": VQ,
    "fsq": FSQ,
    "lfq": LFQ,
    "simvq": SimVQ,
    "residual-vq": ResidualVQ,
}
