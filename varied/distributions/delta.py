"""The point mass: a distribution with all its mass on one value."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from varied.distributions.base import Elementwise, NoDensity


class PointMass(NoDensity, Elementwise):
    """The base class for distributions with all their mass on one value."""

    has_rsample = True

    @property
    def value(self) -> Tensor:
        """The value that has probability 1."""
        return self.params[0]

    @property
    def mean(self) -> Tensor:
        """The mean, which equals the value."""
        return self.value

    @property
    def variance(self) -> Tensor:
        """The variance, which is 0."""
        return torch.zeros_like(self.value)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return the value, with shape (*sample_shape, *batch_shape)."""
        return self.value.expand(self._extended_shape(sample_shape))


class Delta(PointMass):
    """A point mass: the posterior of a deterministic autoencoder.

    Arguments:
        value: The value, with shape (*).
    """

    no_density = (
        "A deterministic posterior has no density, so there is no KL and no ELBO; "
        "use posterior='gaussian' for a variational autoencoder."
    )

    def __init__(self, value: Tensor) -> None:
        super().__init__(value)
