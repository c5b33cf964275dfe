"""A mixture whose components are learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from varied.distributions import soft_clamp
from varied.errors import VariedError
from varied.priors.base import Prior
from varied.priors.blend import DiagonalBlend

__all__ = ["Mixture"]


class Mixture(Prior):
    r"""Gaussians with independent dimensions whose weights, means and variances are learned.

    .. math:: p(z) = \sum_c \pi_c \, \mathcal N(z; \mu_c, e^{\ell_c})

    The means start spread out, with the variances such that the whole has mean 0 and variance 1;
    components that start as one would stay one.

    References:
        Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders
        (Dilokthanakul et al., 2016), https://arxiv.org/abs/1611.02648

    Arguments:
        event: The shape of a latent.
        components: How many Gaussians.
    """

    gives = frozenset({"density"})

    def __init__(self, event: tuple[int, ...], components: int = 50) -> None:
        super().__init__(event)
        if components < 1:
            raise VariedError(f"components={components} must be at least 1; 50 is the default.")
        shape = (components, *self.event)
        self.weights = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(math.sqrt(0.5) * torch.randn(shape))
        self.spreads = nn.Parameter(torch.full(shape, math.log(0.5)))

    def forward(self, c: Tensor | None = None) -> DiagonalBlend:
        """Return the mixture; it does not look at the context."""
        return DiagonalBlend(self.weights, self.means, soft_clamp(self.spreads, 10.0))
