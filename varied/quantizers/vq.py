"""A learned codebook: VQ-VAE."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from varied.errors import VariedError
from varied.quantizers.base import Quantized, Quantizer, straight_through
from varied.quantizers.kmeans_init import kmeans
from varied.quantizers.nearest import commitment_loss, nearest_code, rotation_trick

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
        codebook_size: The size of the codebook.
        codebook_update: How codes move: "ema" of what is put on them, or "gradient" of the distance.
        commitment_weight: The weight of the squared distance that pulls the network to its codes.
        codebook_decay: The share of its past that a moving average keeps at each step.
        dead_code_threshold: A code that is used less than this multiple of the mean use is moved to a random
            vector of the batch; 0 never does.
        rotation_trick: Whether the gradient is turned as the vector was turned onto its code, or goes
            straight past.
        cosine_sim: Whether vectors and codes are brought to length 1.
    """

    total: Tensor

    def __init__(
        self,
        event: tuple[int, ...],
        codebook_size: int = 512,
        codebook_update: str = "ema",
        commitment_weight: float = 0.25,
        codebook_decay: float = 0.99,
        dead_code_threshold: float = 0.03,
        rotation_trick: bool = False,
        cosine_sim: bool = False,
    ) -> None:
        super().__init__(event, codebook_size)
        _check(codebook_update, commitment_weight, codebook_decay, dead_code_threshold)
        self.update, self.commitment, self.decay = (
            codebook_update,
            commitment_weight,
            codebook_decay,
        )
        self.revive, self.rotate, self.cosine = dead_code_threshold, rotation_trick, cosine_sim
        first = torch.randn(codebook_size, self.event_shape[0])
        if codebook_update == "gradient":
            self.embedding = nn.Parameter(first)
        else:
            self.register_buffer("total", first)

    def codebook(self) -> Tensor:
        """Return all codes, with shape (codes, C)."""
        book = self.embedding if self.update == "gradient" else self.total / self._smooth()
        return functional.normalize(book, dim=1) if self.cosine else book

    def _smooth(self) -> Tensor:
        whole = self.use.sum()
        return ((self.use + SMOOTH) / (whole + self.num_codes * SMOOTH) * whole)[:, None]

    def quantize(self, rows: Tensor) -> Quantized:
        """Return the codes of vectors with shape (M, C)."""
        rows = functional.normalize(rows, dim=1) if self.cosine else rows
        book = self.codebook()
        index = nearest_code(rows, book.detach())
        code = book[index]
        cost = commitment_loss(rows, code, self.commitment, both=self.update == "gradient")
        path = rotation_trick(rows, code) if self.rotate else rows
        found = Quantized(straight_through(code, path), index[:, None], cost)
        if self.training:
            self._learn(rows.detach(), index)
        return found

    def decode_indices(self, index: Tensor) -> Tensor:
        """Return codes, with shape (M, C), by their indices, with shape (M, 1)."""
        return self.codebook()[index[:, 0]]

    @torch.no_grad()
    def start(self, rows: Tensor) -> None:
        """Begin at the centers of k-means."""
        rows = functional.normalize(rows, dim=1) if self.cosine else rows
        self.use.fill_(1)
        self._place(kmeans(rows, self.num_codes), torch.ones_like(self.use, dtype=torch.bool))

    @torch.no_grad()
    def _learn(self, rows: Tensor, index: Tensor) -> None:
        sound = self._note(rows, index)
        if self.update == "ema":
            sums = torch.zeros_like(self.total).index_add_(0, index, rows)
            moved = self.total.lerp(sums * (self.num_codes / len(rows)), 1 - self.decay)
            self.total.copy_(torch.where(sound, moved, self.total))
        if self.revive:
            drawn = rows[torch.randint(len(rows), (self.num_codes,), device=rows.device)]
            dead = (self.use < self.revive) & sound
            self.use.masked_fill_(dead, 1)
            self._place(drawn, dead)

    def _place(self, codes: Tensor, where: Tensor) -> None:
        """Put codes where they are said to be, with the weight of a code of mean use."""
        kept = self.embedding if self.update == "gradient" else self.total
        kept.copy_(torch.where(where[:, None], codes, kept))


def _check(
    codebook_update: str,
    commitment_weight: float,
    codebook_decay: float,
    dead_code_threshold: float,
) -> None:
    if codebook_update not in ("ema", "gradient"):
        raise VariedError(
            f"codebook_update='{codebook_update}' is not known: choose from ema, gradient."
        )
    if commitment_weight < 0:
        raise VariedError(
            f"commitment_weight={commitment_weight} must not be below 0; 0.25 is usual."
        )
    if not 0 < codebook_decay < 1:
        raise VariedError(
            f"codebook_decay={codebook_decay} must lie between 0 and 1; 0.99 is usual."
        )
    if not 0 <= dead_code_threshold < 1:
        raise VariedError(
            f"dead_code_threshold={dead_code_threshold} must be 0 or more and below 1, or codes of mean use would move; "
            f"0.03 is the default."
        )
