"""Distance to the closest record (DCR) of the generated rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from varied.evaluate._resampling import bootstrap_std
from varied.evaluate._types import Array, Bools, Floats, Ints
from varied.evaluate.estimate import Estimate
from varied.evaluate.memorization import LEVEL, PercentileTest, check_enough_rows, percentile_test
from varied.evaluate.tabular import Column, shared_columns
from varied.seeding import permutation

if TYPE_CHECKING:
    import pandas as pd

#: The number of distances in one chunk: 32 MB in float32.
CHUNK = 2**23
#: Generated rows are compared with these percentiles of the distances of held-out rows.
PERCENTILES = (1, 5)


@dataclass(frozen=True)
class DCRResult:
    """Distances of generated rows to the closest training row, compared with held-out rows.

    Arguments:
        median: The median distance of generated rows.
        median_held_out: The median distance of held-out rows.
        copies: The fraction of generated rows that equal a training row in every cell.
        copies_held_out: The fraction of held-out rows that equal a training row in every cell.
        copies_p: The p-value of Fisher's exact test for more copies among generated rows than among
            held-out rows.
        percentiles: The fractions of generated rows whose distance is below the 1st and 5th
            percentiles of the held-out distances, and the tests of these fractions.
        rows: The indices of the generated rows that were measured, int64 with shape (M).
        index: The index of the training row closest to each of these rows, int64 with shape (M).
        distance: The distance to that row, float64 with shape (M), exactly 0 for copies.
        n_generated: The number of generated rows that were measured.
        n_held_out: The number of held-out rows that were measured.
        n_train: The number of training rows to which distances were measured.
    """

    median: Estimate
    median_held_out: Estimate
    copies: Estimate
    copies_held_out: Estimate
    copies_p: float
    percentiles: tuple[PercentileTest, ...]
    rows: Ints = field(compare=False, repr=False)
    index: Ints = field(compare=False, repr=False)
    distance: Floats = field(compare=False, repr=False)
    n_generated: int
    n_held_out: int
    n_train: int

    @property
    def is_close(self) -> bool:
        """Whether generated rows are significantly closer to, or more often equal to, training
        rows than held-out rows are.
        """
        p_values = [self.copies_p, *(test.p_value for test in self.percentiles)]
        return len(p_values) * min(p_values) < LEVEL

    def __str__(self) -> str:
        tests = ", ".join(
            f"{100 * test.share.value:.1f}% below percentile {test.percentile} "
            f"(p = {test.p_value:.2g})"
            for test in self.percentiles
        )
        return (
            f"median distance to the closest training row {self.median.value:.3g} (held-out rows: "
            f"{self.median_held_out.value:.3g}); exact copies {100 * self.copies.value:.1f}% "
            f"(held-out rows: {100 * self.copies_held_out.value:.1f}%); {tests}"
        )


def distance_to_closest_record(
    generated: pd.DataFrame,
    train: pd.DataFrame,
    held_out: pd.DataFrame,
    *,
    max_rows: int = 10_000,
    max_train_rows: int = 50_000,
    resamples: int = 100,
    seed: int = 0,
) -> DCRResult:
    r"""Return the distances of generated rows to the closest training row.

    The distance is the mean over columns,

    .. math:: d(x, y) = \frac1D \sum_j d_j, \qquad d_j = \frac{|x_j - y_j|}{\max_j - \min_j}
        \quad\text{or}\quad [x_j \ne y_j]

    where the former is used for numbers and dates, relative to the range of the training rows, and
    the latter is used for categories and booleans. A missing cell has distance 0 from another
    missing cell and distance 1 from any value.

    References:
        A General Coefficient of Similarity and Some of Its Properties (Gower, 1971),
        https://doi.org/10.2307/2528823, for the distance, except that Gower ignores missing cells.
        Holdout-Based Fidelity and Privacy Assessment of Mixed-Type Synthetic Data (Platzer and
        Reutterer, 2021), https://arxiv.org/abs/2104.00635, for the comparison with held-out rows.

    Warning:
        A negative result does not prove privacy: a single leaked row among thousands does not
        change the result. Held-out rows must come from the same source and must not be used for
        training. If more than 1% of the held-out rows equal a training row, the 1st percentile
        is 0, and no generated row can be below it; in this case, compare the fractions of exact
        copies.

    Arguments:
        generated: The generated rows.
        train: The rows on which the model was trained.
        held_out: The real rows on which the model was not trained, ideally as many as there are
            generated rows.
        max_rows: The maximum number of generated rows, and of held-out rows, whose distance is
            computed.
        max_train_rows: The maximum number of training rows used to compute distances. Exact copies
            are searched for among all training rows.
        resamples: The number of bootstrap resamples for the standard errors.
        seed: The seed for sampling rows and resampling.

    Returns:
        The distances with their tests, and the training row closest to each generated row.

    Raises:
        VariedError: If the columns or their types differ, or a table has fewer than 20 rows.

    Example:
        >>> import pandas as pd
        >>> real = pd.DataFrame({"a": np.random.default_rng(0).normal(size=300)})
        >>> distance_to_closest_record(real[:100], real[:100], real[200:]).copies.value
        1.0
        >>> distance_to_closest_record(real[100:200], real[:100], real[200:]).is_close
        False
    """
    from scipy import stats

    frames = {"training": train, "held-out": held_out, "generated": generated}
    columns = shared_columns(frames)
    check_enough_rows({name: len(frame) for name, frame in frames.items()})
    limits = (max_train_rows, max_rows, max_rows)
    purposes = ("training", "held-out", "made")
    rows = [
        _subsample(len(frame), limit, seed, purpose)
        for frame, limit, purpose in zip(frames.values(), limits, purposes, strict=True)
    ]
    train_rows, held_out_rows, generated_rows = _mixed_rows(columns, rows)
    index = generated_rows.nearest(train_rows)
    distance = generated_rows.distance(train_rows, index)
    held_out_distance = held_out_rows.distance(train_rows, held_out_rows.nearest(train_rows))
    copies, copies_held_out = _is_copy(columns, 2), _is_copy(columns, 1)
    table = [[int(copied.sum()), int((~copied).sum())] for copied in (copies, copies_held_out)]
    return DCRResult(
        median=_median(distance, resamples, seed, "closest made"),
        median_held_out=_median(held_out_distance, resamples, seed, "closest held-out"),
        copies=Estimate.of(torch.from_numpy(copies)),
        copies_held_out=Estimate.of(torch.from_numpy(copies_held_out)),
        copies_p=float(stats.fisher_exact(table, alternative="greater").pvalue),
        percentiles=tuple(
            percentile_test(distance, held_out_distance, percentile, resamples, seed, "closest")
            for percentile in PERCENTILES
        ),
        rows=rows[2],
        index=rows[0][index],
        distance=distance,
        n_generated=len(distance),
        n_held_out=len(held_out_distance),
        n_train=len(rows[0]),
    )


def _subsample(n: int, limit: int, seed: int, purpose: str) -> Ints:
    rows = permutation(n, seed, f"closest {purpose}")[:limit] if n > limit else torch.arange(n)
    indices: Ints = rows.sort().values.numpy()
    return indices


def _median(distance: Floats, resamples: int, seed: int, purpose: str) -> Estimate:
    n = len(distance)
    error = bootstrap_std(lambda rows: np.median(distance[rows]), n, resamples, seed, purpose)
    return Estimate(float(np.median(distance)), error, n)


def _is_copy(columns: Sequence[Column], table: int) -> Bools:
    """Return whether each row of a table equals a row of the first table, bool with shape (N)."""
    train, rows = (np.stack([column.codes[k] for column in columns], 1) for k in (0, table))
    known = {row.tobytes() for row in train}
    return np.array([row.tobytes() in known for row in rows])


@dataclass(frozen=True)
class _MixedRows:
    """Rows of a table in the form needed for Gower's distance.

    Arguments:
        numbers: The numbers relative to the training range, NaN if missing, with shape (N, A).
        codes: The integer codes of the categories, with shape (N, B).
        incomplete: The indices of the numeric columns that have missing cells in any table.
    """

    numbers: Floats
    codes: Ints
    incomplete: Ints

    def nearest(self, train: _MixedRows) -> Ints:
        """Return the index of the training row closest to each row."""
        step, others = max(CHUNK // len(train.numbers), 1), train._tensors()
        parts = []
        for rows in zip(*(tensor.split(step) for tensor in self._tensors()), strict=True):
            distance = torch.cdist(rows[0], others[0], p=1) + torch.cdist(rows[1], others[1], p=0)
            # The codes of a number and a missing cell already differ by 1. Missing cells are 0 in
            # `numbers`, so the absolute value of the number was added, and is subtracted here.
            distance.addmm_(rows[2], others[3].T, alpha=-1)
            distance.addmm_(rows[3], others[2].T, alpha=-1)
            parts.append(distance.argmin(1))
        return torch.cat(parts).numpy()

    def _tensors(self) -> tuple[Tensor, ...]:
        """Return the tensors that `nearest` needs.

        Returns:
            The numbers, with 0 where missing; the codes, followed by a 0/1 flag for each incomplete
            column that says whether the number is missing; these flags; and the absolute values of
            the incomplete columns, with 0 where missing.
        """
        numbers = torch.from_numpy(np.nan_to_num(self.numbers)).float()
        missing = torch.from_numpy(np.isnan(self.numbers[:, self.incomplete])).float()
        codes = torch.cat([torch.from_numpy(self.codes).float(), missing], 1)
        return numbers, codes, missing, (1 - missing) * numbers[:, self.incomplete].abs()

    def distance(self, train: _MixedRows, index: Ints) -> Floats:
        """Return the distance of each row to the training row with the given index, in float64."""
        x, y = self.numbers, train.numbers[index]
        either = np.isnan(x) | np.isnan(y)
        by_number = np.where(either, np.isnan(x) != np.isnan(y), np.abs(x - y)).sum(1)
        total = by_number + (self.codes != train.codes[index]).sum(1)
        mean: Floats = total / (x.shape[1] + self.codes.shape[1])
        return mean


def _mixed_rows(columns: Sequence[Column], rows: Sequence[Ints]) -> list[_MixedRows]:
    """Return the given rows of each table; the first table contains the training rows."""
    numbers, codes = [], []
    for column in columns:
        known = column.values[0][np.isfinite(column.values[0])] if column.values else np.empty(0)
        if len(known) and np.ptp(known) > 0:
            numbers.append([(part - known.min()) / np.ptp(known) for part in column.values])
        else:  # a constant column is treated as a category
            codes.append(column.codes)

    def stack(parts: Sequence[Sequence[Array]], table: int, dtype: type) -> Array:
        selected = [part[table][rows[table]] for part in parts]
        # The reshape keeps the number of rows if there are no such columns.
        return np.array(selected, dtype).reshape(-1, len(rows[table])).T

    tables = range(len(rows))
    all_numbers = [stack(numbers, table, np.float64) for table in tables]
    incomplete = np.flatnonzero(np.any([np.isnan(part).any(0) for part in all_numbers], axis=0))
    return [_MixedRows(all_numbers[t], stack(codes, t, np.int64), incomplete) for t in tables]
