"""Codes beside factors: checked, split into rows for training and testing, and resampled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.errors import VariedError
from varied.seeding import generator, permutation

__all__ = [
    "Array",
    "CodesAndFactors",
    "Floats",
    "Whole",
    "check_factor_varies",
    "check_two_factors",
    "checked",
    "pair",
    "resampling_std",
    "split",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


class CodesAndFactors(NamedTuple):
    """Codes, and factors as classes.

    Arguments:
        codes: With shape (N, D).
        known: The class of each factor, from 0 up, with shape (N, F).
        values: How many classes each factor has.
    """

    codes: Floats
    known: Whole
    values: tuple[int, ...]

    def take(self, rows: Whole) -> CodesAndFactors:
        """Return some of the rows."""
        return CodesAndFactors(self.codes[rows], self.known[rows], self.values)


def pair(codes: Tensor | Array, factors: Tensor | Array) -> CodesAndFactors:
    """Return both, checked, with each factor's values numbered from 0 up.

    Raises:
        VariedError: If the shapes do not fit, a number is not finite, or a factor has one value,
            or nearly as many as there are rows.
    """
    z, v = checked(codes, factors)
    columns = [np.unique(column, return_inverse=True) for column in v.T]
    for index, (values, _) in enumerate(columns):
        _few(index, len(values), len(v))
    known = np.stack([inverse.reshape(-1) for _, inverse in columns], axis=1)
    return CodesAndFactors(z, known, tuple(len(values) for values, _ in columns))


def checked(codes: Tensor | Array, factors: Tensor | Array) -> tuple[Floats, Floats]:
    """Return both as tables of finite float64 with as many rows as each other."""
    z, v = _table(codes, "codes"), _table(factors, "factors")
    if len(z) != len(v):
        raise VariedError(
            f"There are {len(z):,} codes and {len(v):,} rows of factors: give one for each."
        )
    return z, v


def check_two_factors(table: CodesAndFactors, what: str) -> None:
    """Refuse a single factor, which cannot be mistaken for another."""
    if len(table.values) < 2:
        raise VariedError(f"With one factor there is no {what}: give two or more.")


def split(n: int, shares: Sequence[int], seed: int, purpose: str, most: int) -> list[Whole]:
    """Return distinct rows in random order, `most` at most, in parts of these shares.

    Raises:
        VariedError: If a part would have no row.
    """
    if n < sum(shares):
        raise VariedError(f"{n} rows are too few to train and to test on: give 50 at least.")
    rows = permutation(n, seed, purpose)[:most].numpy()
    ends = np.cumsum(shares) * len(rows) // sum(shares)
    return np.split(rows, ends[:-1])


def check_factor_varies(table: CodesAndFactors, *parts: Whole) -> None:
    """Refuse a factor that has one value alone in some part of the rows."""
    for index, known in enumerate(table.known.T):
        if min(len(np.unique(known[rows])) for rows in parts) < 2:
            raise VariedError(
                f"Factor {index} hardly varies in {len(known):,} rows: give more, or leave it out."
            )


def resampling_std(
    measure: Callable[[Whole], float],
    n: int,
    *,
    resamples: int,
    seed: int,
    purpose: str,
    most: int,
) -> float:
    """Return the standard error of a measure of n rows, by the bootstrap; NaN without resamples.

    Arguments:
        measure: From row numbers, with repeats, to the figure.
        n: How many rows there are.
        resamples: How many resamples.
        seed: Which resamples.
        purpose: What they are for.
        most: Rows of one resample at most: the spread of more rows follows from theirs.
    """
    taken, drawn = min(n, most), []
    for index in range(resamples):
        rows = torch.randint(n, (taken,), generator=generator(seed, purpose, index)).numpy()
        drawn.append(measure(rows))
    found = float(np.std(drawn, ddof=1)) if resamples > 1 else math.nan
    return found * math.sqrt(taken / n)


def _table(given: Tensor | Array, what: str) -> Floats:
    rows = given.detach().cpu() if isinstance(given, Tensor) else given
    table = np.asarray(rows, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise VariedError(
            f"The {what} have shape {table.shape}: give a table, a row for each datum."
        )
    if not np.isfinite(table).all():
        raise VariedError(f"The {what} hold NaN or infinity: leave those rows out.")
    return table


def _few(index: int, values: int, n: int) -> None:
    if values < 2:
        raise VariedError(f"Factor {index} has one value, so nothing tells it: leave it out.")
    if values > max(n / 5, 2):
        raise VariedError(
            f"Factor {index} has {values:,} values in {n:,} rows, too many to count: "
            "give more rows, or round it to fewer values."
        )
