"""A frozen codebook that is transformed by a learned linear map (SimVQ)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from varied.quantizers.base import Shape
from varied.quantizers.kmeans_init import subsample
from varied.quantizers.nearest import NearestQuantizer


class SimVQ(NearestQuantizer):
    r"""SimVQ: a codebook of random vectors that are transformed by a learned linear map.

    .. math:: z = W c_k + b, \quad k = \arg\min_j \| h - W c_j - b \|^2, \qquad c_j \sim N(0, I)

    The gradient of any entry moves all entries, so that none remains unused. The random vectors
    have variance 1, instead of 1 / C as in the paper. The same codebook then results from a smaller
    W, which changes faster at the same learning rate and keeps up with the encoder.

    References:
        Addressing Representation Collapse in Vector Quantized Models with One Linear Layer
        (Zhu et al., 2024), https://arxiv.org/abs/2411.02038

    Arguments:
        event: The shape of a latent variable, (C, *rest), with one code for each position of rest.
        codebook_size: The size of the codebook.
        commitment_weight: The weight of the commitment loss.
        rotation_trick: Whether to use the rotation trick instead of the straight-through gradient.
    """

    frozen_codes: Tensor

    def __init__(
        self,
        event: Shape,
        codebook_size: int = 512,
        commitment_weight: float = 1.0,
        rotation_trick: bool = False,
    ) -> None:
        super().__init__(event, codebook_size, commitment_weight, rotation_trick)
        size = self.event_shape[0]
        self.register_buffer("frozen_codes", torch.randn(codebook_size, size))
        self.linear = nn.Linear(size, size)

    def codebook(self) -> Tensor:
        """Return all codebook entries, with shape (codes, C)."""
        return self.linear(self.frozen_codes)  # type: ignore[no-any-return]

    @torch.no_grad()
    def init_codebook(self, rows: Tensor) -> None:
        """Match the mean and covariance of the codebook to those of vectors with shape (M, C)."""
        rows = subsample(rows)
        mean = rows.mean(0)
        centered = (rows - mean).double()
        variance, axes = torch.linalg.eigh(centered.T @ centered / len(rows))
        scale = variance.clamp(min=0).sqrt().flip(0)
        self.linear.weight.copy_((scale[:, None] * axes.flip(1).T).to(rows).T)
        self.linear.bias.copy_(mean)
