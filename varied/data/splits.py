"""Random training, validation and test splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from varied.data.raw_data import RawData
from varied.errors import VariedError
from varied.seeding import permutation

Rows = npt.NDArray[np.int64]

#: Rows are often equal by chance if each numeric column of a table, or the whole array, has fewer
#: distinct values than this.
_MIN_DISTINCT = 20
_MAX_VALIDATION = 5_000
_MAX_TEST = 10_000


@dataclass(frozen=True)
class Split:
    """Sorted row indices of three disjoint splits: training, validation and test."""

    train: Rows
    validation: Rows
    test: Rows
    seed: int

    def __repr__(self) -> str:
        sizes = f"train={len(self.train)}, validation={len(self.validation)}, test={len(self.test)}"
        return f"Split({sizes}, seed={self.seed})"


def split(data: RawData, *, seed: int = 0, validation: float = 0.1, test: float = 0.1) -> Split:
    """Return a random split of the rows.

    Equal rows are in the same split, since a copy of a training row is not a new row; a split may
    therefore be slightly smaller than requested. Rows that consist only of categories are often
    equal by chance, and are not kept together. If the data have official test rows, these are the
    test split, and ``test`` is ignored.

    Arguments:
        data: The data.
        seed: The random seed.
        validation: The number of validation rows; or, if it is less than 1, the fraction of the
            rows that are not test rows, but at most 5,000 rows.
        test: The number of test rows; or, if it is less than 1, the fraction of all rows, but at
            most 10,000 rows.

    Raises:
        VariedError: If a split would be empty.

    Example:
        >>> split(RawData(np.zeros((100, 2), np.float32), "array"))
        Split(train=81, validation=9, test=10, seed=0)
    """
    n = len(data)
    order: Rows = permutation(n, seed, "split").numpy()
    groups = group_equal_rows(data)
    order = order[np.argsort(_first_positions(groups[order]), kind="stable")]
    if data.test is not None and len(data.test):
        test_rows = np.sort(data.test)
        order = order[~np.isin(order, test_rows)]
    else:
        n_test = _cut(groups[order], _count(test, n, _MAX_TEST, "test"))
        test_rows, order = np.sort(order[:n_test]), order[n_test:]
    n_validation = _count(validation, len(order), _MAX_VALIDATION, "validation")
    n_validation = _cut(groups[order], n_validation)
    rows = (order[n_validation:], order[:n_validation])
    return Split(np.sort(rows[0]), np.sort(rows[1]), test_rows, seed)


def group_equal_rows(data: RawData, reference: RawData | None = None) -> Rows:
    """Return the group of each row; groups are numbered in the order of their first rows.

    Equal rows are in one group. Rows that consist only of categories are often equal by chance, and
    each of them is a group of its own.

    Arguments:
        data: The data.
        reference: The data that determine whether there are only categories; by default, ``data``.
    """
    if _are_categories(data if reference is None else reference):
        return np.arange(len(data))
    if data.is_frame:
        import pandas as pd

        hashes = pd.util.hash_pandas_object(data.x, index=False)
        return np.asarray(pd.factorize(hashes)[0], dtype=np.int64)
    from pandas import factorize

    blocks = data.x.blocks() if data.is_on_disk else [data.x]
    digests = [_row_digests(block) for block in blocks]
    return np.asarray(factorize(np.concatenate(digests))[0], dtype=np.int64)


def _row_digests(x: npt.NDArray[np.generic]) -> npt.NDArray[np.uint64]:
    """Return a 64-bit digest of the bytes of each row."""
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in x)
    return np.frombuffer(b"".join(digests), np.uint64)


def _are_categories(data: RawData) -> bool:
    """Return whether each numeric column of a table, or the array, has few distinct values."""
    if data.is_frame:
        numbers = data.x.select_dtypes(["number", "datetime"])
        return not len(numbers.columns) or numbers.nunique().max() < _MIN_DISTINCT
    x = np.asarray(data.x[:1000])
    return x.dtype.kind not in "iuf" or len(np.unique(x)) < _MIN_DISTINCT


def _first_positions(groups: Rows) -> Rows:
    """Return the position of the first row of each row's group."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.asarray(first[inverse])


def _cut(groups: Rows, count: int) -> int:
    """Return the largest number of leading rows, at most ``count``, that do not split a group.

    If the first group alone has more than ``count`` rows, return ``count``.
    """
    is_boundary = groups[1 : count + 1] != groups[:count]
    boundaries = np.flatnonzero(is_boundary) + 1
    return int(boundaries[-1]) if len(boundaries) else count


def _count(fraction: float, n: int, limit: int, name: str) -> int:
    count = 0
    if fraction > 0:
        count = min(limit, max(1, round(fraction * n))) if fraction < 1 else int(fraction)
    if not 0 < count < n:
        raise VariedError(
            f"{name}={fraction:g} leaves a split of the {n:,} rows empty; use a fraction between "
            f"0 and 1, or a number of rows between 1 and {max(n - 1, 1):,}."
        )
    return count
