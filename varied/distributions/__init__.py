"""Distributions that ``torch.distributions`` does not have, or implements less accurately.

Most are elementwise: their batch shape is the shape of their parameters, and a `varied.heads.Head`
declares which trailing dimensions form an event.
"""

from varied.distributions.base import Elementwise, analytic_kl, base_distribution, soft_clamp
from varied.distributions.codebook import CodebookPoint
from varied.distributions.delta import Delta
from varied.distributions.flow import Flow, GatedAffine
from varied.distributions.gaussian import Gaussian
from varied.distributions.hyperspherical import HypersphericalUniform, VonMisesFisher
from varied.distributions.one_hot import OneHot, Product, kl_per_factor
from varied.distributions.table_row import (
    AutoregressiveTableRow,
    ColumnLayout,
    RowDistribution,
    TableRow,
)
from varied.distributions.unit_interval import (
    CategoricalLevels,
    ContinuousBernoulli,
    DiscretizedLogistic,
)

__all__ = [
    "AutoregressiveTableRow",
    "CategoricalLevels",
    "CodebookPoint",
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
    "RowDistribution",
    "TableRow",
    "VonMisesFisher",
    "analytic_kl",
    "base_distribution",
    "kl_per_factor",
    "soft_clamp",
]
