"""A frozen codebook under a learned linear map: SimVQ."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.quantizers.base import Found, Quantizer, straight
from varied.quantizers.nearest import nearest, pulled, rotated
from varied.quantizers.start import some, spread

__all__ = ["SimVQ"]


class SimVQ(Quantizer):
    r"""Each vector becomes the nearest of random vectors that one learned linear map has moved.

    .. math:: z = W c_k + b, \quad k = \arg\min_j \| h - W c_j - b \|^2, \qquad c_j \sim N(0, I)

    A gradient on any code moves all of them, so none is left behind. The random vectors have
    variance 1 where the paper takes 1 / C: the same codes under a smaller W, which steps of one
    size move faster, as fast as a network that learns.

    References:
        Addressing Representation Collapse in Vector Quantized Models with One Linear Layer
        (Zhu et al., 2024), https://arxiv.org/abs/2411.02038

    Arguments:
        event: The shape of a latent, (C, *rest): each place of rest holds one code.
        codes: The size of the codebook.
        commitment: The weight of the squared distance that pulls the network to its codes.
        rotate: Whether the gradient is turned as the vector was turned onto its code, or goes
            straight past.
    """

    points: Tensor

    def __init__(
        self,
        event: tuple[int, ...],
        codes: int = 512,
        commitment: float = 1.0,
        rotate: bool = False,
    ) -> None:
        super().__init__(event, codes)
        if commitment < 0:
            raise VariedError(f"commitment={commitment} must not be below 0; 1 is the default.")
        self.commitment, self.rotate = commitment, rotate
        size = self.event[0]
        self.register_buffer("points", torch.randn(codes, size))
        self.map = nn.Linear(size, size)

    def book(self) -> Tensor:
        """Return all codes, with shape (codes, C)."""
        return self.map(self.points)  # type: ignore[no-any-return]

    def quantize(self, rows: Tensor) -> Found:
        """Return the codes of vectors with shape (M, C)."""
        book = self.book()
        index = nearest(rows, book.detach())
        code = book[index]
        cost = pulled(rows, code, self.commitment, both=True)
        path = rotated(rows, code) if self.rotate else rows
        if self.training:
            self._note(rows, index)
        return Found(straight(code, path), index[:, None], cost)

    def vectors(self, index: Tensor) -> Tensor:
        """Return codes, with shape (M, C), by their indices, with shape (M, 1)."""
        return self.book()[index[:, 0]]

    @torch.no_grad()
    def start(self, rows: Tensor) -> None:
        """Begin with codes of the mean and the covariance of the rows."""
        axes, mean = spread(some(rows))
        self.map.weight.copy_(axes.T)
        self.map.bias.copy_(mean)
