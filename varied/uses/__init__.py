"""What people do with a trained model: each a function of a model and tensors."""

from varied.uses.classify import classify
from varied.uses.decode import decode
from varied.uses.detect import Strangeness, strangeness
from varied.uses.encode import Codes, embed, encode
from varied.uses.impute import impute
from varied.uses.interpolate import PATHS, interpolate
from varied.uses.reconstruct import reconstruct
from varied.uses.sample import manifold, sample
from varied.uses.traverse import traverse

__all__ = [
    "PATHS",
    "Codes",
    "Strangeness",
    "classify",
    "decode",
    "embed",
    "encode",
    "impute",
    "interpolate",
    "manifold",
    "reconstruct",
    "sample",
    "strangeness",
    "traverse",
]
