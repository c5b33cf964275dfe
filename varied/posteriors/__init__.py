"""Posteriors q(z | x): heads that map encoder outputs to distributions over latents."""

from varied.heads import Head
from varied.posteriors.base import NonFactorized
from varied.posteriors.delta_gaussian import DeltaGaussian
from varied.posteriors.flows import IAF, Flow
from varied.posteriors.gaussian import Deterministic, Gaussian
from varied.posteriors.gumbel_softmax import GaussianGumbel, GumbelSoftmax
from varied.posteriors.von_mises_fisher import VonMisesFisher
from varied.quantizers import QUANTIZERS

__all__ = [
    "IAF",
    "POSTERIORS",
    "DeltaGaussian",
    "Deterministic",
    "Flow",
    "Gaussian",
    "GaussianGumbel",
    "GumbelSoftmax",
    "NonFactorized",
    "VonMisesFisher",
]

POSTERIORS: dict[str, type[Head]] = {
    "gaussian": Gaussian,
    "delta-gaussian": DeltaGaussian,
    "iaf": IAF,
    "flow": Flow,
    "von-mises-fisher": VonMisesFisher,
    "gumbel-softmax": GumbelSoftmax,
    "gaussian-gumbel": GaussianGumbel,
    "deterministic": Deterministic,
    **QUANTIZERS,
}
