"""The normal distribution, parameterized by its mean and log-variance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import register_kl

from varied.distributions.base import LOG_2PI, Elementwise


class Gaussian(Elementwise):
    r"""A normal distribution, parameterized by its mean and log-variance.

    .. math:: \log p(x) = -\tfrac12 (\log 2\pi + \ell + (x - \mu)^2 e^{-\ell})

    The log-variance is used because the variance may underflow.

    Arguments:
        mean: The mean, with shape (*).
        log_variance: The log-variance, with shape (*).
    """

    has_rsample = True

    def __init__(self, mean: Tensor, log_variance: Tensor) -> None:
        super().__init__(mean, log_variance)
        self.log_variance = self.params[1]

    @property
    def mean(self) -> Tensor:
        """The mean of each element."""
        return self.params[0]

    @property
    def variance(self) -> Tensor:
        """The variance of each element."""
        return self.log_variance.exp()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return differentiable samples, with shape (*sample_shape, *batch_shape)."""
        scale = (0.5 * self.log_variance).exp()
        shape = self._extended_shape(sample_shape)
        noise = torch.randn(shape, device=scale.device, dtype=scale.dtype)
        return torch.addcmul(self.mean, scale, noise)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of each element, in nats."""
        square = (value - self.mean).square() * (-self.log_variance).exp()
        return -0.5 * (LOG_2PI + self.log_variance + square)


@register_kl(Gaussian, Gaussian)
def _kl_gaussian_gaussian(q: Gaussian, p: Gaussian) -> Tensor:
    # For small l, exp(l) - 1 - l is approximately l * l / 2. Even with expm1, float32 loses all
    # digits of a KL below 1e-6, so this difference is computed in float64.
    log_ratio = (q.log_variance - p.log_variance).double()
    square = (q.mean - p.mean).square() * (-p.log_variance).exp()
    return 0.5 * (square + (torch.expm1(log_ratio) - log_ratio).to(square.dtype))
