"""The distribution of a sequence of tokens in which each token depends on the preceding ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import torch
from torch import Size, Tensor

from varied.distributions.base import UnvalidatedDistribution

#: The number of sequences that are processed at a time without gradients, to limit memory usage.
_CHUNK = 2000


class TokenModel(ABC):
    """A model of each token in a sequence, given the preceding tokens and features h."""

    @abstractmethod
    def logits(self, h: Tensor, index: Tensor) -> Tensor:
        """Return the logits of each token given the preceding ones, with shape (N, L, K).

        Arguments:
            h: Features, with shape (N, *features).
            index: Sequences of tokens, with shape (N, L).
        """

    @abstractmethod
    def draw(self, h: Tensor, is_random: bool) -> Tensor:
        """Return sequences of tokens, with shape (N, L).

        Arguments:
            h: Features, with shape (N, *features).
            is_random: Whether to sample each token; otherwise, the most probable one is chosen.
        """


class AutoregressiveOneHot(UnvalidatedDistribution):
    r"""A sequence of one-hot vectors in which each vector depends on the preceding ones.

    .. math:: \log p(x) = \sum_l \log p(x_l \mid x_{<l}, h)

    The log-probability of each element is a term of this sum, in nats: 0 for the elements of a
    one-hot vector that are 0.

    References:
        Generating Sentences from a Continuous Space (Bowman et al., 2016),
        https://arxiv.org/abs/1511.06349

    Arguments:
        model: The model of the tokens.
        h: Features, with shape (*, *features), where ``features`` has two dimensions.
        event: The shape (K, L) of a sequence, where K is the vocabulary size and L the length.
    """

    def __init__(self, model: TokenModel, h: Tensor, event: tuple[int, int]) -> None:
        self.model, self.h, self.event = model, h, event
        super().__init__(Size((*h.shape[:-2], *event)))

    def expand(self, batch_shape: Any, _instance: Any = None) -> AutoregressiveOneHot:
        """Return the same distribution with a larger batch shape."""
        h = self.h.expand(*tuple(batch_shape)[:-2], *self.h.shape[-2:])
        return AutoregressiveOneHot(self.model, h, self.event)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of each element given the preceding tokens, in nats."""
        return value * self._log_probabilities(value.argmax(-2))

    @cached_property
    def modes(self) -> Tensor:
        """The most probable token at each position given the preceding ones, with shape (*, L)."""
        return self._draw((), is_random=False)

    @property
    def mean(self) -> Tensor:
        """The token probabilities at each position, given `modes` at the preceding positions."""
        return self._log_probabilities(self.modes).exp()

    @property
    def variance(self) -> Tensor:
        """The variance of each element, given `modes` at preceding positions."""
        return self.mean - self.mean.square()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return detached one-hot samples, with shape (*sample_shape, *batch_shape)."""
        index = self._draw(tuple(sample_shape), is_random=True)
        one_hot = torch.nn.functional.one_hot(index, self.event[0])
        return one_hot.movedim(-1, -2).to(self.h.dtype)

    def _log_probabilities(self, index: Tensor) -> Tensor:
        """Return the log-probability of each token given the preceding ones."""
        lead = torch.broadcast_shapes(index.shape[:-1], self.h.shape[:-2])
        h = self.h.expand(*lead, *self.h.shape[-2:]).reshape(-1, *self.h.shape[-2:])
        index = index.expand(*lead, -1).reshape(len(h), -1)
        size = max(len(h), 1) if torch.is_grad_enabled() else _CHUNK
        chunks = zip(h.split(size), index.split(size), strict=True)
        logits = torch.cat([self.model.logits(*chunk) for chunk in chunks])
        return logits.log_softmax(-1).movedim(-1, -2).reshape(*lead, *self.event)

    @torch.no_grad()
    def _draw(self, sample_shape: tuple[int, ...], is_random: bool) -> Tensor:
        h = self.h.expand(*sample_shape, *self.h.shape)
        chunks = h.reshape(-1, *self.h.shape[-2:]).split(_CHUNK)
        index = torch.cat([self.model.draw(chunk, is_random) for chunk in chunks])
        return index.reshape(*h.shape[:-2], -1)
