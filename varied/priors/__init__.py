"""Priors p(z): distributions over latents, from which new examples are sampled."""

from varied.priors.autoregressive import AutoregressiveCodes
from varied.priors.base import Prior
from varied.priors.categorical import Categorical, GaussianCategorical
from varied.priors.conditional_normal import ConditionalNormal
from varied.priors.flow import Flow
from varied.priors.flow_matching import FlowMatching
from varied.priors.gmm import GaussianMixture
from varied.priors.hyperspherical import HypersphericalUniform
from varied.priors.learned_gmm import LearnedGaussianMixture
from varied.priors.normal import StandardNormal
from varied.priors.transformer import Transformer
from varied.priors.vamp import VampPrior

__all__ = [
    "PRIORS",
    "AutoregressiveCodes",
    "Categorical",
    "ConditionalNormal",
    "Flow",
    "FlowMatching",
    "GaussianCategorical",
    "GaussianMixture",
    "HypersphericalUniform",
    "LearnedGaussianMixture",
    "Prior",
    "StandardNormal",
    "Transformer",
    "VampPrior",
]

PRIORS: dict[str, type[Prior]] = {
    "standard-normal": StandardNormal,
    "conditional-normal": ConditionalNormal,
    "learned-gmm": LearnedGaussianMixture,
    "vamp": VampPrior,
    "flow": Flow,
    "hyperspherical-uniform": HypersphericalUniform,
    "categorical": Categorical,
    "gaussian-categorical": GaussianCategorical,
    "transformer": Transformer,
    "flow-matching": FlowMatching,
    "gmm": GaussianMixture,
}
