"""A frozen codebook under a learned linear map: SimVQ."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.quantizers.base import Quantized, Quantizer, straight_through
from varied.quantizers.kmeans_init import spread, subsample
from varied.quantizers.nearest import commitment_loss, nearest_code, rotation_trick

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
        codebook_size: The size of the codebook.
        commitment_weight: The weight of the squared distance that pulls the network to its codes.
        rotation_trick: Whether the gradient is turned as the vector was turned onto its code, or goes
            straight past.
    """

    points: Tensor

    def __init__(
        self,
        event: tuple[int, ...],
        codebook_size: int = 512,
        commitment_weight: float = 1.0,
        rotation_trick: bool = False,
    ) -> None:
        super().__init__(event, codebook_size)
        if commitment_weight < 0:
            raise VariedError(
                f"commitment_weight={commitment_weight} must not be below 0; 1 is the default."
            )
        self.commitment, self.rotate = commitment_weight, rotation_trick
        size = self.event_shape[0]
        self.register_buffer("points", torch.randn(codebook_size, size))
        self.map = nn.Linear(size, size)

    def codebook(self) -> Tensor:
        """Return all codes, with shape (codes, C)."""
        return self.map(self.points)  # type: ignore[no-any-return]

    def quantize(self, rows: Tensor) -> Quantized:
        """Return the codes of vectors with shape (M, C)."""
        book = self.codebook()
        index = nearest_code(rows, book.detach())
        code = book[index]
        cost = commitment_loss(rows, code, self.commitment, both=True)
        path = rotation_trick(rows, code) if self.rotate else rows
        if self.training:
            self._note(rows, index)
        return Quantized(straight_through(code, path), index[:, None], cost)

    def decode_indices(self, index: Tensor) -> Tensor:
        """Return codes, with shape (M, C), by their indices, with shape (M, 1)."""
        return self.codebook()[index[:, 0]]

    @torch.no_grad()
    def start(self, rows: Tensor) -> None:
        """Begin with codes of the mean and the covariance of the rows."""
        axes, mean = spread(subsample(rows))
        self.map.weight.copy_(axes.T)
        self.map.bias.copy_(mean)
