"""The posterior of delta-VAE: a Gaussian with a minimum KL."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import VariedError, check_above
from varied.heads import Head
from varied.posteriors.base import Shape


class DeltaGaussian(Head):
    r"""A Gaussian whose KL to the standard normal is at least ``delta`` in each dimension.

    .. math:: q(z) = \prod_j \mathcal N(z_j; \mu_j, e^{\ell_j}), \qquad
        \ell = \ell_\delta - \log(1 + e^{-b \tanh(h / b)})

    where the upper bound of the log-variance,

    .. math:: \ell_\delta = -(1 + 2 \delta) - W_0(-e^{-(1 + 2 \delta)}) < 0,

    is the value at which :math:`KL = \tfrac12 (\mu^2 + e^\ell - 1 - \ell)` equals :math:`\delta`
    for :math:`\mu = 0`. With a standard normal prior, this prevents posterior collapse for any
    mean. A learned prior can adapt to the posterior, in which case there is no guarantee.

    Warning:
        For variances near 1, the paper instead bounds the mean (:math:`\mu^2 \ge 2 \delta + 1 +
        \ell - e^\ell`, with positive means), so that all means are on one side of the prior mean.
        Here, only the variance is bounded and the mean is free; both satisfy the same constraint.

    References:
        Preventing Posterior Collapse with delta-VAEs (Razavi et al., 2019),
        https://arxiv.org/abs/1901.03416

    Arguments:
        event: The shape of a latent variable.
        delta: The minimum KL of each dimension, in nats; 0.1 limits standard deviations to at most
            0.7.
        logvar_bound: The approximate amount by which the log-variance can fall below its upper
            bound.
    """

    params_per_element = 2

    def __init__(self, event: Shape, delta: float = 0.1, logvar_bound: float = 10.0) -> None:
        super().__init__(event)
        if not 0 < delta <= 20:
            raise VariedError(f"delta={delta} must be above 0 and at most 20; the default is 0.1.")
        check_above(0, default=10, logvar_bound=logvar_bound)
        self.delta, self.logvar_bound = delta, logvar_bound
        # Slightly lower, so that float32 rounding does not reduce the KL below delta.
        self.max_log_variance = _max_log_variance(delta) * (1 + 1e-6)

    def build(self, mean: Tensor, h: Tensor) -> Distribution:
        """Return diagonal Gaussians."""
        decrease = F.softplus(-d.soft_clamp(h, self.logvar_bound))
        return d.Gaussian(mean, self.max_log_variance - decrease)


def _max_log_variance(delta: float) -> float:
    """Return the negative solution of (exp(l) - 1 - l) / 2 = delta."""
    # Newton's method cannot overshoot: left of the root, the function is convex and decreasing.
    log_variance = -(1 + 2 * delta)
    for _ in range(60):
        slope = math.expm1(log_variance)
        log_variance -= (slope - log_variance - 2 * delta) / slope
    return log_variance
