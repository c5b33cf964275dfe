"""Finite scalar quantization (FSQ)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.quantizers.base import Quantized, Shape, straight_through
from varied.quantizers.projection import RoundingQuantizer


class FSQ(RoundingQuantizer):
    r"""Finite scalar quantization, which rounds each of a few bounded values to discrete levels.

    .. math:: z_i = \mathrm{round}\big(\tfrac{L_i - 1}{2} \tanh(h_i + s_i) - o_i\big) \big/
        \lfloor L_i / 2 \rfloor

    where :math:`o_i` is 1/2 for an even number of levels and 0 otherwise, and the shift :math:`s_i`
    maps 0 to 0. There is no codebook loss, and the gradient of the rounding is straight-through. If
    the number of channels differs from the number of these values, learned linear maps project the
    latent to the values and back. The values are standardized before they are bounded, so that all
    levels are used.

    References:
        Finite Scalar Quantization: VQ-VAE Made Simple (Mentzer et al., 2023),
        https://arxiv.org/abs/2309.15505

    Warning:
        The code published with the paper computes the shift with tan instead of atanh, so that,
        contrary to the text, 0 is not mapped to 0. This implementation maps 0 to 0.

    Arguments:
        event: The shape of a latent variable, (C, *rest), with one code for each position of rest.
        levels: The number of levels of each value; the product is the size of the codebook.
    """

    half_range: Tensor
    offset: Tensor
    half_width: Tensor
    basis: Tensor

    def __init__(self, event: Shape, levels: tuple[int, ...] = (8, 5, 5, 5)) -> None:
        if not levels or min(levels) < 3:
            raise VariedError(
                f"levels={','.join(map(str, levels))} must all be at least 3, such as 8,5,5,5; use "
                "posterior='lfq' for two levels."
            )
        super().__init__(event, math.prod(levels), len(levels))
        self.levels = tuple(levels)
        count = torch.tensor(levels)
        self.register_buffer("half_range", (count - 1) / 2 * (1 - 1e-3), persistent=False)
        self.register_buffer("offset", (count % 2 == 0) / 2, persistent=False)
        self.register_buffer("half_width", count // 2, persistent=False)
        self.register_buffer("basis", count.cumprod(0) // count, persistent=False)

    def bound(self, h: Tensor) -> Tensor:
        """Map values to the range of the levels, such that 0 is mapped to 0."""
        shift = torch.atanh(self.offset / self.half_range)
        return torch.tanh(h + shift) * self.half_range - self.offset

    def rounded_values(self, index: Tensor) -> Tensor:
        """Return the rounded values, with shape (*, len(levels)), for codes with shape (*)."""
        digits = index[..., None] // self.basis % self.basis.new_tensor(self.levels)
        return (digits - self.half_width).to(self.half_range.dtype) / self.half_width

    def quantize(self, rows: Tensor) -> Quantized:
        """Quantize vectors with shape (M, C)."""
        bounded = self.bound(self.projection(rows))
        digits = bounded.detach().nan_to_num().round().long() + self.half_width
        index = (digits * self.basis).sum(1)
        rounded = straight_through(self.rounded_values(index), bounded / self.half_width)
        if self.training:
            self._update_usage(rows, index)
        value = straight_through(self.codebook()[index], self.projection.up(rounded))
        # The cost is NaN if a vector is not finite, which the bounds would otherwise hide.
        return Quantized(value, index[:, None], 0 * rows.detach().sum(1))
