"""Similarity of a real and a generated table, for single columns and for pairs of columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from varied.errors import VariedError
from varied.evaluate._resampling import resample, sample_std
from varied.evaluate._types import Array, Floats, Ints
from varied.evaluate.estimate import Estimate

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["number", "date", "category", "boolean"]
Rows = Ints | slice
Draws = list[tuple[Rows, Rows]]
#: The association of two columns in each of the two tables, and the score for each draw.
Comparison = tuple[tuple[float, float], list[float]]

ALL = slice(None)
#: The number of bins for a numeric column in a contingency table.
BINS = 10
#: If a contingency table has more cells than this, only its occupied cells are counted.
MAX_CELLS = 2**18


@dataclass(frozen=True)
class ColumnShape:
    """The similarity of one column in both tables, and its fractions of missing cells."""

    name: str
    kind: Kind
    score: Estimate
    missing_real: float
    missing_generated: float


@dataclass(frozen=True)
class ColumnShapes:
    """The similarity of each column, and the mean over columns."""

    columns: tuple[ColumnShape, ...]
    mean: Estimate
    n_real: int
    n_generated: int

    @property
    def scores(self) -> dict[str, float]:
        """The score of each column by name."""
        return {column.name: column.score.value for column in self.columns}

    def __str__(self) -> str:
        return _summary("column shapes", self.mean, self.scores, self.n_real, self.n_generated)


@dataclass(frozen=True)
class PairTrends:
    """The similarity of each pair of columns, and the mean over pairs.

    Arguments:
        names: The names of the D columns.
        mean: The mean score.
        scores: The score of each pair, float64 with shape (D, D); NaN on the diagonal.
        real: The association of each pair in real rows, float64 with shape (D, D): Pearson's r in
            [-1, 1] for two numbers, and Cramér's V in [0, 1] for other pairs.
        generated: The association of each pair in generated rows, in the same form.
        n_real: The number of real rows.
        n_generated: The number of generated rows.
    """

    names: tuple[str, ...]
    mean: Estimate
    scores: Floats = field(compare=False, repr=False)
    real: Floats = field(compare=False, repr=False)
    generated: Floats = field(compare=False, repr=False)
    n_real: int
    n_generated: int

    def __str__(self) -> str:
        pairs = combinations(range(len(self.names)), 2)
        scores = {f"{self.names[i]} and {self.names[j]}": self.scores[i, j] for i, j in pairs}
        return _summary("pair trends", self.mean, scores, self.n_real, self.n_generated)


def column_shapes(
    real: pd.DataFrame, generated: pd.DataFrame, *, resamples: int = 50, seed: int = 0
) -> ColumnShapes:
    r"""Return the similarity of the marginal distribution of each column, between 0 and 1.

    Numbers and dates are compared by the Kolmogorov-Smirnov statistic, categories and booleans by
    the total variation distance. Missing cells and infinite numbers are ignored.

    .. math:: 1 - \max_x |F_{real}(x) - F_{generated}(x)|, \qquad
        1 - \tfrac12 \sum_k |p_{real}(k) - p_{generated}(k)|

    References:
        SDMetrics, KSComplement and TVComplement, the "Column Shapes" of its quality report,
        https://docs.sdv.dev/sdmetrics/metrics/quality-metrics/kscomplement. The scores are the
        same, except that a column with values in only one table has a score of 0 here, whereas
        SDMetrics omits it.

    Warning:
        A table with independently shuffled columns has a score of 1; see `pair_trends`. Small
        samples of real rows have scores below 1, especially for categories with many levels:
        compare the score with the score of the same number of held-out real rows.

    Arguments:
        real: The real rows.
        generated: The generated rows, with the same columns in any order.
        resamples: The number of bootstrap resamples for the standard errors.
        seed: The seed for resampling.

    Returns:
        The score of each column, the mean, and the fractions of missing cells.

    Raises:
        VariedError: If the columns or their types differ, or a table is empty.

    Example:
        >>> import pandas as pd
        >>> real = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": ["x", "x", "y", None]})
        >>> generated = pd.DataFrame({"a": [1.0, 2.0, 3.0, 9.0], "b": ["x", "z", "y", "y"]})
        >>> {k: round(score, 2) for k, score in column_shapes(real, generated).scores.items()}
        {'a': 0.75, 'b': 0.58}
    """
    columns = shared_columns({"real": real, "generated": generated})
    scores = np.array(
        [
            [1 - _distance(c.codes[0][i], c.codes[1][j], bool(c.values)) for c in columns]
            for i, j in _draws(real, generated, resamples, seed)
        ]
    )
    n = len(generated)
    errors = np.broadcast_to(sample_std(scores[1:]), len(columns))
    shapes = tuple(
        ColumnShape(c.name, c.kind, Estimate(float(value), float(error), n), *c.missing)
        for c, value, error in zip(columns, scores[0], errors, strict=True)
    )
    return ColumnShapes(shapes, _mean_estimate(scores, n), len(real), n)


def pair_trends(
    real: pd.DataFrame,
    generated: pd.DataFrame,
    *,
    bins: Literal["quantiles", "range"] = "quantiles",
    resamples: int = 20,
    seed: int = 0,
) -> PairTrends:
    r"""Return how similar the association of each pair of columns is in both tables, in [0, 1].

    Pairs of numbers or dates are compared by Pearson's r on the rows where both are observed. Other
    pairs are compared by the total variation distance between their contingency tables, in which
    numbers are binned and missing cells form a level of their own.

    .. math:: 1 - \tfrac12 |r_{real} - r_{generated}|, \qquad
        1 - \tfrac12 \sum_{k, l} |p_{real}(k, l) - p_{generated}(k, l)|

    By default, the bins are the deciles of the real column; a value that spans several deciles has
    its own bin. With ten bins of equal width, nearly all values of a skewed column, such as
    incomes, would be in the first bin, and any two tables would seem similar.

    References:
        SDMetrics, CorrelationSimilarity and ContingencySimilarity,
        https://docs.sdv.dev/sdmetrics/metrics/quality-metrics/contingencysimilarity. The scores are
        the same with ``bins="range"``, except that a constant column has r = 0 here, whereas
        SDMetrics omits its pairs from the mean. The quality report of SDMetrics bins each table by
        its own range.

    Warning:
        Most pairs of columns are weakly associated, so even independently shuffled columns have a
        high score: compare the mean with the mean for shuffled columns, and look at single pairs.
        Pearson's r detects only linear trends and is sensitive to outliers.

    Arguments:
        real: The real rows.
        generated: The generated rows, with the same columns in any order.
        bins: How to bin numbers: by the deciles of the real column, or into bins of equal width
            over its range.
        resamples: The number of bootstrap resamples for the standard error of the mean.
        seed: The seed for resampling.

    Returns:
        The scores, their mean, and the association of each pair in both tables.

    Raises:
        VariedError: If the columns or their types differ, a table is empty, or there is only one
            column.

    Example:
        >>> import pandas as pd
        >>> real = pd.DataFrame({"a": ["x", "y"] * 4, "b": [0.0, 1.0] * 4, "c": [0.0, 2.0] * 4})
        >>> scores = pair_trends(real, real.assign(c=2 - real["c"])).scores.round(2)
        >>> float(scores[0, 1]), float(scores[1, 2])
        (1.0, 0.0)
    """
    columns = shared_columns({"real": real, "generated": generated})
    if (size := len(columns)) < 2:
        raise VariedError("At least two columns are required; there is only one.")
    cells = [_cells(column, bins) for column in columns]
    draws = _draws(real, generated, resamples, seed)
    matrices = np.full((3, size, size), math.nan)
    pair_scores = []
    for i, j in combinations(range(size), 2):
        a, b = columns[i], columns[j]
        if a.values and b.values:
            strengths, scores = _compare_correlations(a.values, b.values, draws)
        else:
            strengths, scores = _compare_tables(cells[i], cells[j], draws)
        matrices[:, i, j] = matrices[:, j, i] = (*strengths, scores[0])
        pair_scores.append(scores)
    mean = _mean_estimate(np.array(pair_scores).T, len(generated))
    of_real, of_generated, of_pairs = matrices
    names = tuple(column.name for column in columns)
    return PairTrends(names, mean, of_pairs, of_real, of_generated, len(real), len(generated))


@dataclass(frozen=True)
class Column:
    """One column of several tables.

    Arguments:
        name: The name.
        kind: The type.
        codes: The code of each cell in each table, -1 if missing; equal values have equal codes.
        values: The numbers or dates in each table, NaN if missing; empty for other types.
    """

    name: str
    kind: Kind
    codes: list[Ints]
    values: list[Floats]

    @property
    def missing(self) -> tuple[float, float]:
        """The fractions of missing cells in the first two tables."""
        return float((self.codes[0] < 0).mean()), float((self.codes[1] < 0).mean())


def shared_columns(frames: Mapping[str, pd.DataFrame]) -> list[Column]:
    """Return the columns of named tables, in the order of the first table.

    Raises:
        VariedError: If a table is empty or has two columns with the same name, or the columns or
            their types differ.
    """
    (first_name, first), *_ = frames.items()
    mismatches = []
    for name, frame in frames.items():
        duplicates = list(frame.columns[frame.columns.duplicated()])
        if duplicates:
            raise VariedError(
                f"The {name} table has several columns named {_list_names(duplicates)}; "
                "rename them."
            )
        if frame.empty:
            raise VariedError(f"The {name} table is empty; pass a table with rows and columns.")
        missing = [key for key in [*first, *frame] if (key in first) != (key in frame)]
        if missing:
            raise VariedError(
                f"Only one of the {first_name} table and the {name} table has "
                f"{_list_names(missing)}; both must have the same columns."
            )
        kinds = [(key, _kind(first[key]), _kind(frame[key])) for key in first]
        mismatches += [f"{key} ({a} and {b})" for key, a, b in kinds if a != b]
    if mismatches:
        raise VariedError(
            f"The tables have different types of values in {_list_names(mismatches)}; cast the "
            "columns to the same types."
        )
    return [_column(str(key), [frame[key] for frame in frames.values()]) for key in first]


def _list_names(names: Sequence[Any]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(map(str, names[:8])) + more


def _kind(column: pd.Series) -> Kind:
    from pandas.api import types

    if types.is_bool_dtype(column.dtype):
        return "boolean"
    if types.is_datetime64_any_dtype(column.dtype):
        return "date"
    return "number" if types.is_numeric_dtype(column.dtype) else "category"


def _column(name: str, parts: Sequence[pd.Series]) -> Column:
    import pandas as pd

    kind, ends = _kind(parts[0]), np.cumsum([len(part) for part in parts])[:-1]
    values: list[Floats] = []
    if kind == "number":
        values = [part.to_numpy("float64", na_value=math.nan) for part in parts]
        values = [np.where(np.isfinite(part), part, math.nan) for part in values]
    elif kind == "date":
        stamps = [part.to_numpy("datetime64[ns]") for part in parts]
        values = [np.where(np.isnat(s), math.nan, s.astype("int64") / 1e9) for s in stamps]
    pooled = np.concatenate(values) if values else pd.concat(list(parts), ignore_index=True)
    codes = pd.factorize(pooled, sort=bool(values))[0].astype(np.int64)
    return Column(name, kind, np.split(codes, ends), values)


def _distance(real: Ints, generated: Ints, ordered: bool) -> float:
    """Return the distance between two samples of codes, in [0, 1]; NaN if both are empty.

    The distance is the Kolmogorov-Smirnov statistic for ordered codes, and the total variation
    distance for others.
    """
    samples = [codes[codes >= 0] for codes in (real, generated)]
    sizes = [len(codes) for codes in samples]
    if not min(sizes):
        return 1.0 if max(sizes) else math.nan
    length = 1 + max(int(codes.max()) for codes in samples)
    p, q = (np.bincount(codes, minlength=length) for codes in samples)
    if ordered:
        return float(np.abs(p.cumsum() / sizes[0] - q.cumsum() / sizes[1]).max())
    # Without this limit, the distance could exceed 1 due to rounding.
    return min(float(np.abs(p / sizes[0] - q / sizes[1]).sum()) / 2, 1.0)


def _draws(real: pd.DataFrame, generated: pd.DataFrame, resamples: int, seed: int) -> Draws:
    """Return all rows of both tables, and bootstrap resamples of these rows."""
    sizes = len(real), len(generated)
    return [(ALL, ALL), *((i, j) for i, j in resample(sizes, resamples, seed, "tables"))]


def _mean_estimate(scores: Floats, n: int) -> Estimate:
    """Return the mean score, with its bootstrap standard error.

    The scores have shape (1 + resamples, K), and the first row is computed on all rows.
    """
    value, *resampled = map(_finite_mean, scores)
    return Estimate(value, float(sample_std(resampled)), n)


def _finite_mean(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def _cells(column: Column, bins: str) -> list[Ints]:
    """Return the contingency-table index of each cell of a column, or 0 if the cell is missing."""
    if not column.values:
        return [codes + 1 for codes in column.codes]
    real = column.values[0][np.isfinite(column.values[0])]
    edges = np.empty(0)
    if len(real) and bins == "range":
        # As in SDMetrics, a value on an edge is in the upper bin; with deciles, in the lower one.
        edges = np.nextafter(np.histogram_bin_edges(real, BINS)[1:-1], -math.inf)
    elif len(real):
        deciles = np.quantile(real, np.arange(1, BINS) / BINS, method="inverted_cdf")
        edges, counts = np.unique(deciles, return_counts=True)
        # A second edge just below a value that spans several deciles gives that value its own bin.
        edges = np.union1d(edges, np.nextafter(edges[counts > 1], -math.inf))
    return [np.where(np.isnan(v), 0, np.searchsorted(edges, v) + 1) for v in column.values]


def _compare_correlations(a: list[Floats], b: list[Floats], draws: Draws) -> Comparison:
    """Compare the correlations of two numeric columns."""
    pairs = [(_pearson(a[0][i], b[0][i]), _pearson(a[1][j], b[1][j])) for i, j in draws]
    return pairs[0], [_correlation_score(*pair) for pair in pairs]


def _pearson(x: Floats, y: Floats) -> float:
    """Return r on complete rows; 0 if a column is constant, NaN for fewer than two rows."""
    complete = np.isfinite(x) & np.isfinite(y)
    x, y = x[complete], y[complete]
    if len(x) < 2:
        return math.nan
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    # Without this scaling, the squares of huge numbers would overflow.
    return float(np.corrcoef(x / np.abs(x).max(), y / np.abs(y).max())[0, 1])


def _correlation_score(real: float, generated: float) -> float:
    """Return the similarity of two correlations, or 0 if only one of them is defined."""
    score = 1 - abs(real - generated) / 2
    return 0.0 if math.isnan(real) != math.isnan(generated) else score


def _compare_tables(a: list[Ints], b: list[Ints], draws: Draws) -> Comparison:
    """Compare the contingency tables of two columns."""
    import pandas as pd

    strengths = _cramer(a[0], b[0]), _cramer(a[1], b[1])
    height, width = (1 + max(int(codes.max()) for codes in column) for column in (a, b))
    real, generated = (rows * width + columns for rows, columns in zip(a, b, strict=True))
    if height * width > MAX_CELLS:
        occupied = pd.factorize(np.concatenate([real, generated]))[0].astype(np.int64)
        real, generated = np.split(occupied, [len(real)])
    return strengths, [1 - _distance(real[i], generated[j], False) for i, j in draws]


def _cramer(a: Ints, b: Ints) -> float:
    """Return Cramér's V of two columns of codes, or 0 if one is constant.

    Unlike SciPy's implementation, this function needs memory only for the occupied cells.
    """
    rows, columns = np.bincount(a), np.bincount(b)
    degrees = int(min((rows > 0).sum(), (columns > 0).sum())) - 1
    cells, counts = np.unique(a * len(columns) + b, return_counts=True)
    of_row, of_column = rows[cells // len(columns)], columns[cells % len(columns)]
    chi_squared = float((counts / of_row * (counts / of_column)).sum()) - 1
    return math.sqrt(min(max(chi_squared / degrees, 0.0), 1.0)) if degrees else 0.0


def _summary(
    title: str, mean: Estimate, scores: Mapping[str, float], n_real: int, n_generated: int
) -> str:
    """Return a sentence with the mean score and the three lowest scores."""
    finite = {name: score for name, score in scores.items() if math.isfinite(score)}
    names = sorted(finite, key=lambda name: finite[name])[:3]
    lowest = ", ".join(f"{name} {finite[name]:.2f}" for name in names)
    rows = f"{n_generated:,} generated and {n_real:,} real rows"
    return f"{title} {mean} (lowest: {lowest or 'none'}; {rows})"
