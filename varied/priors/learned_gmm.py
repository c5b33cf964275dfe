"""A mixture whose components are learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from varied.distributions import soft_clamp
from varied.errors import VariedError
from varied.priors.base import Prior
from varied.priors.mixtures import DiagonalMixture

__all__ = ["LearnedGaussianMixture"]


class LearnedGaussianMixture(Prior):
    r"""Gaussians with independent dimensions whose weights, means and variances are learned.

    .. math:: p(z) = \sum_c \pi_c \, \mathcal N(z; \mu_c, e^{\ell_c})

    The means start spread out, with the variances such that the whole has mean 0 and variance 1;
    components that start as one would stay one.

    References:
        Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders
        (Dilokthanakul et al., 2016), https://arxiv.org/abs/1611.02648

    Arguments:
        event: The shape of a latent.
        n_components: How many Gaussians.
    """

    provides = frozenset({"density"})

    def __init__(self, event: tuple[int, ...], n_components: int = 50) -> None:
        super().__init__(event)
        if n_components < 1:
            raise VariedError(f"n_components={n_components} must be at least 1; 50 is the default.")
        shape = (n_components, *self.event_shape)
        self.weights = nn.Parameter(torch.zeros(n_components))
        self.means = nn.Parameter(math.sqrt(0.5) * torch.randn(shape))
        self.spreads = nn.Parameter(torch.full(shape, math.log(0.5)))

    def forward(self, c: Tensor | None = None) -> DiagonalMixture:
        """Return the mixture; it does not look at the context."""
        return DiagonalMixture(self.weights, self.means, soft_clamp(self.spreads, 10.0))
