"""Validation and random splits of codes and the true factors of the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from varied.errors import VariedError
from varied.evaluate._checks import as_table, check_same_length
from varied.evaluate._types import Data, Floats, Ints
from varied.seeding import permutation


class LabeledCodes(NamedTuple):
    """Codes and factors, with the values of each factor encoded as class indices.

    Arguments:
        codes: The codes, with shape (N, D).
        factors: The class of each factor, numbered from 0, with shape (N, F).
        n_classes: The number of classes of each factor.
    """

    codes: Floats
    factors: Ints
    n_classes: tuple[int, ...]

    def take(self, rows: Ints) -> LabeledCodes:
        """Return the selected rows."""
        return LabeledCodes(self.codes[rows], self.factors[rows], self.n_classes)


def labeled_codes(codes: Data, factors: Data) -> LabeledCodes:
    """Return validated codes, and factors whose values are numbered from 0.

    Raises:
        VariedError: If the shapes do not match, a value is not finite, or a factor is constant, or
            has more than two values but fewer than five rows per value on average.
    """
    z, v = numeric_tables(codes, factors)
    columns = [np.unique(column, return_inverse=True) for column in v.T]
    for index, (values, _) in enumerate(columns):
        _check_number_of_values(index, len(values), len(v))
    classes = np.stack([inverse.reshape(-1) for _, inverse in columns], axis=1)
    return LabeledCodes(z, classes, tuple(len(values) for values, _ in columns))


def numeric_tables(codes: Data, factors: Data) -> tuple[Floats, Floats]:
    """Return codes and factors as finite float64 tables with the same number of rows."""
    z, v = as_table(codes, "codes").numpy(), as_table(factors, "factors").numpy()
    check_same_length(z, v, ("codes", "rows of factors"))
    return z, v


def _check_number_of_values(index: int, n_values: int, n: int) -> None:
    if n_values < 2:
        raise VariedError(f"Factor {index} is constant; omit it.")
    if n_values > max(n / 5, 2):
        raise VariedError(
            f"Factor {index} has {n_values:,} distinct values in {n:,} rows, which is too many; "
            "use more rows, or round the factor to fewer values."
        )


def check_two_factors(factors: Ints, metric: str) -> None:
    """Raise VariedError if there is only one factor."""
    if factors.shape[1] < 2:
        raise VariedError(
            f"{metric} requires at least two factors; for one factor, use `mig`, `sap` or "
            "`explicitness`."
        )


def check_factors_vary(table: LabeledCodes, *parts: Ints) -> None:
    """Raise VariedError if a factor is constant in one of the given sets of rows."""
    for index, classes in enumerate(table.factors.T):
        if min(len(np.unique(classes[rows])) for rows in parts) < 2:
            raise VariedError(
                f"Factor {index} hardly varies in {len(classes):,} rows; use more rows, or omit it."
            )


def random_split(
    n: int, proportions: Sequence[int], seed: int, purpose: str, max_rows: int
) -> list[Ints]:
    """Split at most ``max_rows`` random rows into disjoint subsets with the given proportions.

    Raises:
        VariedError: If there are fewer rows than the sum of the proportions.
    """
    total = sum(proportions)
    if n < total:
        raise VariedError(f"{n} rows are too few for training and testing; use at least 50.")
    rows = permutation(n, seed, purpose)[:max_rows].numpy()
    ends = np.cumsum(proportions) * len(rows) // total
    return np.split(rows, ends[:-1])


def standardize(codes: Floats, rows: Ints) -> Floats:
    """Return codes standardized with the mean and standard deviation of the given rows."""
    mean, std = codes[rows].mean(0), codes[rows].std(0)
    return np.asarray((codes - mean) / np.where(std > 0, std, 1.0))
