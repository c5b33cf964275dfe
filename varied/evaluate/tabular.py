"""How alike two tables are, real rows and made rows: by column and by pair of columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from varied.errors import VariedError
from varied.evaluate.estimate import Estimate
from varied.seeding import generator

__all__ = [
    *("Column", "Pairs", "Shape", "Shapes"),
    *("column_shapes", "columns_of", "pair_trends", "spread_of"),
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Kind = Literal["number", "date", "category", "boolean"]
Rows = Ints | slice
Again = list[tuple[Ints, Ints]]

#: Into how many intervals a number is cut where it meets a category.
BINS = 10

#: Cells of a contingency table that are counted one by one; of a larger one, those that occur.
CELLS = 2**18

#: The smallest number that divides others without loss.
TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Shape:
    """One column: its score, 1 where alike, and the share of its cells that are missing."""

    name: str
    kind: Kind
    score: Estimate
    missing_real: float
    missing_made: float


@dataclass(frozen=True)
class Shapes:
    """How alike each column is by itself, and the mean over the columns."""

    columns: tuple[Shape, ...]
    mean: Estimate
    n_real: int
    n_made: int

    @property
    def scores(self) -> dict[str, float]:
        """The score of each column by its name."""
        return {one.name: one.score.value for one in self.columns}

    def __str__(self) -> str:
        known = [one for one in self.columns if math.isfinite(one.score.value)]
        low = sorted(known, key=lambda one: one.score.value)[:3]
        worst = ", ".join(f"{one.name} {one.score.value:.2f}" for one in low)
        rows = f"{self.n_made:,} made rows against {self.n_real:,} real ones"
        return f"column shapes {self.mean} (least alike: {worst or 'none'}; {rows})"


@dataclass(frozen=True)
class Pairs:
    """How alike each pair of columns is, and the mean over the pairs.

    Arguments:
        names: The columns.
        mean: The mean score of the pairs.
        scores: The score of each pair, float64 with shape (D, D); NaN on the diagonal.
        real: How strong each pair hangs together in the real rows, float64 with shape (D, D):
            Pearson's r in [-1, 1] for two numbers, else Cramér's V in [0, 1].
        made: The same of the made rows.
        n_real: How many real rows.
        n_made: How many made rows.
    """

    names: tuple[str, ...]
    mean: Estimate
    scores: Floats = field(compare=False, repr=False)
    real: Floats = field(compare=False, repr=False)
    made: Floats = field(compare=False, repr=False)
    n_real: int
    n_made: int

    def __str__(self) -> str:
        pairs = combinations(range(len(self.names)), 2)
        known = [(self.scores[i, j], i, j) for i, j in pairs if np.isfinite(self.scores[i, j])]
        low = [f"{self.names[i]} and {self.names[j]} {s:.2f}" for s, i, j in sorted(known)[:2]]
        rows = f"{self.n_made:,} made rows against {self.n_real:,} real ones"
        return f"pair trends {self.mean} (least alike: {', '.join(low) or 'none'}; {rows})"


def column_shapes(
    real: pd.DataFrame, made: pd.DataFrame, *, resamples: int = 50, seed: int = 0
) -> Shapes:
    r"""Return how alike each column is by itself, from 0 to 1, whatever the others are.

    Numbers and dates by the largest gap of their distribution functions (Kolmogorov and Smirnov),
    categories and booleans by total variation; both of the observed cells alone.

    .. math:: 1 - \max_x |F_{real}(x) - F_{made}(x)|, \qquad
        1 - \tfrac12 \sum_k |p_{real}(k) - p_{made}(k)|

    References:
        SDMetrics, KSComplement and TVComplement, the "Column Shapes" of its quality report,
        https://docs.sdv.dev/sdmetrics/metrics/quality-metrics/kscomplement: the same figures, but
        for a column of which only one table has any cell, which is left out there and 0 here.

    Warning:
        A table whose columns were each shuffled by itself scores 1: see `pair_trends`. Few rows
        score below 1 though they are real, categories with many values most of all: hold the
        figure against that of held-out real rows, as many as were made.

    Arguments:
        real: Real rows.
        made: Made rows, with the same columns in any order.
        resamples: Bootstrap resamples of the rows for the standard errors.
        seed: Which resamples.

    Returns:
        The score of each column, the mean, and the shares of missing cells.

    Raises:
        VariedError: If the columns or their kinds differ, or a table is empty.

    Example:
        >>> real = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": ["x", "x", "y", None]})
        >>> made = pd.DataFrame({"a": [1.0, 2.0, 3.0, 9.0], "b": ["x", "z", "y", "y"]})
        >>> {name: round(score, 2) for name, score in column_shapes(real, made).scores.items()}
        {'a': 0.75, 'b': 0.58}
    """
    columns = columns_of((real, made), ("real", "made"))

    def score(one: Column, r: Rows = slice(None), m: Rows = slice(None)) -> float:
        return 1 - _gap(one.codes[0][r], one.codes[1][m], ordered=bool(one.values))

    scores = np.array([score(one) for one in columns])
    again = _again(len(real), len(made), resamples, seed)
    drawn = np.array([[score(one, r, m) for one in columns] for r, m in again])
    errors = [
        spread_of(drawn[:, index]) if len(drawn) else math.nan for index in range(len(columns))
    ]
    shapes = tuple(
        Shape(one.name, one.kind, Estimate(float(score), error, len(made)), *one.missing)
        for one, score, error in zip(columns, scores, errors, strict=True)
    )
    mean = Estimate(_mean(scores), spread_of([_mean(row) for row in drawn]), len(made))
    return Shapes(shapes, mean, len(real), len(made))


def pair_trends(
    real: pd.DataFrame,
    made: pd.DataFrame,
    *,
    cut: Literal["quantiles", "range"] = "quantiles",
    resamples: int = 20,
    seed: int = 0,
) -> Pairs:
    r"""Return how alike each pair of columns hangs together, from 0 to 1.

    Two numbers, or dates, by Pearson's r of the rows where both are observed; any other pair by the
    total variation of its contingency tables, in which a missing cell is a value of its own and a
    number is cut in 10.

    .. math:: 1 - \tfrac12 |r_{real} - r_{made}|, \qquad
        1 - \tfrac12 \sum_{k, l} |p_{real}(k, l) - p_{made}(k, l)|

    The cuts are the deciles of the real column, and a value that holds two deciles or more stands
    alone: ten equal parts of the range would put nearly all incomes, prices or gains in the first
    part, and find any two tables alike.

    References:
        SDMetrics, CorrelationSimilarity and ContingencySimilarity,
        https://docs.sdv.dev/sdmetrics/metrics/quality-metrics/contingencysimilarity: the same with
        `cut="range"`, but that a column of one value has r = 0 here, where SDMetrics leaves its
        pairs out of the mean. SDMetrics' quality report cuts each table by its own range.

    Warning:
        Most pairs of a table hang together loosely, so even rows with every column shuffled score
        high: hold the mean against that figure, and look at the pairs. Pearson's r sees straight
        lines alone, and follows a few far values.

    Arguments:
        real: Real rows.
        made: Made rows, with the same columns in any order.
        cut: Where numbers are cut: by the real column's deciles, or in equal parts of its range.
        resamples: Bootstrap resamples of the rows for the standard error of the mean.
        seed: Which resamples.

    Returns:
        The scores, the mean, and how strong each pair hangs together in either table.

    Raises:
        VariedError: If the columns or their kinds differ, a table is empty, or has one column.

    Example:
        >>> real = pd.DataFrame({"a": ["x", "y"] * 4, "b": [0.0, 1.0] * 4, "c": [0.0, 2.0] * 4})
        >>> made = real.assign(c=2 - real["c"])
        >>> scores = pair_trends(real, made).scores.round(2)
        >>> float(scores[0, 1]), float(scores[1, 2])
        (1.0, 0.0)
    """
    columns = columns_of((real, made), ("real", "made"))
    if len(columns) < 2:
        raise VariedError("One column alone makes no pair: give tables with two columns at least.")
    cells = [_cells(one, cut) for one in columns]
    scores, of_real, of_made = np.full((3, len(columns), len(columns)), math.nan)
    again = _again(len(real), len(made), resamples, seed)
    drawn = []
    for i, j in combinations(range(len(columns)), 2):
        if columns[i].values and columns[j].values:
            pair = _line(columns[i], columns[j], again)
        else:
            pair = _table(cells[i], cells[j], again)
        of_real[i, j], of_made[i, j], scores[i, j] = pair[:3]
        drawn.append(pair[3])
    for matrix in (scores, of_real, of_made):
        matrix.T[np.triu_indices(len(columns), 1)] = matrix[np.triu_indices(len(columns), 1)]
    mean = _mean(scores[np.triu_indices(len(columns), 1)])
    spread = spread_of([_mean(row) for row in np.array(drawn).T])
    names = tuple(one.name for one in columns)
    estimate = Estimate(mean, spread, len(made))
    return Pairs(names, estimate, scores, of_real, of_made, len(real), len(made))


@dataclass(frozen=True)
class Column:
    """One column of several tables: codes common to all, -1 for missing; numbers as they are."""

    name: str
    kind: Kind
    codes: list[Ints]
    values: list[Floats]

    @property
    def missing(self) -> tuple[float, float]:
        """The shares of missing cells in the first two tables."""
        return float((self.codes[0] < 0).mean()), float((self.codes[1] < 0).mean())


def columns_of(frames: Sequence[pd.DataFrame], names: Sequence[str]) -> list[Column]:
    """Return the columns in the order of the first table, or say which of them do not fit."""
    first, mixed = frames[0], []
    for frame, name in zip(frames, names, strict=True):
        twice = list(frame.columns[frame.columns.duplicated()])
        if frame.empty or twice:
            what = f"more than one column named {_listed(twice)}" if twice else "no cells"
            raise VariedError(f"The {name} table has {what}: give rows, and each column one name.")
        differ = [one for one in [*first, *frame] if (one in first) != (one in frame)]
        if differ:
            raise VariedError(
                f"The {names[0]} and the {name} table do not both have {_listed(differ)}: give "
                "both the same columns."
            )
        kinds = [(one, _kind(first[one]), _kind(frame[one])) for one in first]
        mixed += [f"{one} ({a} and {b})" for one, a, b in kinds if a != b]
    if mixed:
        raise VariedError(
            f"The tables hold different kinds of values in {_listed(mixed)}: cast the columns of "
            "one to the dtypes of the other."
        )
    return [_column(str(one), [frame[one] for frame in frames]) for one in first]


def _listed(names: Sequence[Any]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(map(str, names[:8])) + more


def _kind(column: pd.Series) -> Kind:
    if pd.api.types.is_bool_dtype(column.dtype):
        return "boolean"
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return "date"
    return "number" if pd.api.types.is_numeric_dtype(column.dtype) else "category"


def _column(name: str, parts: Sequence[pd.Series]) -> Column:
    kind, ends = _kind(parts[0]), np.cumsum([len(part) for part in parts])[:-1]
    values: list[Floats] = []
    if kind == "number":
        values = [part.to_numpy("float64", na_value=math.nan) for part in parts]
        values = [np.where(np.isfinite(part), part, math.nan) for part in values]
    elif kind == "date":
        stamps = [part.to_numpy("datetime64[ns]") for part in parts]
        values = [np.where(np.isnat(s), math.nan, s.astype("int64") / 1e9) for s in stamps]
    whole = np.concatenate(values) if values else pd.concat(list(parts), ignore_index=True)
    codes = pd.factorize(whole, sort=bool(values))[0].astype(np.int64)
    return Column(name, kind, np.split(codes, ends), values)


def _gap(real: Ints, made: Ints, *, ordered: bool) -> float:
    """Return how far apart two samples of codes are, in [0, 1]; NaN where neither has any."""
    real, made = real[real >= 0], made[made >= 0]
    if not len(real) or not len(made):
        return 1.0 if len(real) or len(made) else math.nan
    size = int(max(real.max(), made.max())) + 1
    counts = [np.bincount(part, minlength=size) for part in (real, made)]
    if ordered:
        below = [part.cumsum() for part in counts]
        return float(np.abs(below[0] / len(real) - below[1] / len(made)).max())
    # Shares add up to 1 but for rounding, which must not take a score below 0.
    return min(float(np.abs(counts[0] / len(real) - counts[1] / len(made)).sum()) / 2, 1.0)


def _again(n: int, m: int, resamples: int, seed: int) -> list[tuple[Ints, Ints]]:
    """Return rows of either table, drawn with repeats, so many times."""
    drawn = []
    for index in range(resamples):
        noise = generator(seed, "tables", index)
        real, made = (torch.randint(size, (size,), generator=noise).numpy() for size in (n, m))
        drawn.append((real, made))
    return drawn


def _mean(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def spread_of(drawn: Sequence[float] | Array) -> float:
    """Return the standard deviation of what resamples gave; NaN of fewer than two."""
    return float(np.std(drawn, ddof=1)) if len(drawn) > 1 else math.nan


def _cells(column: Column, cut: str) -> list[Ints]:
    """Return the code of each cell in a contingency table; 0 is for missing ones."""
    if not column.values:
        return [codes + 1 for codes in column.codes]
    real = column.values[0][np.isfinite(column.values[0])]
    edges = np.empty(0)
    if len(real) and cut == "range":
        # A value on an edge belongs above it, as in SDMetrics; elsewhere below it.
        edges = np.nextafter(np.histogram_bin_edges(real, BINS)[1:-1], -math.inf)
    elif len(real):
        deciles = np.quantile(real, np.arange(1, BINS) / BINS, method="inverted_cdf")
        edges, times = np.unique(deciles, return_counts=True)
        # A value that is many deciles has an edge just below it, too, and so stands alone.
        edges = np.union1d(edges, np.nextafter(edges[times > 1], -math.inf))
    return [np.where(np.isnan(v), 0, np.searchsorted(edges, v) + 1) for v in column.values]


def _crossed(first: list[Ints], second: list[Ints]) -> list[Ints]:
    """Return the code of each row's pair of cells."""
    width = 1 + max(int(part.max()) for part in second)
    joint = [a * width + b for a, b in zip(first, second, strict=True)]
    if width * (1 + max(int(part.max()) for part in first)) <= CELLS:
        return joint
    return np.split(pd.factorize(np.concatenate(joint))[0].astype(np.int64), [len(joint[0])])


def _pearson(x: Floats, y: Floats) -> float:
    """Return r of the rows that have both; 0 where one is constant, NaN where there are no two."""
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 2:
        return math.nan
    # r knows no units; in these, squares of huge numbers are numbers too.
    x, y = (one[both] / max(np.abs(one[both]).max(), TINY) for one in (x, y))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip(x @ y / math.sqrt(x @ x) / math.sqrt(y @ y), -1, 1))


def _cramer(a: Ints, b: Ints) -> float:
    """Return Cramér's V of two columns of codes; 0 where one is constant."""
    rows, columns = np.bincount(a), np.bincount(b)
    least = int(min((rows > 0).sum(), (columns > 0).sum())) - 1
    cells, times = np.unique(a * len(columns) + b, return_counts=True)
    of_row, of_column = rows[cells // len(columns)], columns[cells % len(columns)]
    square = float((times / of_row * (times / of_column)).sum()) - 1
    return math.sqrt(min(max(square / least, 0.0), 1.0)) if least else 0.0


def _same(real: float, made: float) -> float:
    """Return how alike two correlations are; 0 where one alone is unknown."""
    if math.isnan(real) or math.isnan(made):
        return math.nan if math.isnan(real) and math.isnan(made) else 0.0
    return 1 - abs(real - made) / 2


def _line(first: Column, second: Column, again: Again) -> tuple[float, float, float, list[float]]:
    """Return r of two numbers in either table, their score, and that of each resample."""
    (x, u), (y, v) = first.values, second.values
    real, made = _pearson(x, y), _pearson(u, v)
    drawn = [_same(_pearson(x[r], y[r]), _pearson(u[m], v[m])) for r, m in again]
    return real, made, _same(real, made), drawn


def _table(
    first: list[Ints], second: list[Ints], again: Again
) -> tuple[float, float, float, list[float]]:
    """Return Cramér's V in either table, the score of the pair, and that of each resample."""
    real, made = (_cramer(a, b) for a, b in zip(first, second, strict=True))
    x, u = _crossed(first, second)
    drawn = [1 - _gap(x[r], u[m], ordered=False) for r, m in again]
    return real, made, 1 - _gap(x, u, ordered=False), drawn
