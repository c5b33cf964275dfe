"""p(z): what codes are like before a datum is seen, and what new data are made from."""

from varied.priors.base import Encoder, Prior
from varied.priors.categorical import Categorical, Joint
from varied.priors.codes import OverCodes
from varied.priors.flow import Flow
from varied.priors.full import FullMixture
from varied.priors.matching import FlowMatching
from varied.priors.mixture import Mixture
from varied.priors.normal import StandardNormal
from varied.priors.sphere import HypersphericalUniform
from varied.priors.transformer import Transformer
from varied.priors.vamp import VampPrior

__all__ = [
    "PRIORS",
    "Categorical",
    "Encoder",
    "Flow",
    "FlowMatching",
    "FullMixture",
    "HypersphericalUniform",
    "Joint",
    "Mixture",
    "OverCodes",
    "Prior",
    "StandardNormal",
    "Transformer",
    "VampPrior",
]

PRIORS: dict[str, type[Prior]] = {
    "standard-normal": StandardNormal,
    "mixture": Mixture,
    "vamp": VampPrior,
    "flow": Flow,
    "sphere-uniform": HypersphericalUniform,
    "categorical": Categorical,
    "joint": Joint,
    "transformer": Transformer,
    "flow-matching": FlowMatching,
    "gmm": FullMixture,
}
