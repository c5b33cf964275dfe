"""All mass on codes of a codebook."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from varied.distributions.base import Elementwise
from varied.errors import VariedError

__all__ = ["CodebookPoint"]


class CodebookPoint(Elementwise):
    """All mass on the codes that were chosen: what a quantizer says of a latent. It has no density.

    Arguments:
        value: The latents made of codes, with shape (*, C, *rest); their gradient is that of what
            went into the quantizer.
        index: Which codes they are, int64 with shape (*, sites).
        cost: The quantizer's own loss for each datum, with shape (*).
    """

    support = constraints.real
    has_rsample = True

    def __init__(self, value: Tensor, index: Tensor, cost: Tensor) -> None:
        super().__init__(value)
        self.index, self.cost = index, cost

    @property
    def value(self) -> Tensor:
        """The latents made of codes."""
        return self.params[0]

    @property
    def mean(self) -> Tensor:
        """The value."""
        return self.value

    @property
    def variance(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.value)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """Return the same codes with a larger batch shape."""
        event = self.value.dim() - self.cost.dim()
        lead = tuple(batch_shape)[: len(batch_shape) - event]
        return CodebookPoint(
            self.value.expand(batch_shape), self.index.expand(*lead, -1), self.cost.expand(lead)
        )

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return the value; shape (*sample_shape, *batch_shape)."""
        return self.value.expand(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Refuse: a code has no density.

        Raises:
            VariedError: Always.
        """
        raise VariedError(
            "A code of a codebook has no density, so KL and ELBO do not exist for it; its "
            "probability comes from a prior over codes, and objective='vq-vae' trains it."
        )
