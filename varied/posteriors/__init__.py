"""q(z given x): what the encoder says of a code."""

from varied.heads import Head
from varied.posteriors.base import NonFactorized, Posterior
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
    "Posterior",
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
