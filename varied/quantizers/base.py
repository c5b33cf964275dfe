"""What every quantizer is: shapes, and codes to vectors and back."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from varied.distributions.codebook import CodebookPoint
from varied.errors import VariedError
from varied.heads import Head
from varied.quantizers.usage import code_counts

__all__ = ["MOST_CODES", "Quantized", "Quantizer", "straight_through"]

#: The whole codebook is made in each pass; beyond this it would take more memory than the model.
MOST_CODES = 2**18


@dataclass
class Quantized:
    """What a quantizer makes of M vectors.

    Arguments:
        value: The codes, with shape (M, C), and with the gradient of what they replace.
        index: Which codes they are, int64 with shape (M, depth).
        cost: The quantizer's own loss for each, with shape (M).
    """

    value: Tensor
    index: Tensor
    cost: Tensor


class Quantizer(Head):
    """A head that puts each vector of a latent on a code.

    To add one, subclass, call the constructor with the number of codes, and write `quantize`
    (vectors to codes) and `vectors` (indices to the same codes, bit for bit). Shapes are handled
    here. What is learned without a gradient is kept in buffers and changes in training mode alone.

    Arguments:
        event: The shape of a latent, (C, *rest).
        codes: The size of the codebook.
    """

    provides: frozenset[str] = frozenset({"codes"})
    space = "codes"

    #: Indices for each vector.
    depth: int = 1
    #: The share of its past that a moving average keeps at each step.
    decay: float = 0.99
    #: A moving average of how often each code is taken, as a multiple of the mean.
    use: Tensor

    def __init__(self, event: tuple[int, ...], codes: int) -> None:
        super().__init__(event)
        if codes < 2:
            raise VariedError(f"codebook_size={codes} must be at least 2; 512 is usual.")
        if codes > MOST_CODES:
            raise VariedError(
                f"{codes} codes are more than {MOST_CODES}, and few of them would be in use; "
                f"take fewer, or several at each place with posterior='residual-vq'."
            )
        self.num_codes = codes
        self.register_buffer("use", torch.ones(codes))

    @property
    def num_positions(self) -> int:
        """The number of vectors of one datum."""
        return math.prod(self.event_shape[1:])

    @property
    def num_tokens(self) -> int:
        """The number of indices of one datum."""
        return self.depth * self.num_positions

    @abstractmethod
    def quantize(self, rows: Tensor) -> Quantized:
        """Return the codes of vectors with shape (M, C)."""

    @abstractmethod
    def decode_indices(self, index: Tensor) -> Tensor:
        """Return codes, with shape (M, C), by their indices, with shape (M, depth)."""

    def start(self, rows: Tensor) -> None:
        """Begin where the data are; ``rows`` are finite vectors with shape (M, C)."""

    def build(self, h: Tensor) -> Distribution:
        """Return codes, with the shape of ``h``."""
        lead = h.shape[: h.dim() - len(self.event_shape)]
        found = self.quantize(self._rows(h))
        # Depth first: the first codes of all places stand before the second of any.
        index = found.index.reshape(-1, self.num_positions, self.depth).mT
        cost = found.cost.reshape(-1, self.num_positions).sum(1)
        return CodebookPoint(
            self._latents(found.value, lead),
            index.reshape(*lead, self.num_tokens),
            cost.reshape(lead),
        )

    def lookup(self, index: Tensor) -> Tensor:
        """Return the latents of given codes, equal to those that the quantizer gave.

        Arguments:
            index: int64 with shape (*, sites): all places in order, for a residual quantizer once
                for each depth.

        Returns:
            Latents with shape (*, C, *rest).
        """
        lead = index.shape[:-1]
        index = index.reshape(-1, self.depth, self.num_positions).mT.reshape(-1, self.depth)
        return self._latents(self.decode_indices(index), lead)

    @torch.no_grad()
    def init_from_data(self, h: Tensor) -> None:
        """Begin where the data are.

        Arguments:
            h: What an untrained network put out, with shape (N, C, *rest).
        """
        rows = self._rows(h)
        rows = rows[rows.isfinite().all(1)]
        if len(rows):
            self.start(rows)

    def _rows(self, h: Tensor) -> Tensor:
        return h.reshape(-1, self.event_shape[0], self.num_positions).mT.reshape(
            -1, self.event_shape[0]
        )

    def _latents(self, rows: Tensor, lead: tuple[int, ...]) -> Tensor:
        rows = rows.reshape(-1, self.num_positions, self.event_shape[0]).mT
        return rows.reshape(*lead, *self.event_shape)

    def _relative(self, index: Tensor) -> Tensor:
        """Return how often each code was taken, as a multiple of the mean; shape (codes)."""
        counts = code_counts(index, self.num_codes)
        return counts.to(self.use.dtype) * (self.num_codes / index.numel())

    @torch.no_grad()
    def _note(self, rows: Tensor, index: Tensor) -> Tensor:
        """Move the average of use, and return whether all of the batch is finite (a scalar).

        A step that is not finite is skipped by the loop, and must leave no trace here either.
        """
        sound = rows.square().sum().isfinite()
        moved = self.use.lerp(self._relative(index), 1 - self.decay)
        self.use.copy_(torch.where(sound, moved, self.use))
        return sound


def straight_through(code: Tensor, path: Tensor) -> Tensor:
    """Return the code itself, with the gradient of another tensor of that shape.

    ``path - path.detach()`` is 0 to the last bit, where the usual ``path + (code - path).detach()``
    would round; and it is NaN where the network put out what is not finite, so that no such step
    goes unseen.
    """
    return code.detach() + (path - path.detach())
