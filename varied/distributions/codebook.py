"""A point mass on entries of a codebook."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from varied.distributions.delta import PointMass


class CodebookPoint(PointMass):
    """A point mass on entries of a codebook: the posterior of a vector-quantized autoencoder.

    Arguments:
        value: The quantized latent variable, with shape (*, C, *rest); its gradient is passed
            to the input of the quantizer.
        index: The indices of the codebook entries, as int64 with shape (*, num_tokens).
        cost: The loss of the quantizer for each example, with shape (*).
    """

    no_density = (
        "A quantized posterior has no density, so there is no ELBO; train with objective='vq-vae', "
        "and fit a prior over codes to compute their probability."
    )

    def __init__(self, value: Tensor, index: Tensor, cost: Tensor) -> None:
        super().__init__(value)
        self.index, self.cost = index, cost

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """Return the same distribution with a larger batch shape."""
        event = self.value.dim() - self.cost.dim()
        lead = tuple(batch_shape)[: len(batch_shape) - event]
        return CodebookPoint(
            self.value.expand(batch_shape), self.index.expand(*lead, -1), self.cost.expand(lead)
        )
