"""Distributions that ``torch.distributions`` lacks, or has with weaker numerics.

Most are elementwise: their batch shape is the shape of their parameters, and a `varied.heads.Head`
declares which trailing dimensions make one event. None validates its arguments, since a check in
each step costs more than the step; finite losses are checked by the loop instead.
"""

from varied.distributions.base import Elementwise, analytic_kl, base_distribution, soft_clamp
from varied.distributions.bounded import CategoricalLevels, ContinuousBernoulli, DiscretizedLogistic
from varied.distributions.flow import Flow, GatedAffine
from varied.distributions.gaussian import Delta, Gaussian
from varied.distributions.hyperspherical import HypersphericalUniform, VonMisesFisher
from varied.distributions.one_hot import OneHot, Product, kl_per_factor
from varied.distributions.table_row import ColumnLayout, TableRow

__all__ = [
    "CategoricalLevels",
    "ColumnLayout",
    "ContinuousBernoulli",
    "Delta",
    "DiscretizedLogistic",
    "Elementwise",
    "Flow",
    "GatedAffine",
    "Gaussian",
    "HypersphericalUniform",
    "OneHot",
    "Product",
    "TableRow",
    "VonMisesFisher",
    "analytic_kl",
    "base_distribution",
    "kl_per_factor",
    "soft_clamp",
]
