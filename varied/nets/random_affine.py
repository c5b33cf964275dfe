"""Pictures that are moved a little before a net reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from varied.errors import VariedError

__all__ = ["USUAL", "RandomAffine", "RandomAffineInput", "add_random_affine"]


@dataclass(frozen=True)
class RandomAffine:
    r"""Affine maps by chance, an own one for each picture.

    .. math:: R(\alpha) \begin{pmatrix} 1 & k \\ 0 & 1 \end{pmatrix}
        \begin{pmatrix} e^a & 0 \\ 0 & e^b \end{pmatrix} x + t

    is where in the old picture, counted from its middle, the new one has x from; each number is
    uniform between its bound and minus its bound.

    References:
        Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis
        (Simard et al., 2003), https://doi.org/10.1109/ICDAR.2003.1227801

    Arguments:
        shift: The bound of t, as a part of the sides.
        turn: The bound of the angle, in degrees.
        stretch: The bound of a and of b; 0.2 is 22 % longer or 18 % shorter.
        slant: The bound of k: how far a line a pixel higher is shifted, in pixels.
    """

    shift: float = 0.0
    turn: float = 0.0
    stretch: float = 0.0
    slant: float = 0.0

    def times(self, strength: float) -> RandomAffine:
        """Return moves with bounds so many times as wide."""
        bounds = (self.shift, self.turn, self.stretch, self.slant)
        return RandomAffine(*(strength * bound for bound in bounds))

    def __call__(self, x: Tensor, dice: torch.Generator | None = None) -> Tensor:
        """Return pictures moved; what comes in from outside is what stands at the edge.

        Arguments:
            x: Pictures, as floating point numbers with shape (N, C, H, W).
            dice: What they are moved by; None takes torch's own.
        """
        device = x.device if dice is None else dice.device
        chances = 2 * torch.rand(6, len(x), generator=dice, device=device).to(x.device) - 1
        around, right, down, wide, high, slant = chances.unbind()
        angle, k = math.radians(self.turn) * around, self.slant * slant
        a, b = (self.stretch * wide).exp(), (self.stretch * high).exp()
        cos, sin = angle.cos(), angle.sin()
        height, width = x.shape[2:]
        # The grid runs from -1 to 1 along both sides, however long they are.
        rows = [
            [a * cos, b * (k * cos - sin) * height / width, 2 * self.shift * right],
            [a * sin * width / height, b * (k * sin + cos), 2 * self.shift * down],
        ]
        maps = torch.stack([torch.stack(row, 1) for row in rows], 1)
        grid = affine_grid(maps, list(x.shape), align_corners=False).to(x.dtype)
        return grid_sample(x, grid, padding_mode="border", align_corners=False)


#: What is usual where labels are few: measured on digits.
USUAL = RandomAffine(shift=0.08, turn=10.0, stretch=0.2, slant=0.4)


class RandomAffineInput(nn.Module):
    """A net that is shown pictures a little moved while it learns, and as they are afterwards.

    Arguments:
        net: A net of pictures.
        moves: How they are moved.
    """

    def __init__(self, net: nn.Module, moves: RandomAffine) -> None:
        super().__init__()
        self.net, self.moves = net, moves

    def forward(self, x: Tensor) -> Tensor:
        """Return what the net says of pictures with shape (N, C, H, W)."""
        return self.net(self.moves(x) if self.training else x)  # type: ignore[no-any-return]


def add_random_affine(net: nn.Module, shape: tuple[int, ...], strength: float) -> nn.Module:
    """Return a net that is shown moved pictures while it learns; at no strength the net itself.

    Arguments:
        net: A net of data.
        shape: The shape of one datum.
        strength: How far they are moved; 1 is `USUAL`, 0.5 half as far.

    Raises:
        VariedError: If these are no pictures, or the strength is none.
    """
    if not strength:
        return net
    if not 0 < strength <= 3:
        raise VariedError(f"affine={strength} must be from 0 to 3; 1 is usual.")
    if len(shape) != 3:
        raise VariedError(
            f"affine={strength} moves pictures, and these data have shape {shape}; leave it out."
        )
    return RandomAffineInput(net, USUAL.times(strength))
