"""Codebooks in sequence, each for what the ones before left: residual VQ."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.quantizers.base import Quantized, Quantizer, straight_through
from varied.quantizers.nearest import nearest_code, rotation_trick
from varied.quantizers.vq import VQ

__all__ = ["ResidualVQ"]


class ResidualVQ(Quantizer):
    r"""Each vector becomes a sum of codes, each the nearest to what the ones before left over.

    .. math:: z = \sum_{d} e^{(d)}_{k_d}, \qquad
        k_d = \arg\min_j \big\| h - \sum_{i < d} e^{(i)}_{k_i} - e^{(d)}_j \big\|^2

    The codebooks are those of `VQ`. The gradient of z goes to h once, not once for each codebook.

    References:
        SoundStream: An End-to-End Neural Audio Codec (Zeghidour et al., 2021),
        https://arxiv.org/abs/2107.03312

        Autoregressive Image Generation using Residual Quantization (Lee et al., 2022),
        https://arxiv.org/abs/2203.01941

    Arguments:
        event: The shape of a latent, (C, *rest): each place of rest holds ``depth`` codes.
        codebook_size: The size of each codebook.
        n_quantizers: How many codebooks.
        codebook_update: How codes move: "ema" of what is put on them, or "gradient" of the distance.
        commitment_weight: The weight of the squared distances that pull the network to its codes.
        codebook_decay: The share of its past that a moving average keeps at each step.
        dead_code_threshold: A code that is used less than this multiple of the mean use is moved to a random
            vector of the batch; 0 never does.
        rotation_trick: Whether the gradient is turned as the vector was turned onto its codes, or goes
            straight past.
    """

    def __init__(
        self,
        event: tuple[int, ...],
        codebook_size: int = 512,
        n_quantizers: int = 2,
        codebook_update: str = "ema",
        commitment_weight: float = 0.25,
        codebook_decay: float = 0.99,
        dead_code_threshold: float = 0.03,
        rotation_trick: bool = False,
    ) -> None:
        super().__init__(event, codebook_size)
        if n_quantizers < 1:
            raise VariedError(f"n_quantizers={n_quantizers} must be at least 1; 2 to 4 is usual.")
        self.depth, self.decay, self.rotate = n_quantizers, codebook_decay, rotation_trick
        self.stages = nn.ModuleList(
            VQ(
                event,
                codebook_size,
                codebook_update,
                commitment_weight,
                codebook_decay,
                dead_code_threshold,
            )
            for _ in range(n_quantizers)
        )

    def quantize(self, rows: Tensor) -> Quantized:
        """Return the sums of codes of vectors with shape (M, C)."""
        left, found = rows, list[Quantized]()
        for stage in self._stages:
            found.append(stage.quantize(left))
            left = left - found[-1].value.detach()
        index = torch.cat([one.index for one in found], 1)
        code = _sum([one.value.detach() for one in found])
        path = rotation_trick(rows, code) if self.rotate else rows
        if self.training:
            self._note(rows, index)
        return Quantized(straight_through(code, path), index, _sum([one.cost for one in found]))

    def decode_indices(self, index: Tensor) -> Tensor:
        """Return sums of codes, with shape (M, C), by their indices, with shape (M, depth)."""
        pairs = zip(self._stages, index.split(1, 1), strict=True)
        return _sum([stage.decode_indices(one) for stage, one in pairs])

    def start(self, rows: Tensor) -> None:
        """Begin at the centers of k-means of what each codebook finds."""
        for stage in self._stages:
            stage.start(rows)
            book = stage.codebook().detach()
            rows = rows - book[nearest_code(rows, book)]

    @property
    def _stages(self) -> list[VQ]:
        return [stage for stage in self.stages if isinstance(stage, VQ)]


def _sum(parts: list[Tensor]) -> Tensor:
    """Add up from the first to the last: another order would round otherwise."""
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    return whole
