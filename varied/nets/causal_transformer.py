"""A causal transformer over sequences of codes or tokens."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varied.nets.autocast import AutocastModule


class KVCache:
    """The KV cache of a block: the keys and values of the preceding tokens.

    Arguments:
        tokens: The length of the complete sequence.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens, self.length = tokens, 0
        self.buffers: tuple[Tensor, ...] = ()

    def append(self, *tensors: Tensor) -> list[Tensor]:
        """Append the key and value of a token, with shape (N, heads, 1, width), and return all."""
        if not self.buffers:
            rows, heads, _, width = tensors[0].shape
            shape = (rows, heads, self.tokens, width)
            self.buffers = tuple(tensor.new_empty(shape) for tensor in tensors)
        for buffer, tensor in zip(self.buffers, tensors, strict=True):
            buffer[:, :, self.length] = tensor[:, :, 0]
        self.length += 1
        return [buffer[:, :, : self.length] for buffer in self.buffers]


class Block(nn.Module):
    """A pre-norm transformer block with causal attention.

    Arguments:
        width: The number of features of a token.
        heads: The number of attention heads.
        dropout: The dropout probability.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout_p = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv_proj, self.out_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, cache: KVCache | None = None) -> Tensor:
        """Return features with shape (N, tokens, width); with a cache, ``tokens`` is 1."""
        h = h + self.dropout(self.out_proj(self._attention(self.norm1(h), cache)))
        return h + self.dropout(self.mlp(self.norm2(h)))  # type: ignore[no-any-return]

    def _attention(self, h: Tensor, cache: KVCache | None) -> Tensor:
        qkv = self.qkv_proj(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if cache is not None:
            k, v = cache.append(k, v)
        dropout_p = self.dropout_p if self.training else 0.0
        h = _attend(q, k, v, dropout_p=dropout_p, is_causal=cache is None)
        return h.transpose(1, 2).flatten(2)


def _attend(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v, **options)
    # On CPUs, the gradient takes eight times as long in bfloat16 as in float32.
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), **options)


class CausalTransformer(AutocastModule):
    """A transformer that predicts each code from the preceding codes.

    Optionally, the prediction also depends on a context and on features of each position.

    Arguments:
        codes: The size of the codebook.
        tokens: The length of a sequence of codes.
        context: The number of context features; 0 for none.
        width: The number of features of a token.
        depth: The number of blocks.
        heads: The number of attention heads.
        dropout: The dropout probability.
    """

    def __init__(
        self,
        codes: int,
        tokens: int,
        context: int,
        *,
        width: int,
        depth: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        #: The number of floats that the KV cache of one sequence stores.
        self.cache_size = 2 * depth * tokens * width
        self.start = nn.Parameter(0.02 * torch.randn(width))
        self.context = nn.Linear(context, width) if context else None
        self.embedding = nn.Embedding(codes, width)
        self.position_embedding = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, codes)
        self._init_weights(depth)

    def _init_weights(self, depth: int) -> None:
        """Make initial predictions nearly uniform, and the residual scale independent of depth."""
        nn.init.zeros_(self.head.bias)
        for name, param in self.named_parameters():
            if param.dim() > 1 and not name.startswith("context"):
                nn.init.normal_(param, std=0.02)
            if name.endswith(("out_proj.weight", "mlp.2.weight")):
                nn.init.normal_(param, std=0.02 / math.sqrt(2 * depth))

    def start_token(self, rows: int, c: Tensor | None) -> Tensor:
        """Return the features of the start token, with shape (rows, 1, width)."""
        start = self.start.expand(rows, 1, -1)
        return start if self.context is None or c is None else start + self.context(c).unsqueeze(1)

    def forward(
        self, index: Tensor, c: Tensor | None = None, features: Tensor | None = None
    ) -> Tensor:
        """Return the logits of each code given the preceding ones, with shape (N, tokens, codes).

        Arguments:
            index: Sequences of codes, with shape (N, tokens).
            c: The context, with shape (N, F), or None.
            features: Values that are added to the features of each token, with shape (N, tokens,
                width), or None.
        """
        with self.autocast(index.device):
            start = self.start_token(index.shape[0], c)
            tokens = torch.cat([start, self.embedding(index[:, :-1])], 1)
            positions = self.position_embedding
            h = self.dropout(tokens + (positions if features is None else positions + features))
            for block in self.blocks:
                h = block(h)
            logits: Tensor = self.head(self.norm(h))
        return logits if logits.dtype == torch.float64 else logits.float()


class CodeDecoder:
    """Decodes sequences of codes incrementally, with a KV cache.

    Arguments:
        net: The transformer.
        rows: The number of sequences.
        c: The context, with shape (rows, F), or None.
        features: Values that are added to the features of each token, with shape (rows, tokens,
            width), or None.
    """

    def __init__(
        self,
        net: CausalTransformer,
        rows: int,
        c: Tensor | None = None,
        features: Tensor | None = None,
    ) -> None:
        self.net, self.rows, self.c, self.features = net, rows, c, features
        self.caches = [KVCache(net.tokens) for _ in net.blocks]

    def __call__(self, last: Tensor | None) -> Tensor:
        """Return the logits of the next code, with shape (rows, codes).

        Arguments:
            last: The preceding code of each sequence, with shape (rows), or None for the first
                code.
        """
        net, position = self.net, self.caches[0].length
        h = net.start_token(self.rows, self.c) if last is None else net.embedding(last).unsqueeze(1)
        h = h + net.position_embedding[position]
        if self.features is not None:
            h = h + self.features[:, position : position + 1]
        h = net.dropout(h)
        for block, cache in zip(net.blocks, self.caches, strict=True):
            h = block(h, cache)
        return net.head(net.norm(h))[:, 0]  # type: ignore[no-any-return]
