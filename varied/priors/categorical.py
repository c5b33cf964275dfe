"""Uniform categorical priors."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import VariedError
from varied.priors.base import Prior, Shape
from varied.priors.normal import standard_normal


class Categorical(Prior):
    r"""Uniform categorical variables, one for each group of ``n_classes`` channels.

    .. math:: p(z) = \prod_v \frac1K, \quad z_v \text{ one-hot}

    References:
        Categorical Reparameterization with Gumbel-Softmax (Jang et al., 2016),
        https://arxiv.org/abs/1611.01144

    Arguments:
        event: The shape of a latent variable; the number of channels must be a multiple of
            ``n_classes``.
        n_classes: The number of classes of each variable, as in posterior='gumbel-softmax'.
    """

    provides: frozenset[str] = frozenset({"density"})
    space = "simplex"

    def __init__(self, event: Shape, n_classes: int = 8) -> None:
        super().__init__(event)
        if n_classes < 2 or self.event_shape[0] % n_classes:
            raise VariedError(
                "n_classes must be at least 2, and latent must be a multiple of it, got "
                f"n_classes={n_classes} and latent={self.event_shape[0]}; use the `n_classes` of "
                "the posterior."
            )
        self.n_classes, self.space = n_classes, f"simplex-{n_classes}"

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return uniform categorical distributions; the context is ignored."""
        return d.OneHot(self.zero, self.n_classes, len(self.event_shape))


class GaussianCategorical(Prior):
    r"""Standard normal latents, and one uniform categorical variable in the last channels.

    .. math:: p(z, y) = \mathcal N(z; 0, I) / K

    References:
        Learning Disentangled Joint Continuous and Discrete Representations (Dupont, 2018),
        https://arxiv.org/abs/1804.00104

    Arguments:
        event: The shape of a latent variable, with more than ``n_classes`` channels.
        n_classes: The number of classes, as in posterior='gaussian-gumbel'.
    """

    provides: frozenset[str] = frozenset({"density", "parts"})
    space = "real+simplex"

    def __init__(self, event: Shape, n_classes: int = 10) -> None:
        super().__init__(event)
        if not 2 <= n_classes < self.event_shape[0]:
            raise VariedError(
                "n_classes must be at least 2 and latent larger than n_classes, got "
                f"n_classes={n_classes} and latent={self.event_shape[0]}; use "
                f"n_classes={max(n_classes, 2)} and latent={max(n_classes, 2) + 10}."
            )
        self.n_classes, self.space = n_classes, f"real+simplex-{n_classes}"

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return the product of the two distributions; the context is ignored."""
        gaussian, logits = self.zero[: -self.n_classes], self.zero[-self.n_classes :]
        one_hot = d.OneHot(logits, self.n_classes, len(self.event_shape))
        return d.Product(standard_normal(gaussian), one_hot)
