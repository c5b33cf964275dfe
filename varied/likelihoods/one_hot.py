"""The likelihood of sequences of tokens."""

from __future__ import annotations

from torch import Tensor

from varied import distributions as d
from varied.likelihoods.base import Likelihood


class OneHot(Likelihood):
    r"""A softmax over the tokens at each position of a sequence of one-hot vectors.

    .. math:: \log p(x) = \sum_l \log \pi_{l k_l}, \qquad \pi_l = \mathrm{softmax}(h_l)

    The tokens are independent given the code. See `varied.distributions.OneHotElements`.
    """

    accepts = frozenset({"one-hot"})

    def build(self, logits: Tensor) -> d.OneHotElements:
        """Return one-hot distributions from logits with shape (*, tokens, positions)."""
        return d.OneHotElements(logits, len(self.event_shape))
