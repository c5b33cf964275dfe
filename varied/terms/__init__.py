"""What an objective is made of: one number for each datum, in nats, read off a trace.

A term is a function of a trace that owns nothing. Sums run over the dimensions of the data, never
means; the mean over the batch is taken once, by the objective. A number that belongs to the batch
as a whole (a covariance, a distance between two sets of codes) is told for each datum alike, so
that its mean is itself. What a term ``reads`` ("density", "marginals") is compared with what the
heads give, before anything is trained.
"""

from varied.terms.base import Term, eager, precise, reads, slope
from varied.terms.bound import FreeBits, FreeNats, distortion, rate
from varied.terms.control import Controller
from varied.terms.importance import CIWAE, MIWAE, PIWAE, DReG, Resampled, iwae
from varied.terms.marginal import (
    Capacity,
    DimensionRate,
    IndexCode,
    PartCapacity,
    Spreads,
    TotalCorrelation,
    correlated,
)
from varied.terms.matching import MMD
from varied.terms.perceptual import dissimilarity
from varied.terms.regular import WeightNorm, code_norm, gradient_penalty

__all__ = [
    "CIWAE",
    "MIWAE",
    "MMD",
    "PIWAE",
    "Capacity",
    "Controller",
    "DReG",
    "DimensionRate",
    "FreeBits",
    "FreeNats",
    "IndexCode",
    "PartCapacity",
    "Resampled",
    "Spreads",
    "Term",
    "TotalCorrelation",
    "WeightNorm",
    "code_norm",
    "correlated",
    "dissimilarity",
    "distortion",
    "eager",
    "gradient_penalty",
    "iwae",
    "precise",
    "rate",
    "reads",
    "slope",
]
