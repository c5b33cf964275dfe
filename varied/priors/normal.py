"""The standard normal prior."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution, Independent

from varied import distributions as d
from varied.priors.base import Prior


class StandardNormal(Prior):
    r"""The standard normal distribution.

    .. math:: p(z) = \mathcal N(z; 0, I)
    """

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return the standard normal distribution; the context is ignored."""
        return standard_normal(self.zero)


def standard_normal(zero: Tensor) -> Distribution:
    """Return the standard normal distribution with the event shape of a tensor of zeros."""
    return Independent(d.Gaussian(zero, zero), zero.dim(), validate_args=False)
