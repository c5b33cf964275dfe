"""What people do with a trained model: each a function of a model and tensors."""

from varied.uses.augment import Gain, gains, made_of, wanted
from varied.uses.classify import classify, softened, temperature
from varied.uses.compress import Packed, compress, decompress, is_lossless
from varied.uses.decode import decode
from varied.uses.detect import Strangeness, strangeness
from varied.uses.edit import (
    DIRECTIONS,
    Effect,
    again,
    balanced,
    direction,
    edit,
    effects,
    moved,
)
from varied.uses.encode import Codes, embed, encode
from varied.uses.impute import impute
from varied.uses.interpolate import PATHS, corners, interpolate
from varied.uses.near import near, neighbours
from varied.uses.normal import WAYS, Judged, Normal
from varied.uses.reconstruct import reconstruct
from varied.uses.sample import manifold, sample
from varied.uses.style import mixed, rewritten, units_of
from varied.uses.support import Support, support
from varied.uses.traverse import traverse
from varied.uses.widen import widened, width

__all__ = [
    "DIRECTIONS",
    "PATHS",
    "WAYS",
    "Codes",
    "Effect",
    "Gain",
    "Judged",
    "Normal",
    "Packed",
    "Strangeness",
    "Support",
    "again",
    "balanced",
    "classify",
    "compress",
    "corners",
    "decode",
    "decompress",
    "direction",
    "edit",
    "effects",
    "embed",
    "encode",
    "gains",
    "impute",
    "interpolate",
    "is_lossless",
    "made_of",
    "manifold",
    "mixed",
    "moved",
    "near",
    "neighbours",
    "reconstruct",
    "rewritten",
    "sample",
    "softened",
    "strangeness",
    "support",
    "temperature",
    "traverse",
    "units_of",
    "wanted",
    "widened",
    "width",
]
