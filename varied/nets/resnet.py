"""Residual networks for images of any size and any number of channels."""

from __future__ import annotations

import itertools
import math

from torch import Tensor, nn

from varied.errors import VariedError
from varied.nets.film import ContextLayer
from varied.nets.image_shapes import Shape, Size, channel_widths, is_encoder, resolve_sizes
from varied.nets.resample import Downsample, UpsampleNearest


def resnet(
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    *,
    width: int = 32,
    depth: int | None = None,
    blocks: int = 1,
) -> nn.Module:
    """Return a residual network that encodes or decodes images.

    If the input is an image and the output is a vector or a smaller feature map, the network is an
    encoder; in the opposite case, it is a decoder. For a feature map, the network has at least two
    blocks at the smallest size and no dense layer, as in van den Oord et al. (2017).

    Arguments:
        inputs: The shape of one input: (C, H, W) or (D).
        outputs: The shape of one output: (D) or (C, H, W).
        width: The number of channels at full size; it is doubled at each level, up to 256.
        depth: The number of levels. By default, levels are added until the shorter side is at most
            4, or the size of the feature map is reached.
        blocks: The number of residual blocks at each level below full size.

    References:
        Identity Mappings in Deep Residual Networks (He et al., 2016),
        https://arxiv.org/abs/1603.05027;
        Neural Discrete Representation Learning (van den Oord et al., 2017),
        https://arxiv.org/abs/1711.00937

    Raises:
        VariedError: If neither shape is an image, repeated downsampling by 2 does not result in the
            smaller shape, or a setting is invalid.
    """
    if blocks < 1:
        raise VariedError(
            f"blocks={blocks} must be at least 1; use net='conv' for no residual blocks."
        )
    sizes = resolve_sizes(inputs, outputs, depth, "resnet")
    # No blocks at full size, where they are most expensive.
    counts = [0, *[blocks] * (len(sizes) - 1)]
    if len(inputs) == len(outputs):
        counts[-1] = max(blocks, 2)
    channels = channel_widths(width, len(sizes), limit=256)
    if is_encoder(inputs, outputs, "resnet"):
        return _encoder(inputs, outputs, channels, sizes, counts)
    return _decoder(inputs, outputs, channels[::-1], sizes, counts[::-1])


def _encoder(
    inputs: Shape, outputs: Shape, channels: list[int], sizes: list[Size], counts: list[int]
) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(inputs[0], channels[0], 3, padding=1)]
    for level, count in enumerate(counts):
        if level:
            layers.append(Downsample(channels[level - 1], channels[level], sizes[level - 1]))
        layers += [Residual(channels[level]) for _ in range(count)]
    layers += [_norm(channels[-1]), nn.SiLU()]
    if len(outputs) == 3:
        return nn.Sequential(*layers, nn.Conv2d(channels[-1], outputs[0], 1))
    flat = channels[-1] * math.prod(sizes[-1])
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, outputs[0]))


def _decoder(
    inputs: Shape, outputs: Shape, channels: list[int], sizes: list[Size], counts: list[int]
) -> nn.Module:
    layers: list[nn.Module]
    if len(inputs) == 3:
        layers = [nn.Conv2d(inputs[0], channels[0], 3, padding=1)]
    else:
        flat = channels[0] * math.prod(sizes[0])
        layers = [nn.Linear(inputs[0], flat), nn.Unflatten(1, (channels[0], *sizes[0]))]
    for level, count in enumerate(counts):
        if level:
            layers.append(UpsampleNearest(channels[level - 1], channels[level], sizes[level]))
        layers += [Residual(channels[level]) for _ in range(count)]
    layers += [_norm(channels[-1]), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(channels[-1], outputs[0], 3, padding=1))


def _norm(channels: int) -> nn.Module:
    # Use group instead of batch normalization, so that the examples of a batch are independent.
    # Each group has at least four channels, or all of them if there are fewer, since a single value
    # would be normalized to 0.
    return nn.GroupNorm(math.gcd(channels, max(1, min(8, channels // 4))), channels)


class Residual(ContextLayer):
    """A residual block h + f(h), initialized as the identity.

    References:
        Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on Images
        (Child, 2021), https://arxiv.org/abs/2011.10650, for the bottleneck.

    Arguments:
        channels: The number of input and output channels.
        hidden: The number of hidden channels of a bottleneck of 1x1, 3x3, 3x3 and 1x1 convolutions
            without normalization. If None, the block has two 3x3 convolutions with normalization.
    """

    def __init__(self, channels: int, hidden: int | None = None) -> None:
        super().__init__()
        self.branch = _basic(channels) if hidden is None else _bottleneck(channels, hidden)
        for parameter in self.branch[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor, *c: Tensor) -> Tensor:
        """Return a feature map of the same shape."""
        return h + self.branch(h, *c)  # type: ignore[no-any-return]


def _basic(channels: int) -> nn.Sequential:
    last = nn.Conv2d(channels, channels, 3, padding=1)
    first = nn.Conv2d(channels, channels, 3, padding=1)
    return nn.Sequential(_norm(channels), nn.SiLU(), first, _norm(channels), nn.SiLU(), last)


def _bottleneck(channels: int, hidden: int) -> nn.Sequential:
    sizes = [channels, hidden, hidden, hidden, channels]
    layers: list[nn.Module] = []
    for (a, b), kernel in zip(itertools.pairwise(sizes), (1, 3, 3, 1), strict=True):
        layers += [nn.GELU(), nn.Conv2d(a, b, kernel, padding=kernel // 2)]
    return nn.Sequential(*layers)
