"""p(z): what codes are like before a datum is seen, and what new data are made from."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from varied import distributions as d

__all__ = ["PRIORS", "Prior", "StandardNormal"]


class Prior(nn.Module, ABC):
    """A distribution over latents, given a context or none.

    Arguments:
        event: The shape of a latent.
    """

    gives: frozenset[str] = frozenset({"density", "marginals"})

    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__()
        self.event = tuple(event)

    @abstractmethod
    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return p(z given c), with a batch shape of () or (B)."""


class StandardNormal(Prior):
    r"""Independent normal numbers of mean 0 and variance 1.

    .. math:: p(z) = \mathcal N(z; 0, I)
    """

    zero: Tensor

    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__(event)
        self.register_buffer("zero", torch.zeros(self.event), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return the standard normal; it does not look at the context."""
        return Independent(d.Gaussian(self.zero, self.zero), len(self.event), validate_args=False)


PRIORS: dict[str, type[Prior]] = {"standard-normal": StandardNormal}
