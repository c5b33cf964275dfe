"""Lossless compression with a trained model: bits-back coding, and codebook indices.

Both write with the entropy coder of ``constriction``, which the extra ``varied[compress]`` installs.
"""

from varied.compression.codec import Packed, compress, decompress, is_lossless

__all__ = ["Packed", "compress", "decompress", "is_lossless"]
