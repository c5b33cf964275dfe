"""q(z given x): what the encoder says of a code."""

from varied.heads import Head
from varied.posteriors.base import Posterior, Whole
from varied.posteriors.categories import Gumbel, Joint
from varied.posteriors.committed import DeltaGaussian
from varied.posteriors.flows import IAF, Flow
from varied.posteriors.gaussian import Gaussian, Point
from varied.posteriors.sphere import VonMisesFisher
from varied.quantizers import QUANTIZERS

__all__ = [
    "IAF",
    "POSTERIORS",
    "DeltaGaussian",
    "Flow",
    "Gaussian",
    "Gumbel",
    "Joint",
    "Point",
    "Posterior",
    "VonMisesFisher",
    "Whole",
]

POSTERIORS: dict[str, type[Head]] = {
    "gaussian": Gaussian,
    "delta-gaussian": DeltaGaussian,
    "iaf": IAF,
    "flow": Flow,
    "vmf": VonMisesFisher,
    "gumbel": Gumbel,
    "joint": Joint,
    "point": Point,
    **QUANTIZERS,
}
