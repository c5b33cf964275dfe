"""From a latent's C numbers to the few that are rounded, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Narrow"]


class Narrow(nn.Module):
    """Linear maps from C numbers to ``size`` and back, and a common scale for what is rounded.

    Where C is ``size`` already there are no maps. The numbers are brought to mean 0 and variance 1
    by moving averages: an untrained network puts out numbers so small that all of them would be
    rounded to one code, and one that learns fast numbers so large that their bounds have no
    gradient.

    Arguments:
        channels: The number C.
        size: The numbers that are rounded.
        decay: The share of their past that the averages keep at each step.
    """

    mean: Tensor
    square: Tensor

    def __init__(self, channels: int, size: int, decay: float = 0.99) -> None:
        super().__init__()
        same = channels == size
        self.decay = decay
        self.down = nn.Identity() if same else nn.Linear(channels, size)
        self.up = nn.Identity() if same else nn.Linear(size, channels)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("square", torch.ones(size))

    def forward(self, rows: Tensor) -> Tensor:
        """Return what is rounded, with shape (M, size)."""
        variance = self.square - self.mean.square()
        return (self.down(rows) - self.mean) / (variance.clamp(min=0) + 1e-6).sqrt()  # type: ignore[no-any-return]

    @torch.no_grad()
    def follow(self, rows: Tensor, sound: Tensor, share: float | None = None) -> None:
        """Move the averages; where the step is not ``sound`` (a scalar), leave them.

        Arguments:
            rows: The latents, with shape (M, C).
            sound: Whether all of them are finite.
            share: The share of the past that is given up; that of one step if None.
        """
        share = 1 - self.decay if share is None else share
        small = self.down(rows)
        for kept, seen in ((self.mean, small.mean(0)), (self.square, small.square().mean(0))):
            kept.copy_(torch.where(sound, kept.lerp(seen, share), kept))
