"""Distributions that ``torch.distributions`` does not have, or implements less accurately.

Most are elementwise: their batch shape is the shape of their parameters, and a `varied.heads.Head`
declares which trailing dimensions form an event.
"""

from varied.distributions.autoregressive_one_hot import AutoregressiveOneHot, TokenModel
from varied.distributions.autoregressive_table_row import (
    AutoregressiveTableRow,
    independent_cells,
)
from varied.distributions.base import Elementwise, analytic_kl, base_distribution, soft_clamp
from varied.distributions.codebook import CodebookPoint
from varied.distributions.counts import (
    Counts,
    LibraryScaledCounts,
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
    given_library_size,
    negative_binomial_log_prob,
    sample_negative_binomial,
)
from varied.distributions.delta import Delta
from varied.distributions.flow import Flow, GatedAffine
from varied.distributions.gaussian import Gaussian
from varied.distributions.hyperspherical import HypersphericalUniform, VonMisesFisher
from varied.distributions.one_hot import OneHot, OneHotElements, Product, kl_per_factor
from varied.distributions.table_row import ColumnLayout, RowDistribution, TableRow
from varied.distributions.unit_interval import (
    CategoricalLevels,
    ContinuousBernoulli,
    DiscretizedLogistic,
)

__all__ = [
    "AutoregressiveOneHot",
    "AutoregressiveTableRow",
    "CategoricalLevels",
    "CodebookPoint",
    "ColumnLayout",
    "ContinuousBernoulli",
    "Counts",
    "Delta",
    "DiscretizedLogistic",
    "Elementwise",
    "Flow",
    "GatedAffine",
    "Gaussian",
    "HypersphericalUniform",
    "LibraryScaledCounts",
    "NegativeBinomial",
    "OneHot",
    "OneHotElements",
    "Poisson",
    "Product",
    "RowDistribution",
    "TableRow",
    "TokenModel",
    "VonMisesFisher",
    "ZeroInflatedNegativeBinomial",
    "analytic_kl",
    "base_distribution",
    "given_library_size",
    "independent_cells",
    "kl_per_factor",
    "negative_binomial_log_prob",
    "sample_negative_binomial",
    "soft_clamp",
]
