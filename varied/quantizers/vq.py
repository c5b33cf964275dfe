"""Vector quantization with a learned codebook (VQ-VAE)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from varied.errors import VariedError
from varied.process_group import current_group
from varied.quantizers.base import Shape
from varied.quantizers.kmeans_init import kmeans
from varied.quantizers.nearest import NearestQuantizer

#: Laplace smoothing of the average counts, relative to the mean count.
SMOOTHING = 1e-5


class VQ(NearestQuantizer):
    r"""Vector quantization with a learned codebook.

    .. math::
        z = e_k, \quad k = \arg\min_j \| h - e_j \|^2, \qquad
        e_j = \frac{\overline{\sum h}_j}{\overline n_j}

    where the bars denote moving averages of the sum and the number of the vectors in each batch
    that are nearest to entry j; Laplace smoothing is applied to the number. The gradient of z is
    copied to h.

    References:
        Neural Discrete Representation Learning (van den Oord et al., 2017),
        https://arxiv.org/abs/1711.00937

        Restructuring Vector Quantization with the Rotation Trick (Fifty et al., 2024),
        https://arxiv.org/abs/2410.06424

    Arguments:
        event: The shape of a latent variable, (C, *rest), with one code for each position of rest.
        codebook_size: The size of the codebook.
        codebook_update: The training method of the codebook: "ema" (moving averages) or "gradient".
        commitment_weight: The weight of the commitment loss.
        codebook_decay: The decay of the moving averages.
        dead_code_threshold: The usage, relative to the mean, below which an entry is replaced with
            a random vector from the batch; 0 disables the replacement.
        rotation_trick: Whether to use the rotation trick instead of the straight-through gradient.
        cosine_sim: Whether to normalize vectors and codebook entries to length 1.
    """

    ema_sum: Tensor

    def __init__(
        self,
        event: Shape,
        codebook_size: int = 512,
        codebook_update: str = "ema",
        commitment_weight: float = 0.25,
        codebook_decay: float = 0.99,
        dead_code_threshold: float = 0.03,
        rotation_trick: bool = False,
        cosine_sim: bool = False,
    ) -> None:
        super().__init__(event, codebook_size, commitment_weight, rotation_trick)
        if codebook_update not in ("ema", "gradient"):
            raise VariedError(f"codebook_update={codebook_update!r} must be 'ema' or 'gradient'.")
        if not 0 < codebook_decay < 1:
            raise VariedError(
                f"codebook_decay={codebook_decay} must be above 0 and below 1; the default is 0.99."
            )
        if not 0 <= dead_code_threshold < 1:
            raise VariedError(
                f"dead_code_threshold={dead_code_threshold} must be at least 0 and below 1, since "
                "it is relative to the mean usage; the default is 0.03."
            )
        self.has_codebook_loss = codebook_update == "gradient"
        self.decay, self.dead_code_threshold = codebook_decay, dead_code_threshold
        self.cosine_sim = cosine_sim
        initial = torch.randn(codebook_size, self.event_shape[0])
        if self.has_codebook_loss:
            self.embedding = nn.Parameter(initial)
        else:
            self.register_buffer("ema_sum", initial)

    def codebook(self) -> Tensor:
        """Return all codebook entries, with shape (codes, C)."""
        codebook = (
            self._weights if self.has_codebook_loss else self._weights / self._smooth_counts()
        )
        return functional.normalize(codebook, dim=1) if self.cosine_sim else codebook

    @property
    def _weights(self) -> Tensor:
        return self.embedding if self.has_codebook_loss else self.ema_sum

    def _smooth_counts(self) -> Tensor:
        total = self.usage.sum()
        return ((self.usage + SMOOTHING) / (total + self.num_codes * SMOOTHING) * total)[:, None]

    @torch.no_grad()
    def init_codebook(self, rows: Tensor) -> None:
        """Initialize the codebook with k-means on vectors with shape (M, C)."""
        rows = functional.normalize(rows, dim=1) if self.cosine_sim else rows
        self.usage.fill_(1)
        self._weights.copy_(kmeans(rows, self.num_codes))

    @torch.no_grad()
    def _update(self, rows: Tensor, index: Tensor) -> None:
        is_finite = self._update_usage(rows, index)
        if not self.has_codebook_loss:
            sums = torch.zeros_like(self.ema_sum).index_add_(0, index, rows)
            sums = current_group().mean(sums * (self.num_codes / len(rows)))
            updated = self.ema_sum.lerp(sums, 1 - self.decay)
            self.ema_sum.copy_(torch.where(is_finite, updated, self.ema_sum))
        if self.dead_code_threshold:
            samples = rows[torch.randint(len(rows), (self.num_codes,), device=rows.device)]
            samples = current_group().broadcast(samples)
            is_dead = (self.usage < self.dead_code_threshold) & is_finite
            self.usage.masked_fill_(is_dead, 1)
            self._weights.copy_(torch.where(is_dead[:, None], samples, self._weights))
