"""Rounding to a few levels: FSQ."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.quantizers.base import Quantized, Quantizer, straight_through
from varied.quantizers.projection import Projection

__all__ = ["FSQ"]


class FSQ(Quantizer):
    r"""A few numbers, each bounded and rounded to a few levels: a codebook without a codebook.

    .. math:: z_i = \mathrm{round}\big(\tfrac{L_i - 1}{2} \tanh(h_i + s_i) - o_i\big) \big/
        \lfloor L_i / 2 \rfloor

    where :math:`o_i` is a half for an even number of levels (else 0), and the shift :math:`s_i`
    keeps 0 at 0. There is no loss of its own, and the gradient goes past the rounding. A latent of
    another number of channels is brought to these numbers, and back, by learned linear maps; and
    the numbers to mean 0 and variance 1 before they are bounded, so that all levels are in reach.

    References:
        Finite Scalar Quantization: VQ-VAE Made Simple (Mentzer et al., 2023),
        https://arxiv.org/abs/2309.15505

    Warning:
        The paper's own code takes the tangent where the shift needs the inverse hyperbolic tangent;
        here 0 stays at 0, as its text says.

    Arguments:
        event: The shape of a latent, (C, *rest): each place of rest holds one code.
        levels: The number of levels of each of the numbers; their product is the number of codes.
    """

    reach: Tensor
    offset: Tensor
    width: Tensor
    basis: Tensor

    def __init__(self, event: tuple[int, ...], levels: tuple[int, ...] = (8, 5, 5, 5)) -> None:
        if not levels or min(levels) < 3:
            raise VariedError(
                f"levels={','.join(map(str, levels))} must be 3 or more each; 8,5,5,5 gives 1000 "
                f"codes, and for levels of 2 there is posterior='lfq'."
            )
        super().__init__(event, math.prod(levels))
        self.levels = tuple(levels)
        count = torch.tensor(levels)
        self.register_buffer("reach", (count - 1) / 2 * (1 - 1e-3), persistent=False)
        self.register_buffer("offset", (count % 2 == 0) / 2, persistent=False)
        self.register_buffer("width", count // 2, persistent=False)
        basis = torch.cat([torch.ones(1, dtype=torch.int64), count[:-1]]).cumprod(0)
        self.register_buffer("basis", basis, persistent=False)
        self.narrow = Projection(self.event_shape[0], len(levels))

    def bounded(self, h: Tensor) -> Tensor:
        """Return numbers within the range of the levels; 0 stays 0."""
        shift = torch.atanh(self.offset / self.reach)
        return torch.tanh(h + shift) * self.reach - self.offset

    def points(self, index: Tensor) -> Tensor:
        """Return the rounded numbers, with shape (*, len(levels)), by their index."""
        digits = index[..., None] // self.basis % (self.basis.new_tensor(self.levels))
        return (digits - self.width).to(self.reach.dtype) / self.width

    def codebook(self) -> Tensor:
        """Return all codes, with shape (codes, C)."""
        all_codes = torch.arange(self.num_codes, device=self.basis.device)
        return self.narrow.up(self.points(all_codes))  # type: ignore[no-any-return]

    def quantize(self, rows: Tensor) -> Quantized:
        """Return the codes of vectors with shape (M, C)."""
        soft = self.bounded(self.narrow(rows))
        digits = soft.detach().nan_to_num().round().long() + self.width
        index = (digits * self.basis).sum(1)
        point = straight_through(self.points(index), soft / self.width)
        if self.training:
            self._note(rows, index)
        value = straight_through(self.codebook()[index], self.narrow.up(point))
        # The bounds would hide what is not finite from the loop; 0 times that is NaN.
        return Quantized(value, index[:, None], 0 * rows.detach().sum(1))

    def decode_indices(self, index: Tensor) -> Tensor:
        """Return codes, with shape (M, C), by their indices, with shape (M, 1)."""
        return self.codebook()[index[:, 0]]

    def start(self, rows: Tensor) -> None:
        """Begin with numbers of mean 0 and variance 1."""
        self.narrow.start(rows)
