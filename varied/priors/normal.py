"""Independent normal numbers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from varied import distributions as d
from varied.priors.base import Prior

__all__ = ["StandardNormal"]


class StandardNormal(Prior):
    r"""Independent normal numbers of mean 0 and variance 1.

    .. math:: p(z) = \mathcal N(z; 0, I)
    """

    zero: Tensor

    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__(event)
        self.register_buffer("zero", torch.zeros(self.event_shape), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return the standard normal; it does not look at the context."""
        return Independent(
            d.Gaussian(self.zero, self.zero), len(self.event_shape), validate_args=False
        )
