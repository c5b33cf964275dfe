"""The nearest code, and the gradient that goes past it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["commitment_loss", "nearest_code", "rotation_trick"]

#: Numbers of one table of distances: rows are taken in pieces, so that memory stays small.
TABLE = 2**22


@torch.no_grad()
def nearest_code(rows: Tensor, book: Tensor) -> Tensor:
    r"""Return the index of the nearest code of each row.

    .. math:: \arg\min_k \| h - e_k \|^2 = \arg\max_k h \cdot e_k - \tfrac12 \| e_k \|^2

    Arguments:
        rows: Vectors, with shape (M, C).
        book: The codes, with shape (codes, C).

    Returns:
        int64 with shape (M).
    """
    # From the middle of the book: far from the origin, the products would lose the digits.
    middle = book.mean(0)
    rows, book = rows - middle, book - middle
    half = 0.5 * book.square().sum(1)
    pieces = rows.split(max(1, TABLE // len(book)))
    found = [torch.addmm(half, piece, book.T, beta=-1).argmax(1) for piece in pieces]
    return torch.cat(found)


def rotation_trick(rows: Tensor, code: Tensor) -> Tensor:
    r"""Return each row turned and stretched onto its code, so that the gradient turns with it.

    .. math::
        \lambda R h, \qquad R = I - 2 r r^T + 2 \hat e \hat h^T, \quad
        r = \frac{\hat h + \hat e}{\| \hat h + \hat e \|}, \quad \lambda = \| e \| / \| h \|

    R and the stretch count as constants. Where the code stands opposite to the row, or one of them
    is zero, there is no such turn and the row is returned as it is: the gradient goes straight.

    References:
        Restructuring Vector Quantization with the Rotation Trick (Fifty et al., 2024),
        https://arxiv.org/abs/2410.06424

    Arguments:
        rows: Vectors, with shape (M, C).
        code: The code of each, with shape (M, C).
    """
    still, code = rows.detach(), code.detach()
    long, wanted = still.norm(dim=1, keepdim=True), code.norm(dim=1, keepdim=True)
    a, e = functional.normalize(still, dim=1), functional.normalize(code, dim=1)
    both = (a + e).norm(dim=1, keepdim=True)
    r = (a + e) / both.clamp(min=1e-6)
    turned = rows - 2 * _along(rows, r) * r + 2 * _along(rows, a) * e
    stretch = wanted / long.clamp(min=1e-6)
    sound = (long > 1e-6) & (wanted > 1e-6) & (both > 1e-3)
    return torch.where(sound, stretch * turned, rows)


def _along(rows: Tensor, direction: Tensor) -> Tensor:
    return (rows * direction).sum(1, keepdim=True)


def commitment_loss(rows: Tensor, code: Tensor, commitment: float, both: bool) -> Tensor:
    r"""Return what it costs that rows and their codes are apart, with shape (M).

    .. math:: \beta \| h - sg(e) \|^2 + \| sg(h) - e \|^2

    Arguments:
        rows: Vectors, with shape (M, C).
        code: The code of each, with shape (M, C).
        commitment: The weight of the first part, which pulls the network to the codes.
        both: Whether there is a second part, which pulls the codes to the network.
    """
    cost = commitment * (rows - code.detach()).square().sum(1)
    return cost + (rows.detach() - code).square().sum(1) if both else cost
