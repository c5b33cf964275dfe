"""Quantization to the nearest codebook entry, and gradient estimators for it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from varied.errors import check_at_least
from varied.quantizers.base import CodebookQuantizer, Quantized, Shape, straight_through

#: The maximum number of distances to compute at once, to limit memory usage.
MAX_DISTANCES = 2**22


class NearestQuantizer(CodebookQuantizer):
    """A quantizer that replaces each vector with the nearest codebook entry.

    Arguments:
        event: The shape of a latent variable, (C, *rest).
        codebook_size: The size of the codebook.
        commitment_weight: The weight of the commitment loss.
        rotation_trick: Whether to use the rotation trick instead of the straight-through gradient.
    """

    #: Whether the codebook is trained with the gradient of its distance to the vectors.
    has_codebook_loss: bool = True
    #: Whether vectors and codebook entries are normalized to length 1.
    cosine_sim: bool = False

    def __init__(
        self, event: Shape, codebook_size: int, commitment_weight: float, rotation_trick: bool
    ) -> None:
        super().__init__(event, codebook_size)
        check_at_least(0, commitment_weight=commitment_weight)
        self.commitment_weight, self.rotation_trick = commitment_weight, rotation_trick

    def quantize(self, rows: Tensor) -> Quantized:
        """Quantize vectors with shape (M, C)."""
        rows = functional.normalize(rows, dim=1) if self.cosine_sim else rows
        codebook = self.codebook()
        index = nearest_code(rows, codebook.detach())
        code = codebook[index]
        cost = commitment_loss(rows, code, self.commitment_weight, both=self.has_codebook_loss)
        path = rotation_trick(rows, code) if self.rotation_trick else rows
        quantized = Quantized(straight_through(code, path), index[:, None], cost)
        if self.training:
            self._update(rows.detach(), index)
        return quantized

    def _update(self, rows: Tensor, index: Tensor) -> None:
        """Update the buffers after the vectors of a training step have been quantized."""
        self._update_usage(rows, index)


@torch.no_grad()
def nearest_code(rows: Tensor, codebook: Tensor) -> Tensor:
    r"""Return the index of the nearest codebook entry for each vector.

    .. math:: \arg\min_k \| h - e_k \|^2 = \arg\max_k h \cdot e_k - \tfrac12 \| e_k \|^2

    Arguments:
        rows: Vectors, with shape (M, C).
        codebook: The codebook, with shape (codes, C).

    Returns:
        The indices, as int64 with shape (M).
    """
    # Center the codebook, since products of vectors far from the origin lose precision.
    center = codebook.mean(0)
    rows, codebook = rows - center, codebook - center
    half_norm = 0.5 * codebook.square().sum(1)
    # An exported graph has one chunk, since the number of chunks depends on the number of rows.
    is_exporting = torch.compiler.is_exporting()
    chunks = (rows,) if is_exporting else rows.split(max(1, MAX_DISTANCES // len(codebook)))
    return torch.cat(
        [torch.addmm(half_norm, chunk, codebook.T, beta=-1).argmax(1) for chunk in chunks]
    )


def rotation_trick(rows: Tensor, code: Tensor) -> Tensor:
    r"""Return vectors rotated and scaled onto their codebook entries, with rotated gradients.

    .. math::
        \lambda R h, \qquad R = I - 2 r r^T + 2 \hat e \hat h^T, \quad
        r = \frac{\hat h + \hat e}{\| \hat h + \hat e \|}, \quad \lambda = \| e \| / \| h \|

    R and :math:`\lambda` are treated as constants. If the vector and its entry point in opposite
    directions, or one of them is zero, no such rotation exists, and the vector itself is returned,
    which corresponds to the straight-through gradient.

    References:
        Restructuring Vector Quantization with the Rotation Trick (Fifty et al., 2024),
        https://arxiv.org/abs/2410.06424

    Arguments:
        rows: Vectors, with shape (M, C).
        code: The codebook entry for each vector, with shape (M, C).
    """
    h, e = rows.detach(), code.detach()
    h_norm, e_norm = h.norm(dim=1, keepdim=True), e.norm(dim=1, keepdim=True)
    h, e = functional.normalize(h, dim=1), functional.normalize(e, dim=1)
    r_norm = (h + e).norm(dim=1, keepdim=True)
    r = (h + e) / r_norm.clamp(min=1e-6)
    rotated = rows - 2 * _dot(rows, r) * r + 2 * _dot(rows, h) * e
    scale = e_norm / h_norm.clamp(min=1e-6)
    is_defined = (h_norm > 1e-6) & (e_norm > 1e-6) & (r_norm > 1e-3)
    return torch.where(is_defined, scale * rotated, rows)


def _dot(rows: Tensor, direction: Tensor) -> Tensor:
    return (rows * direction).sum(1, keepdim=True)


def commitment_loss(rows: Tensor, code: Tensor, weight: float, both: bool) -> Tensor:
    r"""Return the weighted squared distance, with shape (M), of vectors to their codebook entries.

    .. math:: \beta \| h - sg(e) \|^2 + \| sg(h) - e \|^2

    Arguments:
        rows: Vectors, with shape (M, C).
        code: The codebook entry for each vector, with shape (M, C).
        weight: The weight of the first term, which moves the vectors toward their entries.
        both: Whether to add the second term, which moves the entries toward the vectors.
    """
    cost = weight * (rows - code.detach()).square().sum(1)
    return cost + (rows.detach() - code).square().sum(1) if both else cost
