"""Codebooks in sequence, each for what the ones before left: residual VQ."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.quantizers.base import Found, Quantizer, straight
from varied.quantizers.nearest import nearest, rotated
from varied.quantizers.vector import VQ

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
        codes: The size of each codebook.
        depth: How many codebooks.
        update: How codes move: "average" of what is put on them, or "gradient" of the distance.
        commitment: The weight of the squared distances that pull the network to its codes.
        decay: The share of its past that a moving average keeps at each step.
        revive: A code that is used less than this multiple of the mean use is moved to a random
            vector of the batch; 0 never does.
        rotate: Whether the gradient is turned as the vector was turned onto its codes, or goes
            straight past.
    """

    def __init__(
        self,
        event: tuple[int, ...],
        codes: int = 512,
        depth: int = 2,
        update: str = "average",
        commitment: float = 0.25,
        decay: float = 0.99,
        revive: float = 0.03,
        rotate: bool = False,
    ) -> None:
        super().__init__(event, codes)
        if depth < 1:
            raise VariedError(f"depth={depth} must be at least 1; 2 to 4 is usual.")
        self.depth, self.decay, self.rotate = depth, decay, rotate
        self.stages = nn.ModuleList(
            VQ(event, codes, update, commitment, decay, revive) for _ in range(depth)
        )

    def quantize(self, rows: Tensor) -> Found:
        """Return the sums of codes of vectors with shape (M, C)."""
        left, found = rows, list[Found]()
        for stage in self._stages:
            found.append(stage.quantize(left))
            left = left - found[-1].value.detach()
        index = torch.cat([one.index for one in found], 1)
        code = _sum([one.value.detach() for one in found])
        path = rotated(rows, code) if self.rotate else rows
        if self.training:
            self._note(rows, index)
        return Found(straight(code, path), index, _sum([one.cost for one in found]))

    def vectors(self, index: Tensor) -> Tensor:
        """Return sums of codes, with shape (M, C), by their indices, with shape (M, depth)."""
        pairs = zip(self._stages, index.split(1, 1), strict=True)
        return _sum([stage.vectors(one) for stage, one in pairs])

    def start(self, rows: Tensor) -> None:
        """Begin at the centres of k-means of what each codebook finds."""
        for stage in self._stages:
            stage.start(rows)
            book = stage.book().detach()
            rows = rows - book[nearest(rows, book)]

    @property
    def _stages(self) -> list[VQ]:
        return [stage for stage in self.stages if isinstance(stage, VQ)]


def _sum(parts: list[Tensor]) -> Tensor:
    """Add up from the first to the last: another order would round otherwise."""
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    return whole
