"""Distributions that ``torch.distributions`` lacks, or has with weaker numerics.

Most are elementwise: their batch shape is the shape of their parameters, and a `varied.heads.Head`
declares which trailing dimensions make one event. None validates its arguments, since a check in
each step costs more than the step; finite losses are checked by the loop instead.
"""

from varied.distributions.base import Elementwise, closed_kl, each, soft_clamp
from varied.distributions.categories import Joint, OneHot, kl_parts
from varied.distributions.columns import Columns, Layout
from varied.distributions.flow import Flow, Gate
from varied.distributions.gaussian import Gaussian, Point
from varied.distributions.sphere import HypersphericalUniform, VonMisesFisher
from varied.distributions.unit import ContinuousBernoulli, DiscretizedLogistic, Levels

__all__ = [
    "Columns",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Elementwise",
    "Flow",
    "Gate",
    "Gaussian",
    "HypersphericalUniform",
    "Joint",
    "Layout",
    "Levels",
    "OneHot",
    "Point",
    "VonMisesFisher",
    "closed_kl",
    "each",
    "kl_parts",
    "soft_clamp",
]
