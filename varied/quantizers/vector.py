"""A learned codebook: VQ-VAE."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from varied.errors import VariedError
from varied.quantizers.base import Found, Quantizer, straight
from varied.quantizers.nearest import nearest, pulled, rotated
from varied.quantizers.start import centres

__all__ = ["VQ"]

#: Laplace smoothing of the moving counts, as a multiple of the mean count.
SMOOTH = 1e-5


class VQ(Quantizer):
    r"""Each vector becomes the nearest of a codebook that follows what is put on it.

    .. math::
        z = e_k, \quad k = \arg\min_j \| h - e_j \|^2, \qquad
        e_j = \frac{\overline{\sum h}_j}{\overline n_j}

    where the bars are moving averages over the batches of the sum and the number of the vectors
    nearest to code j, the latter with Laplace smoothing. The gradient of z goes to h.

    References:
        Neural Discrete Representation Learning (van den Oord et al., 2017),
        https://arxiv.org/abs/1711.00937

        Restructuring Vector Quantization with the Rotation Trick (Fifty et al., 2024),
        https://arxiv.org/abs/2410.06424

    Arguments:
        event: The shape of a latent, (C, *rest): each place of rest holds one code.
        codes: The size of the codebook.
        update: How codes move: "average" of what is put on them, or "gradient" of the distance.
        commitment: The weight of the squared distance that pulls the network to its codes.
        decay: The share of its past that a moving average keeps at each step.
        revive: A code that is used less than this multiple of the mean use is moved to a random
            vector of the batch; 0 never does.
        rotate: Whether the gradient is turned as the vector was turned onto its code, or goes
            straight past.
        cosine: Whether vectors and codes are brought to length 1.
    """

    total: Tensor

    def __init__(
        self,
        event: tuple[int, ...],
        codes: int = 512,
        update: str = "average",
        commitment: float = 0.25,
        decay: float = 0.99,
        revive: float = 0.03,
        rotate: bool = False,
        cosine: bool = False,
    ) -> None:
        super().__init__(event, codes)
        _check(update, commitment, decay, revive)
        self.update, self.commitment, self.decay = update, commitment, decay
        self.revive, self.rotate, self.cosine = revive, rotate, cosine
        first = torch.randn(codes, self.event[0])
        if update == "gradient":
            self.codebook = nn.Parameter(first)
        else:
            self.register_buffer("total", first)

    def book(self) -> Tensor:
        """Return all codes, with shape (codes, C)."""
        book = self.codebook if self.update == "gradient" else self.total / self._smooth()
        return functional.normalize(book, dim=1) if self.cosine else book

    def _smooth(self) -> Tensor:
        whole = self.use.sum()
        return ((self.use + SMOOTH) / (whole + self.codes * SMOOTH) * whole)[:, None]

    def quantize(self, rows: Tensor) -> Found:
        """Return the codes of vectors with shape (M, C)."""
        rows = functional.normalize(rows, dim=1) if self.cosine else rows
        book = self.book()
        index = nearest(rows, book.detach())
        code = book[index]
        cost = pulled(rows, code, self.commitment, both=self.update == "gradient")
        path = rotated(rows, code) if self.rotate else rows
        found = Found(straight(code, path), index[:, None], cost)
        if self.training:
            self._learn(rows.detach(), index)
        return found

    def vectors(self, index: Tensor) -> Tensor:
        """Return codes, with shape (M, C), by their indices, with shape (M, 1)."""
        return self.book()[index[:, 0]]

    @torch.no_grad()
    def start(self, rows: Tensor) -> None:
        """Begin at the centres of k-means."""
        rows = functional.normalize(rows, dim=1) if self.cosine else rows
        self.use.fill_(1)
        self._place(centres(rows, self.codes), torch.ones_like(self.use, dtype=torch.bool))

    @torch.no_grad()
    def _learn(self, rows: Tensor, index: Tensor) -> None:
        sound = self._note(rows, index)
        if self.update == "average":
            sums = torch.zeros_like(self.total).index_add_(0, index, rows)
            moved = self.total.lerp(sums * (self.codes / len(rows)), 1 - self.decay)
            self.total.copy_(torch.where(sound, moved, self.total))
        if self.revive:
            drawn = rows[torch.randint(len(rows), (self.codes,), device=rows.device)]
            dead = (self.use < self.revive) & sound
            self.use.masked_fill_(dead, 1)
            self._place(drawn, dead)

    def _place(self, codes: Tensor, where: Tensor) -> None:
        """Put codes where they are said to be, with the weight of a code of mean use."""
        kept = self.codebook if self.update == "gradient" else self.total
        kept.copy_(torch.where(where[:, None], codes, kept))


def _check(update: str, commitment: float, decay: float, revive: float) -> None:
    if update not in ("average", "gradient"):
        raise VariedError(f"update='{update}' is not known: choose from average, gradient.")
    if commitment < 0:
        raise VariedError(f"commitment={commitment} must not be below 0; 0.25 is usual.")
    if not 0 < decay < 1:
        raise VariedError(f"decay={decay} must lie between 0 and 1; 0.99 is usual.")
    if not 0 <= revive < 1:
        raise VariedError(
            f"revive={revive} must be 0 or more and below 1, or codes of mean use would move; "
            f"0.03 is the default."
        )
