"""Vector quantization: posteriors that map latents to entries of a codebook.

A quantizer is a head. Its event has the shape (C, *rest). Each position of ``rest`` (a grid, a
sequence or a single position) contains a vector of C numbers, which the quantizer replaces with an
entry of its codebook. It returns a `varied.distributions.codebook.CodebookPoint`, which contains
the quantized latents, the codes (indices of the entries) and the loss of the quantizer.
"""

from varied.quantizers.base import Quantized, Quantizer
from varied.quantizers.codebook_usage import code_usage
from varied.quantizers.fsq import FSQ
from varied.quantizers.lfq import LFQ
from varied.quantizers.residual_vq import ResidualVQ
from varied.quantizers.simvq import SimVQ
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
    "code_usage",
]

QUANTIZERS: dict[str, type[Quantizer]] = {
    "vq": VQ,
    "fsq": FSQ,
    "lfq": LFQ,
    "simvq": SimVQ,
    "residual-vq": ResidualVQ,
}
