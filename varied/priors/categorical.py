"""Latents that are choices among classes, each as likely as any other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from varied import distributions as d
from varied.errors import VariedError
from varied.priors.base import Prior

__all__ = ["Categorical", "GaussianCategorical"]


class Categorical(Prior):
    r"""Choices among classes, uniformly: each run of ``classes`` channels is one.

    .. math:: p(z) = \prod_v \frac1K, \quad z_v \text{ one-hot}

    References:
        Categorical Reparameterization with Gumbel-Softmax (Jang et al., 2016),
        https://arxiv.org/abs/1611.01144

    Arguments:
        event: The shape of a latent; its channels are a multiple of ``classes``.
        n_classes: The number of classes of each choice, as in posterior='gumbel-softmax'.
    """

    provides: frozenset[str] = frozenset({"density"})
    space = "simplex"
    zero: Tensor

    def __init__(self, event: tuple[int, ...], n_classes: int = 8) -> None:
        super().__init__(event)
        if n_classes < 2 or self.event_shape[0] % n_classes:
            raise VariedError(
                f"latent={self.event_shape[0]} does not divide into choices among n_classes={n_classes}; "
                f"use the classes of the posterior, and a latent that is a multiple of them."
            )
        self.classes, self.space = n_classes, f"simplex-{n_classes}"
        self.register_buffer("zero", torch.zeros(self.event_shape), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return uniform choices; it does not look at the context."""
        return d.OneHot(self.zero, self.classes, len(self.event_shape))


class GaussianCategorical(Prior):
    r"""Standard normal latents and, on the last channels, one uniform choice among classes.

    .. math:: p(z, y) = \mathcal N(z; 0, I) / K

    References:
        Learning Disentangled Joint Continuous and Discrete Representations (Dupont, 2018),
        https://arxiv.org/abs/1804.00104

    Arguments:
        event: The shape of a latent, with more channels than ``classes``.
        n_classes: The number of classes of the choice, as in posterior='gaussian-gumbel'.
    """

    provides: frozenset[str] = frozenset({"density", "parts"})
    space = "real+simplex"
    zero: Tensor

    def __init__(self, event: tuple[int, ...], n_classes: int = 10) -> None:
        super().__init__(event)
        if not 2 <= n_classes < self.event_shape[0]:
            raise VariedError(
                f"latent={self.event_shape[0]} does not divide into normal latents and a choice among "
                f"n_classes={n_classes}; use latent={max(n_classes, 2) + 10}."
            )
        self.classes, self.space = n_classes, f"real+simplex-{n_classes}"
        self.register_buffer("zero", torch.zeros(self.event_shape), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return both parts as one distribution; it does not look at the context."""
        choice, normal = self.zero[-self.classes :], self.zero[: -self.classes]
        rank = len(self.event_shape)
        standard = Independent(d.Gaussian(normal, normal), rank, validate_args=False)
        return d.Product(standard, d.OneHot(choice, self.classes, rank))
