"""Sprites: one white shape on black, drawn from factors that are known, and that span a grid."""

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

__all__ = [
    "COLOUR_FACTORS",
    "COLOUR_ROWS",
    "FACTORS",
    "ROWS",
    "SHAPES",
    "count",
    "draw",
    "factors",
    "sprites",
]

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]
Inside = npt.NDArray[np.bool_]

SHAPES = ("square", "ellipse", "heart")

#: The factors in the order of their columns, with how many values each has.
FACTORS: Mapping[str, int] = MappingProxyType(
    {"shape": 3, "scale": 6, "orientation": 40, "across": 32, "down": 32}
)
COLOUR_FACTORS: Mapping[str, int] = MappingProxyType({**FACTORS, "hue": 6})

#: How many rows the sets with a name have: all of them would be 2.8 and 50.6 GiB.
ROWS, COLOUR_ROWS = 50_000, 20_000

SIDE = 64
STAMP = 33  # pixels of the square that any one shape turns in: 64 - 33 + 1 gives 32 places
QUADRANT = FACTORS["orientation"] // 4
SMALLEST = 0.5
CHUNK = 4096

#: Red, yellow, green, cyan, blue, magenta, softened so that none is a corner of the color cube.
HUES = np.array(
    [(240, 80, 80), (240, 240, 80), (80, 240, 80), (80, 240, 240), (80, 80, 240), (240, 80, 240)],
    np.uint8,
)


def count(*, color: bool = False) -> int:
    """Return how many different settings of the factors there are.

    Example:
        >>> count(), count(color=True)
        (737280, 4423680)
    """
    return int(np.prod(list(_table(color).values())))


def factors(index: npt.ArrayLike, *, color: bool = False) -> npt.NDArray[np.int64]:
    """Return the factors of settings by their number; the last factor turns fastest.

    Arguments:
        index: Numbers from 0 to `count() - 1`, with shape (N).
        color: Whether hue is a factor too.

    Returns:
        The value of each factor, from 0 up, with shape (N, 5), or (N, 6) in color.

    Raises:
        VariedError: If a number is out of range.

    Example:
        >>> factors([0, 1, 737279]).tolist()
        [[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [2, 5, 39, 31, 31]]
    """
    rows = _whole(index, "The number of a sprite")
    last = count(color=color) - 1
    if rows.ndim != 1 or (len(rows) and not 0 <= rows.min() <= rows.max() <= last):
        raise VariedError(f"Sprites are numbered from 0 to {last:,}: give a row of such numbers.")
    columns = np.unravel_index(rows, tuple(_table(color).values()))
    return np.stack(columns, axis=1).astype(np.int64)


def draw(factors: npt.ArrayLike) -> Pixels:
    r"""Return the pictures of factors: 0 and 255 without smoothing, in hue where that is given.

    A shape is a square, an ellipse or a heart, of 0.5 to 1 times its largest size, turned by
    :math:`2 \pi k / 40` against the clock, with its center on one of 32 by 32 neighboring pixels
    (`across` from the left, `down` from the top). None touches the border. A square that is
    turned by a quarter, and an ellipse by a half, is the same picture: so many settings share one.

    References:
        dSprites: Disentanglement testing Sprites dataset (Matthey et al., 2017),
        https://github.com/google-deepmind/dsprites-dataset: the idea and the sizes of the
        factors. These pictures are drawn anew, and figures on the two sets do not compare.

    Arguments:
        factors: The value of each of `FACTORS`, with shape (N, 5), or of `COLOUR_FACTORS`,
            with shape (N, 6).

    Returns:
        uint8 with shape (N, 64, 64), or (N, 3, 64, 64) where there is a hue.

    Raises:
        VariedError: If a factor is out of range.

    Example:
        >>> draw([[0, 5, 0, 16, 16]]).shape, draw([[0, 5, 0, 16, 16, 2]]).shape
        ((1, 64, 64), (1, 3, 64, 64))
    """
    rows = _checked(factors)
    color = rows.shape[1] == len(COLOUR_FACTORS)
    channels = 3 if color else 1
    check_memory(len(rows) * channels * SIDE**2, f"{len(rows):,} sprites", "draw fewer at once")
    drawn = np.zeros((len(rows), channels, SIDE, SIDE), np.uint8)
    for start in range(0, len(rows), CHUNK):
        _stamp(drawn[start : start + CHUNK], rows[start : start + CHUNK])
    return drawn if color else drawn[:, 0]


def sprites(
    rows: int | None = None, labels: Any = None, *, color: bool = False, seed: int = 0
) -> RawData:
    """Return a random part of all sprites as items, no setting twice.

    Arguments:
        rows: How many; 50,000, or 20,000 in color, if None.
        labels: The name of one factor, whose values are then classes; or a label for each row;
            the values of all factors as numbers, with shape (N, 5) or (N, 6), if None.
        color: Whether hue is a factor too.
        seed: Which part is drawn.

    Raises:
        VariedError: If there are not so many, or no factor has that name.

    Example:
        >>> sprites(100), sprites(100, labels="shape").classes
        (RawData(100 pictures, 64x64), ('square', 'ellipse', 'heart'))
    """
    table, total = _table(color), count(color=color)
    rows = (COLOUR_ROWS if color else ROWS) if rows is None else rows
    if not 1 <= rows <= total:
        raise VariedError(f"rows={rows:,} is not between 1 and {total:,}, which is all there are.")
    chosen = factors(permutation(total, seed, "sprites")[:rows].numpy(), color=color)
    drawn = draw(chosen)
    numbers, classes = _labels(chosen, table, labels)
    # Pictures have their colors last; a view will do.
    x = np.moveaxis(drawn, 1, -1) if color else drawn
    sizes = ", ".join(f"{name} ({size})" for name, size in table.items())
    part = f"{rows:,} of {total:,} sprites, chosen once by seed {seed}; the factors: {sizes}."
    return RawData(x, "image", numbers, classes, notes=(part,))


def _table(color: bool) -> Mapping[str, int]:
    return COLOUR_FACTORS if color else FACTORS


def _labels(
    chosen: npt.NDArray[np.int64], table: Mapping[str, int], labels: Any
) -> tuple[Array, tuple[str, ...]]:
    if labels is None:
        return chosen.astype(np.float32), ()
    if not isinstance(labels, str):
        return parse_labels(labels, len(chosen))
    size = lookup(table, labels, "factor")
    names = SHAPES if labels == "shape" else tuple(str(value) for value in range(size))
    return chosen[:, list(table).index(labels)], names


def _whole(values: npt.ArrayLike, what: str) -> npt.NDArray[np.int64]:
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "iuf" or not np.array_equal(numbers, np.floor(numbers)):
        raise VariedError(f"{what} is whole: give integers, from 0 up.")
    return numbers.astype(np.int64)


def _checked(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    rows = _whole(values, "The value of a factor")
    if rows.ndim != 2 or rows.shape[1] not in (len(FACTORS), len(COLOUR_FACTORS)):
        names = ", ".join(FACTORS)
        raise VariedError(
            f"A sprite has 5 factors ({names}), or 6 with a hue: give shape (N, 5) or (N, 6), "
            f"not {rows.shape}."
        )
    for name, size, column in zip(COLOUR_FACTORS, COLOUR_FACTORS.values(), rows.T, strict=False):
        if len(column) and not 0 <= column.min() <= column.max() < size:
            raise VariedError(
                f"The factor '{name}' goes from 0 to {size - 1}, and {column.min()} to "
                f"{column.max()} were given."
            )
    return rows


def _stamp(drawn: Pixels, rows: npt.NDArray[np.int64]) -> None:
    """Lay the stamp of each row onto its place in a black picture."""
    shape, scale, orientation, across, down = rows[:, :5].T
    stamps = _stamps()[shape, scale, orientation][:, None]
    if rows.shape[1] > len(FACTORS):
        stamps = np.where(stamps > 0, HUES[rows[:, 5]][:, :, None, None], np.uint8(0))
    places = np.lib.stride_tricks.sliding_window_view(
        drawn, (STAMP, STAMP), axis=(2, 3), writeable=True
    )
    places[np.arange(len(rows)), :, down, across] = stamps


@cache
def _stamps() -> Pixels:
    """Return every shape at every scale and orientation, with shape (3, 6, 40, 33, 33)."""
    scales = np.linspace(SMALLEST, 1, FACTORS["scale"])
    return np.stack([np.stack([_turned(inside, s) for s in scales]) for inside in INSIDE])


def _turned(inside: Any, scale: float) -> Pixels:
    """Return a shape at each orientation.

    One quadrant is computed and the others are turned by whole quarters, so that symmetries are
    exact, and no rounding makes a quarter turn of a square another picture.
    """
    radius = STAMP // 2
    down, right = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    x, y = right / scale, -down / scale
    angles = 2 * np.pi * np.arange(QUADRANT) / FACTORS["orientation"]
    first = np.stack(
        [
            inside(x * c + y * s, y * c - x * s)
            for c, s in zip(np.cos(angles), np.sin(angles), strict=True)
        ]
    )
    return (
        np.concatenate([np.rot90(first, k, axes=(1, 2)) for k in range(4)]).astype(np.uint8) * 255
    )


def _square(x: Array, y: Array) -> Inside:
    return np.asarray(np.maximum(abs(x), abs(y)) <= 10.6)


def _ellipse(x: Array, y: Array) -> Inside:
    return np.asarray((x / 15.3) ** 2 + (y / 9.3) ** 2 <= 1)


def _heart(x: Array, y: Array) -> Inside:
    """Two discs and the right angle that touches both, about the center of all."""
    radius, apart = 7.7, 0.8 * 7.7
    tip = apart + np.sqrt(2) * radius  # below the centers of the discs
    # The circle through the tip and around both discs has its center this far below theirs.
    below = ((tip - radius) ** 2 - apart**2) / (2 * (tip - radius))
    x, y = abs(x), y - below
    discs = (x - apart) ** 2 + y**2 <= radius**2
    angle = (y >= x - tip) & (y <= np.where(x <= apart, 0.0, -radius / np.sqrt(2)))
    return np.asarray(discs | angle)


INSIDE = (_square, _ellipse, _heart)
