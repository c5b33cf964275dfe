"""Convolutional networks for pictures of any height, width and number of channels."""

from __future__ import annotations

import itertools
import math

from torch import nn

from varied.errors import pick
from varied.nets.mlp import ACTIVATIONS
from varied.nets.picture import direction, halvings, widths
from varied.nets.strided import Doubled, Halved

__all__ = ["conv"]


def conv(
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    *,
    width: int = 32,
    depth: int | None = None,
    hidden: int = 256,
    activation: str = "relu",
) -> nn.Module:
    """Return a convolutional network from a picture to a vector, or from a vector to a picture.

    Each level halves (or doubles) height and width and doubles (or halves) the channels.

    Arguments:
        inputs: (C, H, W) or (D,).
        outputs: (D,) or (C, H, W).
        width: The channels at full size; doubled at each level, up to 512.
        depth: The number of levels; by default until the shorter side is at most 4.
        hidden: The units of the layer between maps and vector; 0 for none.
        activation: gelu, relu, silu, softplus or tanh.

    Raises:
        VariedError: If neither shape, or each, is a picture.
    """
    act = pick(ACTIVATIONS, activation, "activation")
    if direction(inputs, outputs, "conv") == "down":
        return _down(inputs, outputs, width, depth, hidden, act)
    return _up(inputs, outputs, width, depth, hidden, act)


def _down(
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    width: int,
    depth: int | None,
    hidden: int,
    act: type[nn.Module],
) -> nn.Module:
    sizes = halvings((inputs[1], inputs[2]), depth)
    channels = [inputs[0], *widths(width, len(sizes) - 1)]
    layers: list[nn.Module] = []
    for (a, b), size in zip(itertools.pairwise(channels), sizes[:-1], strict=True):
        layers += [Halved(a, b, size), act()]
    flat = channels[-1] * math.prod(sizes[-1])
    return nn.Sequential(*layers, nn.Flatten(), *_dense(flat, hidden, outputs[0], act)[:-1])


def _up(
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    width: int,
    depth: int | None,
    hidden: int,
    act: type[nn.Module],
) -> nn.Module:
    sizes = halvings((outputs[1], outputs[2]), depth)[::-1]
    maps = widths(width, len(sizes) - 1)[::-1] or [width]
    layers = _dense(inputs[0], hidden, maps[0] * math.prod(sizes[0]), act)
    layers.append(nn.Unflatten(1, (maps[0], *sizes[0])))
    for (a, b), size in zip(itertools.pairwise([*maps, outputs[0]]), sizes[1:], strict=False):
        layers += [Doubled(a, b, size), act()]
    if len(sizes) == 1:
        return nn.Sequential(*layers, nn.Conv2d(maps[0], outputs[0], 3, padding=1))
    return nn.Sequential(*layers[:-1])


def _dense(inputs: int, hidden: int, outputs: int, act: type[nn.Module]) -> list[nn.Module]:
    """Return linear layers, through a hidden one unless it is 0, each with its activation."""
    sizes = [inputs, hidden, outputs] if hidden else [inputs, outputs]
    return [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), act())]
