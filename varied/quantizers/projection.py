"""From a latent's C numbers to the few that are rounded, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Projection"]


class Projection(nn.Module):
    """Linear maps from C numbers to ``size`` and back, and a common scale for what is rounded.

    Where C is ``size`` already there are no maps. The numbers are brought to mean 0 and variance 1,
    by the batch in training and by moving averages else: an untrained network puts out numbers so
    small that all would be rounded to one code, and one that learns fast numbers so large that
    their bounds have no gradient.

    References:
        Robust Training of Vector Quantized Bottleneck Models (Lancucki et al., 2020),
        https://arxiv.org/abs/2005.08520

    Arguments:
        channels: The number C.
        size: The numbers that are rounded.
        decay: The share of their past that the averages keep at each step.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, size: int, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self.down, self.up = _maps(channels, size)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))

    def forward(self, rows: Tensor) -> Tensor:
        """Return what is rounded, with shape (M, size)."""
        small = self.down(rows)
        mean, variance = self.mean, self.variance
        if self.training and len(rows) > 1:  # one row says nothing of a variance
            mean, variance = small.mean(0), small.var(0, correction=0)
            self._follow(mean, variance, 1 - self.decay)
        return (small - mean) / (variance + 1e-6).sqrt()  # type: ignore[no-any-return]

    def start(self, rows: Tensor) -> None:
        """Begin with averages over these latents, with shape (M, C)."""
        small = self.down(rows)
        self._follow(small.mean(0), small.var(0, correction=0), 1.0)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, share: float) -> None:
        # What is not finite must leave no trace: the loop skips that step.
        sound = (mean + variance).sum().isfinite()
        for kept, seen in ((self.mean, mean), (self.variance, variance)):
            kept.copy_(torch.where(sound, kept.lerp(seen, share), kept))


def _maps(channels: int, size: int) -> tuple[nn.Module, nn.Module]:
    if channels == size:
        return nn.Identity(), nn.Identity()
    down, up = nn.Linear(channels, size), nn.Linear(size, channels)
    # Numbers that go together from the start would leave the corners of the levels empty.
    nn.init.orthogonal_(down.weight)
    with torch.no_grad():
        up.weight.copy_(down.weight.T)
    return down, up
