"""Compression with a trained model: lossless bits-back coding, and coding of codebook indices.

Both use the entropy coders from ``constriction``, which is installed by the extra
``varied[compress]``.
"""

from varied.compression.codec import Packed, compress, decompress, is_lossless

__all__ = ["Packed", "compress", "decompress", "is_lossless"]
