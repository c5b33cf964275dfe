"""Residual vector quantization."""

from __future__ import annotations

import operator
from functools import partial, reduce

import torch
from torch import Tensor, nn

from varied.errors import check_at_least
from varied.quantizers.base import Quantized, Quantizer, Shape, straight_through
from varied.quantizers.nearest import nearest_code, rotation_trick
from varied.quantizers.vq import VQ


class ResidualVQ(Quantizer):
    r"""Residual vector quantization: each codebook quantizes the residual of the previous ones.

    .. math:: z = \sum_{d} e^{(d)}_{k_d}, \qquad
        k_d = \arg\min_j \big\| h - \sum_{i < d} e^{(i)}_{k_i} - e^{(d)}_j \big\|^2

    Each codebook is a `VQ`. The gradient of z is copied to h only once, rather than once for each
    codebook.

    References:
        SoundStream: An End-to-End Neural Audio Codec (Zeghidour et al., 2021),
        https://arxiv.org/abs/2107.03312

        Autoregressive Image Generation using Residual Quantization (Lee et al., 2022),
        https://arxiv.org/abs/2203.01941

    Arguments:
        event: The shape of a latent variable, (C, *rest), with ``n_quantizers`` codes for each
            position of rest.
        codebook_size: The size of each codebook.
        n_quantizers: The number of codebooks.
        codebook_update: The training method of the codebooks: "ema" (moving averages) or
            "gradient".
        commitment_weight: The weight of the commitment loss.
        codebook_decay: The decay of the moving averages.
        dead_code_threshold: The usage, relative to the mean, below which an entry is replaced with
            a random vector from the batch; 0 disables the replacement.
        rotation_trick: Whether to use the rotation trick instead of the straight-through gradient.
    """

    def __init__(
        self,
        event: Shape,
        codebook_size: int = 512,
        n_quantizers: int = 2,
        codebook_update: str = "ema",
        commitment_weight: float = 0.25,
        codebook_decay: float = 0.99,
        dead_code_threshold: float = 0.03,
        rotation_trick: bool = False,
    ) -> None:
        super().__init__(event, codebook_size)
        check_at_least(1, default=2, n_quantizers=n_quantizers)
        self.depth, self.decay, self.rotation_trick = n_quantizers, codebook_decay, rotation_trick
        settings = (codebook_update, commitment_weight, codebook_decay, dead_code_threshold)
        stage = partial(VQ, event, codebook_size, *settings)
        self.stages = nn.ModuleList(stage() for _ in range(n_quantizers))

    def quantize(self, rows: Tensor) -> Quantized:
        """Quantize vectors with shape (M, C)."""
        residual, results = rows, list[Quantized]()
        for stage in self._stages:
            results.append(stage.quantize(residual))
            residual = residual - results[-1].value.detach()
        index = torch.cat([result.index for result in results], 1)
        code = _sum([result.value.detach() for result in results])
        path = rotation_trick(rows, code) if self.rotation_trick else rows
        if self.training:
            self._update_usage(rows, index)
        cost = _sum([result.cost for result in results])
        return Quantized(straight_through(code, path), index, cost)

    def decode_indices(self, index: Tensor) -> Tensor:
        """Return sums of codebook entries, with shape (M, C), for codes with shape (M, depth)."""
        pairs = zip(self._stages, index.split(1, 1), strict=True)
        return _sum([stage.decode_indices(codes) for stage, codes in pairs])

    def init_codebook(self, rows: Tensor) -> None:
        """Initialize each codebook with k-means on the residuals of the previous codebooks."""
        for stage in self._stages:
            stage.init_codebook(rows)
            codebook = stage.codebook().detach()
            rows = rows - codebook[nearest_code(rows, codebook)]

    @property
    def _stages(self) -> list[VQ]:
        return [stage for stage in self.stages if isinstance(stage, VQ)]


def _sum(values: list[Tensor]) -> Tensor:
    """Sum from left to right, so that the rounding is always the same."""
    return reduce(operator.add, values)
