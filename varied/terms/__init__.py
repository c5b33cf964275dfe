"""What an objective is made of: one number for each datum, in nats, read off a trace.

A term is a function of a trace that owns nothing. Sums run over the dimensions of the data, never
means; the mean over the batch is taken once, by the objective. A number that belongs to the batch
as a whole (a covariance, a distance between two sets of codes) is told for each datum alike, so
that its mean is itself. What a term ``reads`` ("density", "marginals") is compared with what the
heads give, before anything is trained.
"""

from varied.terms.aggregate_posterior import (
    Capacity,
    DimensionWiseKL,
    IndexCodeMI,
    PartCapacity,
    TotalCorrelation,
    VariancePenalty,
    covariance_penalty,
)
from varied.terms.base import Term, full_precision, latent_gradient, no_compile, requires
from varied.terms.elbo import FreeBits, FreeBitsPerLevel, kl, reconstruction
from varied.terms.importance import CIWAE, PIWAE, DReG, MultiplyIWAE, SubsampledIWAE, iwae
from varied.terms.mmd import MMD
from varied.terms.ms_ssim import ms_ssim_loss
from varied.terms.pi_controller import PIController
from varied.terms.regularizers import WeightNorm, code_norm, gradient_penalty

__all__ = [
    "CIWAE",
    "MMD",
    "PIWAE",
    "Capacity",
    "DReG",
    "DimensionWiseKL",
    "FreeBits",
    "FreeBitsPerLevel",
    "IndexCodeMI",
    "MultiplyIWAE",
    "PIController",
    "PartCapacity",
    "SubsampledIWAE",
    "Term",
    "TotalCorrelation",
    "VariancePenalty",
    "WeightNorm",
    "code_norm",
    "covariance_penalty",
    "full_precision",
    "gradient_penalty",
    "iwae",
    "kl",
    "latent_gradient",
    "ms_ssim_loss",
    "no_compile",
    "reconstruction",
    "requires",
]
