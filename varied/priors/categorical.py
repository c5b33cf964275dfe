"""Latents that are choices among classes, each as likely as any other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from varied import distributions as d
from varied.errors import VariedError
from varied.priors.base import Prior

__all__ = ["Categorical", "Joint"]


class Categorical(Prior):
    r"""Choices among classes, uniformly: each run of ``classes`` channels is one.

    .. math:: p(z) = \prod_v \frac1K, \quad z_v \text{ one-hot}

    References:
        Categorical Reparameterization with Gumbel-Softmax (Jang et al., 2016),
        https://arxiv.org/abs/1611.01144

    Arguments:
        event: The shape of a latent; its channels are a multiple of ``classes``.
        classes: The number of classes of each choice, as in posterior='gumbel'.
    """

    gives: frozenset[str] = frozenset({"density"})
    space = "simplex"
    zero: Tensor

    def __init__(self, event: tuple[int, ...], classes: int = 8) -> None:
        super().__init__(event)
        if classes < 2 or self.event[0] % classes:
            raise VariedError(
                f"latent={self.event[0]} does not divide into choices among classes={classes}; "
                f"use the classes of the posterior, and a latent that is a multiple of them."
            )
        self.classes, self.space = classes, f"simplex-{classes}"
        self.register_buffer("zero", torch.zeros(self.event), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return uniform choices; it does not look at the context."""
        return d.OneHot(self.zero, self.classes, len(self.event))


class Joint(Prior):
    r"""Standard normal latents and, on the last channels, one uniform choice among classes.

    .. math:: p(z, y) = \mathcal N(z; 0, I) / K

    References:
        Learning Disentangled Joint Continuous and Discrete Representations (Dupont, 2018),
        https://arxiv.org/abs/1804.00104

    Arguments:
        event: The shape of a latent, with more channels than ``classes``.
        classes: The number of classes of the choice, as in posterior='joint'.
    """

    gives: frozenset[str] = frozenset({"density", "parts"})
    space = "real+simplex"
    zero: Tensor

    def __init__(self, event: tuple[int, ...], classes: int = 10) -> None:
        super().__init__(event)
        if not 2 <= classes < self.event[0]:
            raise VariedError(
                f"latent={self.event[0]} does not divide into normal latents and a choice among "
                f"classes={classes}; use latent={max(classes, 2) + 10}."
            )
        self.classes, self.space = classes, f"real+simplex-{classes}"
        self.register_buffer("zero", torch.zeros(self.event), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return both parts as one distribution; it does not look at the context."""
        choice, normal = self.zero[-self.classes :], self.zero[: -self.classes]
        rank = len(self.event)
        standard = Independent(d.Gaussian(normal, normal), rank, validate_args=False)
        return d.Joint(standard, d.OneHot(choice, self.classes, rank))
