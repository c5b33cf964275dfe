"""Distances between all rows of two tables, in chunks that fit in memory, and nearest rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.errors import VariedError

__all__ = ["ROUNDING", "nearest", "pair", "squares", "to_nearest"]

Array = npt.NDArray[Any]

#: Distances of one chunk: 64 MB in float64.
CHUNK = 2**23

#: What rounding may do to a squared distance, in parts of the squared lengths of its two rows.
ROUNDING = 1e-12


def nearest(made: Tensor | Array, training: Tensor | Array) -> tuple[Tensor, Tensor]:
    """Return which training row is nearest to each made row, and how far it is.

    Arguments:
        made: Rows with shape (M, D), or of any shape (M, ...), which is flattened.
        training: Rows with shape (N, D), or (N, ...).

    Returns:
        The index of the nearest row, int64 with shape (M), one of them where several are as near;
        and its Euclidean distance, float64 with shape (M), exactly 0 for a copy.

    Raises:
        VariedError: If the shapes do not fit, or a number is not finite.

    Example:
        >>> rows = torch.tensor([[9.0, 9.0], [0.0, 0.0]])
        >>> index, distance = nearest(torch.tensor([[3.0, 4.0]]), rows)
        >>> index.item(), distance.item()
        (1, 5.0)
    """
    return to_nearest(*pair(made, training, ("made", "training")))


def to_nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index of the row of `b` that is nearest to each row of `a`, and the distance."""
    index = torch.cat([chunk.argmin(1) for _, chunk in squares(a, b)])
    # Squares of differences, unlike differences of squares, are exactly 0 for rows that are equal.
    parts = zip(a.split(1000), index.split(1000), strict=True)
    return index, torch.cat([(some - b[near]).norm(dim=1) for some, near in parts])


def squares(a: Tensor, b: Tensor, slack: float = 0.0) -> Iterator[tuple[int, Tensor]]:
    """Yield a start, and the squared distances from the rows of a chunk of `a` to all of `b`.

    Arguments:
        a: Rows with shape (M, D), in float64.
        b: Rows with shape (N, D), in float64.
        slack: What is taken off each, in parts of the squared lengths of its two rows.
    """
    # From the middle of the data, no digits are lost to where the data lie.
    middle = b.median(0).values
    a, b = a - middle, b - middle
    long_a, long_b = a.square().sum(1), b.square().sum(1)
    step = max(CHUNK // len(b), 1)
    for start in range(0, len(a), step):
        some = slice(start, start + step)
        lengths = (1 - slack) * (long_a[some, None] + long_b)
        yield start, torch.addmm(lengths, a[some], b.T, alpha=-2)


def pair(a: Tensor | Array, b: Tensor | Array, names: tuple[str, str]) -> tuple[Tensor, Tensor]:
    """Return two tables in float64, with shapes (M, D) and (N, D); the names are for complaints."""
    first, second = _rows(a, names[0]), _rows(b, names[1])
    if first.shape[1] != second.shape[1]:
        raise VariedError(
            f"The {names[0]} rows have {first.shape[1]} columns and the {names[1]} rows "
            f"{second.shape[1]}: take the features of both by one net."
        )
    return first, second


def _rows(given: Tensor | Array, name: str) -> Tensor:
    if isinstance(given, Tensor):
        rows = given.detach().cpu()
    else:
        rows = torch.from_numpy(np.require(given, requirements=("C", "W")))
    if rows.ndim < 2 or not rows.numel():
        raise VariedError(
            f"The {name} rows have shape {tuple(rows.shape)}: give (N, D), a row for each."
        )
    rows = rows.double().flatten(1)
    if not rows.isfinite().all():
        raise VariedError(f"The {name} rows hold NaN or infinity: leave those rows out.")
    return rows
