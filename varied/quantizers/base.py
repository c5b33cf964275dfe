"""The base classes for quantizers: shapes, and the conversion between codes and vectors."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from varied.distributions.codebook import CodebookPoint
from varied.errors import VariedError, check_at_least
from varied.heads import Head
from varied.process_group import current_group
from varied.quantizers.codebook_usage import code_counts

Shape = tuple[int, ...]

#: The maximum codebook size. Every forward pass computes the codebook, and a larger one would
#: require more memory than the rest of the model.
MAX_CODES = 2**18


@dataclass
class Quantized:
    """The result of quantizing M vectors.

    Arguments:
        value: The quantized vectors, with shape (M, C); their gradients are passed to the input.
        index: The codes, as int64 with shape (M, depth).
        cost: The loss of the quantizer for each vector, with shape (M).
    """

    value: Tensor
    index: Tensor
    cost: Tensor


class Quantizer(Head):
    """A head that replaces each vector of a latent variable with codebook entries.

    Subclasses implement `quantize`, which maps vectors to codes, and `decode_indices`, which maps
    codes to the same quantized vectors, bit for bit. State that is learned without gradients
    belongs in buffers and changes only in training mode.

    Arguments:
        event: The shape of a latent variable, (C, *rest).
        codes: The size of the codebook.
    """

    provides: frozenset[str] = frozenset({"codes"})
    space = "codes"

    #: The number of codes for each vector.
    depth: int = 1
    #: The decay of the moving averages.
    decay: float = 0.99
    #: A moving average of how often each code is used, relative to the mean over all codes.
    usage: Tensor

    def __init__(self, event: Shape, codes: int) -> None:
        super().__init__(event)
        check_at_least(2, codebook_size=codes)
        if codes > MAX_CODES:
            raise VariedError(
                f"A codebook of {codes} entries exceeds the maximum of {MAX_CODES}; use a smaller "
                "codebook, or several codebooks with posterior='residual-vq'."
            )
        self.num_codes = codes
        self.register_buffer("usage", torch.ones(codes))

    @property
    def num_positions(self) -> int:
        """The number of vectors in a latent variable."""
        return math.prod(self.event_shape[1:])

    @property
    def num_tokens(self) -> int:
        """The number of codes for each latent variable."""
        return self.depth * self.num_positions

    @abstractmethod
    def quantize(self, rows: Tensor) -> Quantized:
        """Quantize vectors with shape (M, C)."""

    @abstractmethod
    def decode_indices(self, index: Tensor) -> Tensor:
        """Return the quantized vectors, with shape (M, C), for codes with shape (M, depth)."""

    def init_codebook(self, rows: Tensor) -> None:
        """Initialize the codebook from finite vectors with shape (M, C)."""

    def build(self, h: Tensor) -> Distribution:
        """Return a point mass on the quantized latents, with the shape of ``h``."""
        lead = h.shape[: h.dim() - len(self.event_shape)]
        quantized = self.quantize(self._to_rows(h))
        # The first codes of all positions precede the second codes.
        index = quantized.index.reshape(-1, self.num_positions, self.depth).mT
        cost = quantized.cost.reshape(-1, self.num_positions).sum(1)
        return CodebookPoint(
            self._to_latents(quantized.value, lead),
            index.reshape(*lead, self.num_tokens),
            cost.reshape(lead),
        )

    def lookup(self, index: Tensor) -> Tensor:
        """Return the latents for given codes, bitwise equal to the output of the forward pass.

        Arguments:
            index: The codes, as int64 with shape (*, num_tokens): the codes of all positions in
                order, for each codebook of a residual quantizer in turn.

        Returns:
            Latents with shape (*, C, *rest).
        """
        lead = index.shape[:-1]
        index = index.reshape(-1, self.depth, self.num_positions).mT.reshape(-1, self.depth)
        return self._to_latents(self.decode_indices(index), lead)

    @torch.no_grad()
    def init_from_data(self, h: Tensor) -> None:
        """Initialize the codebook from network outputs with shape (N, C, *rest)."""
        rows = self._to_rows(h)
        rows = rows[rows.isfinite().all(1)]
        if len(rows):
            self.init_codebook(rows)

    def _to_rows(self, h: Tensor) -> Tensor:
        channels = self.event_shape[0]
        return h.reshape(-1, channels, self.num_positions).mT.reshape(-1, channels)

    def _to_latents(self, rows: Tensor, lead: Shape) -> Tensor:
        rows = rows.reshape(-1, self.num_positions, self.event_shape[0]).mT
        return rows.reshape(*lead, *self.event_shape)

    @torch.no_grad()
    def _update_usage(self, rows: Tensor, index: Tensor) -> Tensor:
        """Update the average usage, and return whether all vectors are finite, as a scalar tensor.

        The training loop skips steps with non-finite values, so they must not change the averages.
        """
        group = current_group()
        is_finite = group.mean(rows.square().sum()).isfinite()
        relative = code_counts(index, self.num_codes).to(self.usage.dtype)
        relative = group.mean(relative * (self.num_codes / index.numel()))
        updated = self.usage.lerp(relative, 1 - self.decay)
        self.usage.copy_(torch.where(is_finite, updated, self.usage))
        return is_finite


class CodebookQuantizer(Quantizer):
    """A quantizer with one codebook and one code for each vector."""

    @abstractmethod
    def codebook(self) -> Tensor:
        """Return all codebook entries, with shape (codes, C)."""

    def decode_indices(self, index: Tensor) -> Tensor:
        """Return codebook entries, with shape (M, C), for codes with shape (M, 1)."""
        return self.codebook()[index[:, 0]]


def straight_through(value: Tensor, path: Tensor) -> Tensor:
    """Return a value with the gradient of another tensor of the same shape.

    ``path - path.detach()`` is exactly 0, whereas the common ``path + (value - path).detach()`` is
    subject to rounding. This difference is NaN where ``path`` is not finite, so that the training
    loop detects such steps.
    """
    return value.detach() + (path - path.detach())
