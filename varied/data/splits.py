"""Training, validation and test rows: drawn once, by a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from varied.data.raw_data import RawData
from varied.errors import VariedError
from varied.seeding import permutation

__all__ = ["Split", "split"]

Rows = npt.NDArray[np.int64]

VALIDATION_AT_MOST = 5_000
TEST_AT_MOST = 10_000


@dataclass(frozen=True)
class Split:
    """Sorted row indices of the three parts: disjoint, and together complete."""

    train: Rows
    validation: Rows
    test: Rows
    seed: int

    def __repr__(self) -> str:
        parts = f"train={len(self.train)}, validation={len(self.validation)}, test={len(self.test)}"
        return f"Split({parts}, seed={self.seed})"


def split(items: RawData, *, seed: int = 0, validation: float = 0.1, test: float = 0.1) -> Split:
    """Divide the rows into training, validation and test rows.

    The official test rows are kept where the set has them; then `test` is not read.

    Arguments:
        items: The data.
        seed: Which division is drawn; the same seed gives the same rows.
        validation: A share below 1 of the training rows (at most 5,000 rows), or a number of rows.
        test: A share below 1 of all rows (at most 10,000 rows), or a number of rows.

    Returns:
        The division; each part has at least one row.

    Raises:
        VariedError: If the parts do not leave a row to train on.

    Example:
        >>> split(RawData(np.zeros((100, 2), np.float32), "array"))
        Split(train=81, validation=9, test=10, seed=0)
    """
    n = len(items)
    order: Rows = permutation(n, seed, "split").numpy()
    if items.test is not None and len(items.test):
        held = np.sort(items.test)
        order = order[~np.isin(order, held)]
    else:
        count = _count(test, n, TEST_AT_MOST, "test")
        held, order = np.sort(order[:count]), order[count:]
    count = _count(validation, len(order), VALIDATION_AT_MOST, "validation")
    return Split(np.sort(order[count:]), np.sort(order[:count]), held, seed)


def _count(share: float, n: int, at_most: int, part: str) -> int:
    count = min(at_most, max(1, round(share * n))) if share < 1 else int(share)
    if share <= 0 or count >= n:
        raise VariedError(
            f"{part}={share:g} of {n:,} rows leaves no row for a part: "
            f"give a share between 0 and 1, or a number of rows from 1 to {max(n - 1, 1):,}."
        )
    return count
