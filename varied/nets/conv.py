"""Convolutional networks for pictures of any height, width and number of channels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from torch import nn

from varied.errors import lookup
from varied.nets.image_shapes import channel_widths, is_encoder, resolve_sizes
from varied.nets.mlp import ACTIVATIONS
from varied.nets.resample import Downsample, UpsampleNearest, UpsampleTransposed

__all__ = ["UPSAMPLES", "conv"]

#: Makes a layer to twice the size of channels in, channels out, and height and width out.
Twice = Callable[[int, int, tuple[int, int]], nn.Module]

UPSAMPLES: dict[str, Twice] = {"transposed": UpsampleTransposed, "nearest": UpsampleNearest}


def conv(
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    *,
    width: int = 32,
    depth: int | None = None,
    dense_width: int = 256,
    activation: str = "relu",
    upsample: str = "transposed",
) -> nn.Module:
    """Return a convolutional network between a picture and a vector, or a smaller map, both ways.

    Each level halves (or doubles) height and width and doubles (or halves) the channels. A map is
    met by one more convolution, and by no dense layer.

    Arguments:
        inputs: (C, H, W) or (D,).
        outputs: (D,) or (C, H, W).
        width: The channels at full size; doubled at each level, up to 512.
        depth: The number of levels; by default until the shorter side is at most 4, or the map's.
        dense_width: The units of the layer between maps and vector; 0 for none.
        activation: gelu, relu, silu, softplus or tanh.
        upsample: How a map is doubled: "transposed" is a transposed convolution, "nearest" repeats
            pixels before a convolution, which leaves no ripples where a critic or few steps would.

    Raises:
        VariedError: If neither shape is a picture, or no halvings lead from one to the other.
    """
    act, twice = (
        lookup(ACTIVATIONS, activation, "activation"),
        lookup(UPSAMPLES, upsample, "upsample"),
    )
    down = is_encoder(inputs, outputs, "conv") == "down"
    large, small = (inputs, outputs) if down else (outputs, inputs)
    sizes = resolve_sizes(large, small, depth, "conv")
    if down:
        return _down(inputs, outputs, width, sizes, dense_width, act)
    return _up(inputs, outputs, width, sizes[::-1], dense_width, act, twice)


def _down(
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    width: int,
    sizes: list[tuple[int, int]],
    hidden: int,
    act: type[nn.Module],
) -> nn.Module:
    channels = [inputs[0], *channel_widths(width, len(sizes) - 1)]
    layers: list[nn.Module] = []
    for (a, b), size in zip(itertools.pairwise(channels), sizes[:-1], strict=True):
        layers += [Downsample(a, b, size), act()]
    if len(outputs) == 3:
        last = channels[-1] if len(sizes) > 1 else width
        small = [nn.Conv2d(channels[-1], last, 3, padding=1), act()]
        return nn.Sequential(*layers, *small, nn.Conv2d(last, outputs[0], 1))
    flat = channels[-1] * math.prod(sizes[-1])
    return nn.Sequential(*layers, nn.Flatten(), *_dense(flat, hidden, outputs[0], act)[:-1])


def _up(
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    width: int,
    sizes: list[tuple[int, int]],
    hidden: int,
    act: type[nn.Module],
    twice: Twice,
) -> nn.Module:
    maps = channel_widths(width, len(sizes) - 1)[::-1] or [width]
    layers: list[nn.Module]
    if len(inputs) == 3:
        layers = [nn.Conv2d(inputs[0], maps[0], 3, padding=1), act()]
    else:
        layers = _dense(inputs[0], hidden, maps[0] * math.prod(sizes[0]), act)
        layers.append(nn.Unflatten(1, (maps[0], *sizes[0])))
    for (a, b), size in zip(itertools.pairwise([*maps, outputs[0]]), sizes[1:], strict=False):
        layers += [twice(a, b, size), act()]
    if len(sizes) == 1:
        return nn.Sequential(*layers, nn.Conv2d(maps[0], outputs[0], 3, padding=1))
    return nn.Sequential(*layers[:-1])


def _dense(inputs: int, hidden: int, outputs: int, act: type[nn.Module]) -> list[nn.Module]:
    """Return linear layers, through a hidden one unless it is 0, each with its activation."""
    sizes = [inputs, hidden, outputs] if hidden else [inputs, outputs]
    return [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), act())]
