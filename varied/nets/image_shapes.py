"""What nets for pictures share: which way they go, and the sizes on the way."""

from __future__ import annotations

import math

from varied.errors import VariedError

__all__ = ["channel_widths", "downsample_sizes", "is_encoder", "resolve_sizes"]

Shape = tuple[int, ...]


def is_encoder(inputs: Shape, outputs: Shape, name: str) -> str:
    """Return "down" from a picture to a vector or a smaller map, or "up" the other way.

    Of two pictures the one with more pixels is the large end; where both have as many, it is
    "down", and nothing is halved.

    Raises:
        VariedError: If neither shape is a picture (C, H, W), or one is neither picture nor vector.
    """
    pictures = len(inputs) == 3, len(outputs) == 3
    if all(pictures):
        return "down" if math.prod(inputs[1:]) >= math.prod(outputs[1:]) else "up"
    if any(pictures) and 1 in (len(inputs), len(outputs)):
        return "down" if pictures[0] else "up"
    raise VariedError(
        f"net='{name}' reads pictures (channels, height, width), and cannot go from shape {inputs} "
        f"to {outputs}; use net='mlp'."
    )


def downsample_sizes(size: tuple[int, int], depth: int | None) -> list[tuple[int, int]]:
    """Return the sizes from a picture to its smallest map, each half the one before, rounded up.

    Arguments:
        size: Height and width.
        depth: How many halvings; None goes on until the shorter side is at most 4.

    Raises:
        VariedError: If the depth is below 0.

    Example:
        >>> downsample_sizes((28, 28), None)
        [(28, 28), (14, 14), (7, 7), (4, 4)]
    """
    if depth is not None and depth < 0:
        raise VariedError(f"depth={depth} must be at least 0.")
    sizes = [size]
    while len(sizes) <= depth if depth is not None else min(sizes[-1]) > 4:
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


def resolve_sizes(
    large: Shape, small: Shape, depth: int | None, name: str
) -> list[tuple[int, int]]:
    """Return the sizes from a picture to a vector or a smaller map.

    Arguments:
        large: (C, H, W) of the picture.
        small: (D,), or (c, h, w) of the map, which says itself how often to halve.
        depth: How many halvings; None is what suits, and to a map nothing else is right.
        name: What the net is called.

    Raises:
        VariedError: If no number of halvings, or not this one, ends at the size of the map.

    Example:
        >>> resolve_sizes((1, 28, 28), (64, 7, 7), None, "conv")
        [(28, 28), (14, 14), (7, 7)]
    """
    size = (large[1], large[2])
    if len(small) == 1:
        return downsample_sizes(size, depth)
    sizes, end = downsample_sizes(size, (max(size) - 1).bit_length()), (small[1], small[2])
    if end not in sizes:
        raise VariedError(_no_way(sizes, end, name))
    found = sizes.index(end)
    if depth not in (None, found):
        raise VariedError(
            f"depth={depth} does not halve {_by(size)} to {_by(end)}; leave depth out: the shape "
            f"of the map says that it is {found}."
        )
    return sizes[: found + 1]


def _no_way(sizes: list[tuple[int, int]], end: tuple[int, int], name: str) -> str:
    near = min(sizes, key=lambda size: abs(math.log(math.prod(size) / math.prod(end))))
    return (
        f"net='{name}' halves {_by(sizes[0])} to {', '.join(map(_by, sizes[1:]))}, "
        f"and never comes to {_by(end)}; use one of these sizes, such as latent=(4, {near[0]}, "
        f"{near[1]}), or net='mlp'."
    )


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def channel_widths(width: int, levels: int, most: int = 512) -> list[int]:
    """Return the channels of each level: doubled each time, up to a limit.

    Raises:
        VariedError: If the width is below 1.
    """
    if width < 1:
        raise VariedError(f"width={width} must be at least 1.")
    return [min(width * 2**level, max(most, width)) for level in range(levels)]
