"""Latents that cannot stay silent: each dimension says at least so many nats."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import VariedError
from varied.posteriors.base import Posterior

__all__ = ["DeltaGaussian"]


class DeltaGaussian(Posterior):
    r"""A normal distribution whose KL to the standard normal is at least ``delta`` a dimension.

    .. math:: q(z) = \prod_j \mathcal N(z_j; \mu_j, e^{\ell_j}), \qquad
        \ell = \ell_\delta - \log(1 + e^{-b \tanh(h / b)})

    where the bound on the log-variance,

    .. math:: \ell_\delta = -(1 + 2 \delta) - W_0(-e^{-(1 + 2 \delta)}) < 0,

    is where :math:`KL = \tfrac12 (\mu^2 + e^\ell - 1 - \ell)` with :math:`\mu = 0` is just
    :math:`\delta`. So against a standard normal prior the rate is committed whatever the mean is:
    no dimension can say less. A prior that learns may follow the posterior, and then it can.

    Warning:
        The paper commits the rate by the mean instead (:math:`\mu^2 \ge 2 \delta + 1 + \ell -
        e^\ell`, on the positive side), for variances near 1. Then all codes lie on one side of the
        prior's mean. Here the variance alone pays, which leaves the mean free; both are parts of
        the same family.

    References:
        Preventing Posterior Collapse with delta-VAEs (Razavi et al., 2019),
        https://arxiv.org/abs/1901.03416

    Arguments:
        event: The shape of a latent.
        delta: The least KL of each dimension, in nats; 0.1 caps a deviation at 0.7.
        logvar_bound: How far, about, the log-variance can fall below its bound.
    """

    params_per_element = 2

    def __init__(
        self, event: tuple[int, ...], delta: float = 0.1, logvar_bound: float = 10.0
    ) -> None:
        super().__init__(event)
        if not 0 < delta <= 20:
            raise VariedError(f"delta={delta} must be above 0 and at most 20; 0.1 is usual.")
        if logvar_bound <= 0:
            raise VariedError(f"logvar_bound={logvar_bound} must be above 0; 10 is the default.")
        self.delta, self.bound = delta, logvar_bound
        # A hair below: float32 must not round a rate to less than was promised.
        self.most = _most(delta) * (1 + 1e-6)

    def build(self, mean: Tensor, h: Tensor) -> Distribution:
        """Return diagonal Gaussians."""
        below = F.softplus(-d.soft_clamp(h, self.bound))
        return d.Gaussian(mean, self.most - below)


def _most(delta: float) -> float:
    """Return the log-variance below 0 at which half of exp(l) - 1 - l is delta."""
    # Newton's method from the left of the root of a convex function that falls: it goes past none.
    log_variance = -(1 + 2 * delta)
    for _ in range(60):
        slope = math.expm1(log_variance)
        log_variance -= (slope - log_variance - 2 * delta) / slope
    return log_variance
