"""Normal numbers, and numbers without a spread."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints, register_kl

from varied.distributions.base import LOG_2PI, Elementwise
from varied.errors import VariedError

__all__ = ["Delta", "Gaussian"]


class Gaussian(Elementwise):
    r"""A normal distribution in its mean and log-variance.

    .. math:: \log p(x) = -\tfrac12 (\log 2\pi + \ell + (x - \mu)^2 e^{-\ell})

    The log-variance is the parameter since a variance can underflow and its logarithm cannot.

    Arguments:
        mean: The mean, with shape (*).
        log_variance: The logarithm of the variance, with shape (*).
    """

    support = constraints.real
    has_rsample = True

    def __init__(self, mean: Tensor, log_variance: Tensor) -> None:
        super().__init__(mean, log_variance)

    @property
    def mean(self) -> Tensor:
        """The mean."""
        return self.params[0]

    @property
    def log_variance(self) -> Tensor:
        """The logarithm of the variance."""
        return self.params[1]

    @property
    def variance(self) -> Tensor:
        """The variance."""
        return self.log_variance.exp()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw with a gradient; shape (*sample_shape, *batch_shape)."""
        scale = (0.5 * self.log_variance).exp()
        shape = self._extended_shape(sample_shape)
        noise = torch.randn(shape, device=scale.device, dtype=scale.dtype)
        return torch.addcmul(self.mean, scale, noise)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of each number, in nats."""
        square = (value - self.mean).square() * (-self.log_variance).exp()
        return -0.5 * (LOG_2PI + self.log_variance + square)

    def entropy(self) -> Tensor:
        """Return the differential entropy, in nats."""
        return 0.5 * (LOG_2PI + 1 + self.log_variance)


@register_kl(Gaussian, Gaussian)
def _kl_gaussian_gaussian(q: Gaussian, p: Gaussian) -> Tensor:
    # exp(l) - 1 - l is l * l / 2 where l is small: even with expm1, float32 loses the digits of
    # rates below 1e-6, so this one difference is taken in float64.
    log_ratio = (q.log_variance - p.log_variance).double()
    square = (q.mean - p.mean).square() * (-p.log_variance).exp()
    return 0.5 * (square + (torch.expm1(log_ratio) - log_ratio).to(square.dtype))


class Delta(Elementwise):
    """All mass on one value: what an autoencoder's encoder says of a code. It has no density.

    Arguments:
        value: The value, with shape (*).
    """

    support = constraints.real
    has_rsample = True

    def __init__(self, value: Tensor) -> None:
        super().__init__(value)

    @property
    def mean(self) -> Tensor:
        """The value."""
        return self.params[0]

    @property
    def variance(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.params[0])

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return the value; shape (*sample_shape, *batch_shape)."""
        return self.params[0].expand(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Refuse: a point has no density.

        Raises:
            VariedError: Always.
        """
        raise VariedError(
            "A point posterior has no density, so KL and ELBO do not exist for it; "
            "use posterior='gaussian' for a variational autoencoder."
        )
