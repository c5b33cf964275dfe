"""Sprites: synthetic images that each show one shape, with known factors that form a grid."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from varied.data.labels import parse_labels
from varied.data.memory import check_memory
from varied.data.raw_data import RawData
from varied.errors import VariedError, lookup
from varied.seeding import permutation

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

SHAPES = ("square", "ellipse", "heart")

#: The number of values of each factor, in the order of the columns.
FACTORS: Mapping[str, int] = MappingProxyType(
    {"shape": 3, "scale": 6, "orientation": 40, "across": 32, "down": 32}
)
COLOR_FACTORS: Mapping[str, int] = MappingProxyType({**FACTORS, "hue": 6})

#: The sizes of the named datasets; all combinations would take 2.8 and 50.6 GiB.
N_SPRITES, N_COLOR_SPRITES = 50_000, 20_000

_SIDE = 64
_STAMP = 33  # the side length of a square that contains any shape: 64 - 33 + 1 = 32 positions
_QUADRANT = FACTORS["orientation"] // 4
_SMALLEST = 0.5
_CHUNK = 4096

#: Red, yellow, green, cyan, blue and magenta, with reduced saturation.
_HUES = np.array(
    [(240, 80, 80), (240, 240, 80), (80, 240, 80), (80, 240, 240), (80, 80, 240), (240, 80, 240)],
    np.uint8,
)


def n_combinations(*, color: bool = False) -> int:
    """Return the number of combinations of the factors.

    Example:
        >>> n_combinations(), n_combinations(color=True)
        (737280, 4423680)
    """
    return int(np.prod(list(_factor_sizes(color).values())))


def factors(index: npt.ArrayLike, *, color: bool = False) -> npt.NDArray[np.int64]:
    """Return the factors of combinations that are given by index; the last factor varies fastest.

    Arguments:
        index: Integers between 0 and ``n_combinations() - 1``, with shape (N).
        color: Whether hue is also a factor.

    Returns:
        The value of each factor, starting at 0, with shape (N, 5), or (N, 6) with color.

    Raises:
        VariedError: If an index is out of range.

    Example:
        >>> factors([0, 1, 737279]).tolist()
        [[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [2, 5, 39, 31, 31]]
    """
    rows = _as_integers(index, "The index of a sprite")
    last = n_combinations(color=color) - 1
    if rows.ndim != 1 or (len(rows) and not 0 <= rows.min() <= rows.max() <= last):
        raise VariedError(
            f"The indices of sprites must be between 0 and {last:,}, in an array of shape (N)."
        )
    columns = np.unravel_index(rows, tuple(_factor_sizes(color).values()))
    return np.stack(columns, axis=1).astype(np.int64)


def draw(factors: npt.ArrayLike) -> Pixels:
    r"""Draw one image for each row of factors.

    The images are black and white (0 and 255, without antialiasing), or in color if the factors
    include a hue. A shape is a square, an ellipse or a heart of 0.5 to 1 times its maximum size,
    rotated by :math:`2 \pi k / 40` counterclockwise, with its center on one of 32 by 32 adjacent
    pixels (``across`` from the left, ``down`` from the top). No shape touches the border. Rotating
    a square by a quarter turn, or an ellipse by half a turn, gives the same image.

    References:
        dSprites: Disentanglement testing Sprites dataset (Matthey et al., 2017),
        https://github.com/google-deepmind/dsprites-dataset, for the idea and the number of values
        of each factor. The images differ from those of dSprites, so metrics are not comparable.

    Arguments:
        factors: The value of each of `FACTORS`, with shape (N, 5), or of `COLOR_FACTORS`, with
            shape (N, 6).

    Returns:
        The images, uint8 with shape (N, 64, 64), or (N, 3, 64, 64) with a hue.

    Raises:
        VariedError: If a factor is out of range.

    Example:
        >>> draw([[0, 5, 0, 16, 16]]).shape, draw([[0, 5, 0, 16, 16, 2]]).shape
        ((1, 64, 64), (1, 3, 64, 64))
    """
    rows = _check_factors(factors)
    color = rows.shape[1] == len(COLOR_FACTORS)
    channels = 3 if color else 1
    check_memory(len(rows) * channels * _SIDE**2, f"{len(rows):,} sprites", "draw fewer at a time")
    images = np.zeros((len(rows), channels, _SIDE, _SIDE), np.uint8)
    for start in range(0, len(rows), _CHUNK):
        _stamp(images[start : start + _CHUNK], rows[start : start + _CHUNK])
    return images if color else images[:, 0]


def sprites(
    n: int | None = None, labels: Any = None, *, color: bool = False, seed: int = 0
) -> RawData:
    """Return a random subset of all sprites, without repetition.

    Arguments:
        n: The number of sprites; by default, 50,000, or 20,000 with color.
        labels: The name of a factor, whose values become classes; or a label for each row; by
            default, the values of all factors as numbers, with shape (N, 5) or (N, 6).
        color: Whether hue is also a factor.
        seed: The random seed.

    Raises:
        VariedError: If there are fewer than ``n`` combinations, or there is no such factor.

    Example:
        >>> sprites(100).x.shape, sprites(100, labels="shape").classes
        ((100, 64, 64), ('square', 'ellipse', 'heart'))
    """
    sizes, total = _factor_sizes(color), n_combinations(color=color)
    n = (N_COLOR_SPRITES if color else N_SPRITES) if n is None else n
    if not 1 <= n <= total:
        raise VariedError(f"n={n:,} must be between 1 and {total:,}, the number of combinations.")
    chosen = factors(permutation(total, seed, "sprites")[:n].numpy(), color=color)
    images = draw(chosen)
    numbers, classes = _labels(chosen, sizes, labels)
    x = np.moveaxis(images, 1, -1) if color else images
    listed = ", ".join(f"{name} ({size})" for name, size in sizes.items())
    note = f"{n:,} of {total:,} sprites, chosen with seed {seed}; factors: {listed}."
    return RawData(x, "image", numbers, classes, notes=(note,))


def _factor_sizes(color: bool) -> Mapping[str, int]:
    return COLOR_FACTORS if color else FACTORS


def _labels(
    chosen: npt.NDArray[np.int64], sizes: Mapping[str, int], labels: Any
) -> tuple[Array, tuple[str, ...]]:
    if labels is None:
        return chosen.astype(np.float32), ()
    if not isinstance(labels, str):
        return parse_labels(labels, len(chosen))
    size = lookup(sizes, labels, "factor")
    names = SHAPES if labels == "shape" else tuple(map(str, range(size)))
    return chosen[:, list(sizes).index(labels)], names


def _as_integers(values: npt.ArrayLike, what: str) -> npt.NDArray[np.int64]:
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "iuf" or not np.array_equal(numbers, np.floor(numbers)):
        raise VariedError(f"{what} must be a non-negative integer.")
    return numbers.astype(np.int64)


def _check_factors(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    rows = _as_integers(values, "The value of a factor")
    if rows.ndim != 2 or rows.shape[1] not in (len(FACTORS), len(COLOR_FACTORS)):
        names = ", ".join(FACTORS)
        raise VariedError(
            f"A sprite has 5 factors ({names}), or 6 with a hue; the shape of the factors must be "
            f"(N, 5) or (N, 6), got {rows.shape}."
        )
    for (name, size), column in zip(COLOR_FACTORS.items(), rows.T, strict=False):
        if len(column) and not 0 <= column.min() <= column.max() < size:
            raise VariedError(
                f"The factor '{name}' must be between 0 and {size - 1}, got values from "
                f"{column.min()} to {column.max()}."
            )
    return rows


def _stamp(images: Pixels, rows: npt.NDArray[np.int64]) -> None:
    """Draw the sprite of each row at its position in a black image."""
    shape, scale, orientation, across, down = rows[:, :5].T
    stamps = _stamps()[shape, scale, orientation][:, None]
    if rows.shape[1] > len(FACTORS):
        stamps = np.where(stamps > 0, _HUES[rows[:, 5]][:, :, None, None], np.uint8(0))
    positions = np.lib.stride_tricks.sliding_window_view(
        images, (_STAMP, _STAMP), axis=(2, 3), writeable=True
    )
    positions[np.arange(len(rows)), :, down, across] = stamps


@cache
def _stamps() -> Pixels:
    """Return each shape at each scale and orientation, with shape (3, 6, 40, 33, 33)."""
    scales = np.linspace(_SMALLEST, 1, FACTORS["scale"])
    return np.stack([np.stack([_orientations(mask, s) for s in scales]) for mask in _MASKS])


def _orientations(mask: Any, scale: float) -> Pixels:
    """Return a shape at each orientation.

    The orientations of the first quadrant are computed, and rotated by quarter turns for the other
    quadrants, so that symmetries are exact.

    Arguments:
        mask: A function that returns whether each point is inside the shape, such as `_square`.
        scale: The size of the shape, as a fraction of its maximum size.
    """
    radius = _STAMP // 2
    down, right = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    x, y = right / scale, -down / scale
    angles = 2 * np.pi * np.arange(_QUADRANT) / FACTORS["orientation"]
    first = np.stack(
        [
            mask(x * c + y * s, y * c - x * s)
            for c, s in zip(np.cos(angles), np.sin(angles), strict=True)
        ]
    )
    return (
        np.concatenate([np.rot90(first, k, axes=(1, 2)) for k in range(4)]).astype(np.uint8) * 255
    )


def _square(x: Array, y: Array) -> Mask:
    return np.asarray(np.maximum(abs(x), abs(y)) <= 10.6)


def _ellipse(x: Array, y: Array) -> Mask:
    return np.asarray((x / 15.3) ** 2 + (y / 9.3) ** 2 <= 1)


def _heart(x: Array, y: Array) -> Mask:
    """Return whether points are inside two discs or the right angle that is tangent to both."""
    radius, apart = 7.7, 0.8 * 7.7
    tip = apart + np.sqrt(2) * radius  # below the centers of the discs
    # The center of the circle through the tip and around the discs is this far below their centers.
    below = ((tip - radius) ** 2 - apart**2) / (2 * (tip - radius))
    x, y = abs(x), y - below
    discs = (x - apart) ** 2 + y**2 <= radius**2
    angle = (y >= x - tip) & (y <= np.where(x <= apart, 0.0, -radius / np.sqrt(2)))
    return np.asarray(discs | angle)


_MASKS = (_square, _ellipse, _heart)
