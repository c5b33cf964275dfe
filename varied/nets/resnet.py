"""Residual networks for pictures of any height, width and number of channels."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from varied.errors import VariedError
from varied.nets.picture import direction, halvings, widths
from varied.nets.strided import Halved

__all__ = ["Residual", "resnet"]


def resnet(
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    *,
    width: int = 32,
    depth: int | None = None,
    blocks: int = 1,
) -> nn.Module:
    """Return a residual network from a picture to a vector, or from a vector to a picture.

    Arguments:
        inputs: (C, H, W) or (D,).
        outputs: (D,) or (C, H, W).
        width: The channels at full size; doubled at each level, up to 256.
        depth: The number of levels; by default until the shorter side is at most 4.
        blocks: The number of residual blocks at each level.

    References:
        Identity Mappings in Deep Residual Networks (He et al., 2016),
        https://arxiv.org/abs/1603.05027

    Raises:
        VariedError: If neither shape, or each, is a picture, or there are no blocks.
    """
    if blocks < 1:
        raise VariedError(f"blocks={blocks} must be at least 1; net='conv' has none.")
    if direction(inputs, outputs, "resnet") == "down":
        return _down(inputs, outputs, width, depth, blocks)
    return _up(inputs, outputs, width, depth, blocks)


def _down(
    inputs: tuple[int, ...], outputs: tuple[int, ...], width: int, depth: int | None, blocks: int
) -> nn.Module:
    sizes = halvings((inputs[1], inputs[2]), depth)
    maps = widths(width, len(sizes), most=256)
    layers: list[nn.Module] = [nn.Conv2d(inputs[0], maps[0], 3, padding=1)]
    for level, size in enumerate(sizes[:-1]):
        layers.append(Halved(maps[level], maps[level + 1], size))
        layers += [Residual(maps[level + 1]) for _ in range(blocks)]
    layers += [_norm(maps[-1]), nn.SiLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(maps[-1] * math.prod(sizes[-1]), outputs[0]))


def _up(
    inputs: tuple[int, ...], outputs: tuple[int, ...], width: int, depth: int | None, blocks: int
) -> nn.Module:
    sizes = halvings((outputs[1], outputs[2]), depth)[::-1]
    maps = widths(width, len(sizes), most=256)[::-1]
    flat = maps[0] * math.prod(sizes[0])
    layers: list[nn.Module] = [nn.Linear(inputs[0], flat), nn.Unflatten(1, (maps[0], *sizes[0]))]
    for level, size in enumerate(sizes[1:]):
        layers += [Residual(maps[level]) for _ in range(blocks)]
        layers.append(Enlarged(maps[level], maps[level + 1], size))
    layers += [_norm(maps[-1]), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(maps[-1], outputs[0], 3, padding=1))


def _norm(channels: int) -> nn.Module:
    # Groups, not batches: a batch of one, and the last short batch, behave like any other.
    # Four channels or more in each: a group of one, on a map of one pixel, is always 0.
    return nn.GroupNorm(math.gcd(channels, max(1, min(8, channels // 4))), channels)


class Residual(nn.Module):
    """h + f(h), with f two normalised convolutions; it starts as the identity.

    Arguments:
        channels: Channels in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        half = [_norm(channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)]
        self.branch = nn.Sequential(*half, _norm(channels), nn.SiLU(), last)

    def forward(self, h: Tensor) -> Tensor:
        """Return a map of the same shape."""
        return h + self.branch(h)  # type: ignore[no-any-return]


class Enlarged(nn.Module):
    """Twice the size by repeating pixels (cut where the size is odd), then a convolution.

    Arguments:
        inputs: Channels in.
        outputs: Channels out.
        size: Height and width out.
    """

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        """Return the larger map, with shape (N, outputs, *size)."""
        larger = F.interpolate(h, scale_factor=2.0, mode="nearest")
        return self.conv(larger[..., : self.size[0], : self.size[1]])  # type: ignore[no-any-return]
