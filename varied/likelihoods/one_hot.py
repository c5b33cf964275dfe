"""Likelihoods of sequences of tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch import distributions as td
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import VariedError, check_at_least
from varied.likelihoods.base import Likelihood
from varied.nets.causal_transformer import CausalTransformer, CodeDecoder


class OneHot(Likelihood):
    r"""A categorical distribution of the token at each position of a one-hot sequence.

    .. math:: \log p(x) = \sum_l \log \pi_{l k_l}, \qquad \pi_l = \mathrm{softmax}(h_l)

    The tokens are independent given the code. See `varied.distributions.OneHotElements`.
    """

    accepts = frozenset({"one-hot"})

    def build(self, logits: Tensor) -> d.OneHotElements:
        """Return one-hot distributions from logits with shape (*, tokens, positions)."""
        return d.OneHotElements(logits, len(self.event_shape))


class AutoregressiveOneHot(Likelihood, d.TokenModel):
    r"""A causal transformer that predicts each token from the code and the preceding tokens.

    .. math:: \log p(x \mid z) = \sum_l \log p(x_l \mid x_{<l}, h_l(z))

    The output of the decoder has features for each position, which are added to the embeddings of
    the tokens. During training, a random fraction of the preceding tokens is hidden from the
    transformer in some rows (word dropout), so that it must rely on the code.

    References:
        Generating Sentences from a Continuous Space (Bowman et al., 2016),
        https://arxiv.org/abs/1511.06349;
        Attention Is All You Need (Vaswani et al., 2017), https://arxiv.org/abs/1706.03762

    Arguments:
        event: The shape (K, L) of a sequence, where K is the vocabulary size and L the length.
        n_features: The number of features for each position in the output of the decoder.
        token_width: The number of features of a token in the transformer; a multiple of
            ``n_heads``.
        blocks: The number of blocks of the transformer.
        n_heads: The number of attention heads.
        word_dropout: The fraction of the rows in which preceding tokens are hidden.
    """

    accepts = frozenset({"one-hot"})
    can_compile = False  # not tested

    def __init__(
        self,
        event: tuple[int, ...],
        n_features: int = 48,
        token_width: int = 128,
        blocks: int = 2,
        n_heads: int = 4,
        word_dropout: float = 0.3,
    ) -> None:
        super().__init__(event)
        if len(event) != 2:
            raise VariedError(
                f"likelihood='autoregressive-one-hot' requires sequences of tokens, but the data "
                f"have shape {event}; use likelihood='gaussian' for numbers."
            )
        check_at_least(
            1, n_features=n_features, token_width=token_width, blocks=blocks, n_heads=n_heads
        )
        if token_width % n_heads:
            raise VariedError(f"token_width={token_width} must be a multiple of n_heads={n_heads}.")
        if not 0 <= word_dropout <= 1:
            raise VariedError(f"word_dropout={word_dropout} must be between 0 and 1.")
        self.tokens, self.length = event
        self.n_features, self.word_dropout = n_features, word_dropout
        # A forward pass stores about ten vectors for each position.
        self.params_per_element = math.ceil(10 * token_width / self.tokens)
        self.projection = nn.Linear(n_features, token_width)
        # The last embedding represents a hidden token.
        self.net = CausalTransformer(
            self.tokens + 1,
            self.length,
            0,
            width=token_width,
            depth=blocks,
            heads=n_heads,
            dropout=0.0,
        )

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape of the network output for one sequence."""
        return self.n_features, self.length

    def build(self, h: Tensor) -> d.AutoregressiveOneHot:
        """Return distributions of sequences from features with shape (*, features, positions)."""
        return d.AutoregressiveOneHot(self, h, (self.tokens, self.length))

    def forward(self, h: Tensor) -> Distribution:
        """Return the distributions of sequences for network outputs with shape (*, features, L)."""
        return td.Independent(self.build(h), 2, validate_args=False)

    def logits(self, h: Tensor, index: Tensor) -> Tensor:
        """Return the logits of each token given the preceding ones, with shape (N, L, K)."""
        logits: Tensor = self.net(self._hide(index), features=self._features(h))
        return logits[..., : self.tokens]

    def _features(self, h: Tensor) -> Tensor:
        features: Tensor = self.projection(h.movedim(-1, -2))
        return features

    def _hide(self, index: Tensor) -> Tensor:
        """Hide tokens at random during training."""
        if not self.training or not self.word_dropout:
            return index
        # The fraction of visible tokens, which is uniform for some rows and 1 for the others.
        shown = torch.rand(len(index), 1, device=index.device) / self.word_dropout
        return index.masked_fill(torch.rand(index.shape, device=index.device) >= shown, self.tokens)

    def draw(self, h: Tensor, is_random: bool) -> Tensor:
        """Return sequences of tokens, with shape (N, L)."""
        decoder, tokens = CodeDecoder(self.net, len(h), features=self._features(h)), list[Tensor]()
        for _ in range(self.length):
            logits = decoder(tokens[-1] if tokens else None)[:, : self.tokens]
            tokens.append(
                torch.multinomial(logits.softmax(-1), 1)[:, 0] if is_random else logits.argmax(-1)
            )
        return torch.stack(tokens, 1)
