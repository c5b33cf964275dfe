"""The terms of objectives. Each computes one number per example, in nats, from a trace.

Terms sum over the dimensions of the data, and the objective averages over the batch. A term that
depends on the entire batch (such as a covariance or a distance between two sets of codes) returns
the same value for each example, so that averaging does not change the value. The properties that a
term requires of the distributions (such as "density" or "marginals") are checked before training.
"""

from varied.terms.aggregate_posterior import (
    Capacity,
    DimensionWiseKL,
    IndexCodeMI,
    TotalCorrelation,
    VariancePenalty,
    covariance_penalty,
)
from varied.terms.base import FunctionTerm, Term, full_precision, requires
from varied.terms.elbo import MixedReconstruction, kl, reconstruction
from varied.terms.free_bits import FreeBits
from varied.terms.importance import CIWAE, PIWAE, DReG, MultiplyIWAE, SubsampledIWAE, iwae
from varied.terms.mmd import MMD
from varied.terms.ms_ssim import ms_ssim_loss
from varied.terms.pi_controller import AdaptiveWeight, PIController
from varied.terms.quantization import quantization
from varied.terms.regularizers import WeightNorm, code_norm, gradient_penalty
from varied.terms.semi_supervised import Classification, UpperTerm

__all__ = [
    "CIWAE",
    "MMD",
    "PIWAE",
    "AdaptiveWeight",
    "Capacity",
    "Classification",
    "DReG",
    "DimensionWiseKL",
    "FreeBits",
    "FunctionTerm",
    "IndexCodeMI",
    "MixedReconstruction",
    "MultiplyIWAE",
    "PIController",
    "SubsampledIWAE",
    "Term",
    "TotalCorrelation",
    "UpperTerm",
    "VariancePenalty",
    "WeightNorm",
    "code_norm",
    "covariance_penalty",
    "full_precision",
    "gradient_penalty",
    "iwae",
    "kl",
    "ms_ssim_loss",
    "quantization",
    "reconstruction",
    "requires",
]
