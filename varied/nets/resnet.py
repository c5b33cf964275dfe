"""Residual networks for pictures of any height, width and number of channels."""

from __future__ import annotations

import itertools
import math

from torch import Tensor, nn

from varied.errors import VariedError
from varied.nets.film import ContextLayer
from varied.nets.image_shapes import channel_widths, is_encoder, resolve_sizes
from varied.nets.resample import Downsample, UpsampleNearest

__all__ = ["Residual", "resnet"]


def resnet(
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    *,
    width: int = 32,
    depth: int | None = None,
    blocks: int = 1,
) -> nn.Module:
    """Return a residual network between a picture and a vector, or a smaller map, both ways.

    At a map it has two blocks at least, and no dense layer (van den Oord et al., 2017).

    Arguments:
        inputs: (C, H, W) or (D,).
        outputs: (D,) or (C, H, W).
        width: The channels at full size; doubled at each level, up to 256.
        depth: The number of levels; by default until the shorter side is at most 4, or the map's.
        blocks: The number of residual blocks at each level.

    References:
        Identity Mappings in Deep Residual Networks (He et al., 2016),
        https://arxiv.org/abs/1603.05027;
        Neural Discrete Representation Learning (van den Oord et al., 2017),
        https://arxiv.org/abs/1711.00937

    Raises:
        VariedError: If neither shape is a picture, no halvings lead from one to the other, or there
            are no blocks.
    """
    if blocks < 1:
        raise VariedError(f"blocks={blocks} must be at least 1; net='conv' has none.")
    down = is_encoder(inputs, outputs, "resnet") == "down"
    large, small = (inputs, outputs) if down else (outputs, inputs)
    sizes = resolve_sizes(large, small, depth, "resnet")
    # None at full size, where a block costs most.
    counts = [0, *[blocks] * (len(sizes) - 1)]
    if len(small) == 3:
        counts[-1] = max(blocks, 2)
    maps = channel_widths(width, len(sizes), most=256)
    if down:
        return _down(inputs, outputs, maps, sizes, counts)
    return _up(inputs, outputs, maps[::-1], sizes[::-1], counts[::-1])


def _down(
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    maps: list[int],
    sizes: list[tuple[int, int]],
    counts: list[int],
) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(inputs[0], maps[0], 3, padding=1)]
    for level, count in enumerate(counts):
        if level:
            layers.append(Downsample(maps[level - 1], maps[level], sizes[level - 1]))
        layers += [Residual(maps[level]) for _ in range(count)]
    layers += [_norm(maps[-1]), nn.SiLU()]
    if len(outputs) == 3:
        return nn.Sequential(*layers, nn.Conv2d(maps[-1], outputs[0], 1))
    flat = maps[-1] * math.prod(sizes[-1])
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, outputs[0]))


def _up(
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    maps: list[int],
    sizes: list[tuple[int, int]],
    counts: list[int],
) -> nn.Module:
    layers: list[nn.Module]
    if len(inputs) == 3:
        layers = [nn.Conv2d(inputs[0], maps[0], 3, padding=1)]
    else:
        flat = maps[0] * math.prod(sizes[0])
        layers = [nn.Linear(inputs[0], flat), nn.Unflatten(1, (maps[0], *sizes[0]))]
    for level, count in enumerate(counts):
        if level:
            layers.append(UpsampleNearest(maps[level - 1], maps[level], sizes[level]))
        layers += [Residual(maps[level]) for _ in range(count)]
    layers += [_norm(maps[-1]), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(maps[-1], outputs[0], 3, padding=1))


def _norm(channels: int) -> nn.Module:
    # Groups, not batches: a batch of one, and the last short batch, behave like any other.
    # Four channels or more in each: a group of one, on a map of one pixel, is always 0.
    return nn.GroupNorm(math.gcd(channels, max(1, min(8, channels // 4))), channels)


class Residual(ContextLayer):
    """h + f(h), with f some normalized convolutions; it starts as the identity.

    References:
        Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on Images
        (Child, 2021), https://arxiv.org/abs/2011.10650, for the bottleneck.

    Arguments:
        channels: Channels in and out.
        hidden: Channels of a bottleneck, 1x1, 3x3, 3x3, 1x1, without norms; None for two 3x3.
    """

    def __init__(self, channels: int, hidden: int | None = None) -> None:
        super().__init__()
        self.branch = _plain(channels) if hidden is None else _bottleneck(channels, hidden)
        for parameter in self.branch[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor, *c: Tensor) -> Tensor:
        """Return a map of the same shape."""
        return h + self.branch(h, *c)  # type: ignore[no-any-return]


def _plain(channels: int) -> nn.Sequential:
    last = nn.Conv2d(channels, channels, 3, padding=1)
    half = [_norm(channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)]
    return nn.Sequential(*half, _norm(channels), nn.SiLU(), last)


def _bottleneck(channels: int, hidden: int) -> nn.Sequential:
    sizes = [channels, hidden, hidden, hidden, channels]
    layers: list[nn.Module] = []
    for (a, b), kernel in zip(itertools.pairwise(sizes), (1, 3, 3, 1), strict=True):
        layers += [nn.GELU(), nn.Conv2d(a, b, kernel, padding=kernel // 2)]
    return nn.Sequential(*layers)
