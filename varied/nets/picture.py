"""What nets for pictures share: which way they go, and the sizes on the way."""

from __future__ import annotations

from varied.errors import VariedError

__all__ = ["direction", "halvings", "widths"]


def direction(inputs: tuple[int, ...], outputs: tuple[int, ...], name: str) -> str:
    """Return "down" from a picture to a vector, or "up" from a vector to a picture.

    Raises:
        VariedError: If neither shape is a picture (C, H, W), or both are.
    """
    if len(inputs) == 3 and len(outputs) == 1:
        return "down"
    if len(inputs) == 1 and len(outputs) == 3:
        return "up"
    raise VariedError(
        f"net='{name}' reads pictures (channels, height, width), and cannot go from shape {inputs} "
        f"to {outputs}; use net='mlp'."
    )


def halvings(size: tuple[int, int], depth: int | None) -> list[tuple[int, int]]:
    """Return the sizes from a picture to its smallest map, each half the one before, rounded up.

    Arguments:
        size: Height and width.
        depth: How many halvings; None goes on until the shorter side is at most 4.

    Raises:
        VariedError: If the depth is below 0.

    Example:
        >>> halvings((28, 28), None)
        [(28, 28), (14, 14), (7, 7), (4, 4)]
    """
    if depth is not None and depth < 0:
        raise VariedError(f"depth={depth} must be at least 0.")
    sizes = [size]
    while len(sizes) <= depth if depth is not None else min(sizes[-1]) > 4:
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


def widths(width: int, levels: int, most: int = 512) -> list[int]:
    """Return the channels of each level: doubled each time, up to a limit.

    Raises:
        VariedError: If the width is below 1.
    """
    if width < 1:
        raise VariedError(f"width={width} must be at least 1.")
    return [min(width * 2**level, max(most, width)) for level in range(levels)]
