"""Posteriors that put each latent on a code of a codebook: VQ-VAE and its successors.

A quantizer is a head. Its event is (C, *rest), and each place of ``rest`` (a grid, a sequence, or
nothing) holds one vector of C numbers that is replaced by a code. What it returns is a
`varied.distributions.code.Code`: the latents, which codes they are, and the quantizer's own loss.
"""

from varied.quantizers.base import Found, Quantizer
from varied.quantizers.binary import LFQ
from varied.quantizers.finite import FSQ
from varied.quantizers.nearest import nearest, rotated
from varied.quantizers.residual import ResidualVQ
from varied.quantizers.simple import SimVQ
from varied.quantizers.use import code_counts, code_use, use_of
from varied.quantizers.vector import VQ

__all__ = [
    "FSQ",
    "LFQ",
    "QUANTIZERS",
    "VQ",
    "Found",
    "Quantizer",
    "ResidualVQ",
    "SimVQ",
    "code_counts",
    "code_use",
    "nearest",
    "rotated",
    "use_of",
]

QUANTIZERS: dict[str, type[Quantizer]] = {
    "vq": VQ,
    "fsq": FSQ,
    "lfq": LFQ,
    "simvq": SimVQ,
    "residual-vq": ResidualVQ,
}
