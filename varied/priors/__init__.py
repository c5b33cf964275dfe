"""p(z): what codes are like before a datum is seen, and what new data are made from."""

from varied.priors.base import Encoder, Prior
from varied.priors.codes import OverCodes
from varied.priors.flow import Flow
from varied.priors.full import FullMixture
from varied.priors.matching import FlowMatching
from varied.priors.mixture import Mixture
from varied.priors.normal import StandardNormal
from varied.priors.transformer import Transformer
from varied.priors.vamp import VampPrior

__all__ = [
    "PRIORS",
    "Encoder",
    "Flow",
    "FlowMatching",
    "FullMixture",
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
    "transformer": Transformer,
    "flow-matching": FlowMatching,
    "gmm": FullMixture,
}
