"""Quantizers that round values, and the projection of vectors onto these values."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from varied.process_group import current_group
from varied.quantizers.base import CodebookQuantizer, Shape


class Projection(nn.Module):
    """Projects C channels onto the values to be rounded, and standardizes these values.

    If C equals ``size``, the linear maps (to the values and back) are omitted. The values are
    standardized with the batch statistics in training and with moving averages in evaluation.
    Without standardization, the outputs of an untrained network are so small that all of them are
    rounded to the same code, and a high learning rate makes them so large that the bounding
    function saturates.

    References:
        Robust Training of Vector Quantized Bottleneck Models (Lancucki et al., 2020),
        https://arxiv.org/abs/2005.08520

    Arguments:
        channels: The number C of channels.
        size: The number of values that are rounded.
        decay: The decay of the moving averages.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, size: int, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self.down, self.up = _linear_maps(channels, size)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))

    def forward(self, rows: Tensor) -> Tensor:
        """Return standardized values, with shape (M, size), for vectors with shape (M, C)."""
        projected = self.down(rows)
        mean, variance = self.mean, self.variance
        if self.training and len(rows) > 1:  # a single row has no variance
            mean, variance = projected.mean(0), projected.var(0, correction=0)
            self._update(*_average(mean.detach(), variance.detach()), 1 - self.decay)
        return (projected - mean) / (variance + 1e-6).sqrt()  # type: ignore[no-any-return]

    def init_from_data(self, rows: Tensor) -> None:
        """Initialize the moving averages from vectors with shape (M, C)."""
        projected = self.down(rows)
        self._update(projected.mean(0), projected.var(0, correction=0), 1.0)

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor, weight: float) -> None:
        # The training loop skips steps with non-finite values, so the averages must skip them too.
        is_finite = (mean + variance).sum().isfinite()
        for average, value in ((self.mean, mean), (self.variance, variance)):
            average.copy_(torch.where(is_finite, average.lerp(value, weight), average))


def _average(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the variance of the rows of all processes."""
    group = current_group()
    total = group.mean(mean)
    if group.world > 1:
        variance = group.mean(variance + (mean - total).square())
    return total, variance


def _linear_maps(channels: int, size: int) -> tuple[nn.Module, nn.Module]:
    if channels == size:
        return nn.Identity(), nn.Identity()
    down, up = nn.Linear(channels, size), nn.Linear(size, channels)
    # If the values were correlated at initialization, many codes would be unused.
    nn.init.orthogonal_(down.weight)
    with torch.no_grad():
        up.weight.copy_(down.weight.T)
    return down, up


class RoundingQuantizer(CodebookQuantizer):
    """A quantizer that projects each vector to a few dimensions and rounds each coordinate.

    The codebook is the set of all rounded vectors.

    Arguments:
        event: The shape of a latent variable, (C, *rest).
        codes: The size of the codebook.
        size: The number of values that are rounded.
    """

    def __init__(self, event: Shape, codes: int, size: int) -> None:
        super().__init__(event, codes)
        self.projection = Projection(self.event_shape[0], size)

    @abstractmethod
    def rounded_values(self, index: Tensor) -> Tensor:
        """Return the rounded values, with shape (*, size), for codes with shape (*)."""

    def codebook(self) -> Tensor:
        """Return all codebook entries, with shape (codes, C)."""
        index = torch.arange(self.num_codes, device=self.usage.device)
        return self.projection.up(self.rounded_values(index))  # type: ignore[no-any-return]

    def init_codebook(self, rows: Tensor) -> None:
        """Initialize the statistics for standardization from vectors with shape (M, C)."""
        self.projection.init_from_data(rows)
