"""A Gaussian mixture prior that is trained with the model."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from varied.distributions import soft_clamp
from varied.errors import check_at_least
from varied.priors.base import Prior, Shape
from varied.priors.mixtures import DiagonalMixture


class LearnedGaussianMixture(Prior):
    r"""A mixture of diagonal Gaussians with learned weights, means and variances.

    .. math:: p(z) = \sum_c \pi_c \, \mathcal N(z; \mu_c, e^{\ell_c})

    The means are initialized randomly, since identical components would remain identical.
    Initially, the mixture has mean 0 and variance 1 in expectation over the means.

    References:
        Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders
        (Dilokthanakul et al., 2016), https://arxiv.org/abs/1611.02648

    Arguments:
        event: The shape of a latent variable.
        n_components: The number of Gaussians.
    """

    provides = frozenset({"density"})

    def __init__(self, event: Shape, n_components: int = 50) -> None:
        super().__init__(event)
        check_at_least(1, default=50, n_components=n_components)
        shape = (n_components, *self.event_shape)
        self.log_weights = nn.Parameter(torch.zeros(n_components))
        self.means = nn.Parameter(math.sqrt(0.5) * torch.randn(shape))
        self.log_variances = nn.Parameter(torch.full(shape, math.log(0.5)))

    def forward(self, c: Tensor | None = None) -> DiagonalMixture:
        """Return the mixture; the context is ignored."""
        log_variances = soft_clamp(self.log_variances, 10.0)
        return DiagonalMixture(self.log_weights, self.means, log_variances)
