"""The columns of a table, which encode their cells for a model and decode them."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri

from varied.data.codecs.column_values import (
    HUGE_UNIT,
    grid,
    python_values,
    to_float,
    to_series,
    unit_of,
)
from varied.data.tables.dialect import truncate
from varied.errors import VariedError, lookup
from varied.seeding import generator
from varied.stored_values import Scalar, read_variant

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]

_NUMERIC_DTYPES = ("float64", "Int64", *(f"datetime64[{unit}]" for unit in ("ns", "us", "ms", "s")))
#: The maximum number of decimals; no float64 has more.
_MAX_DIGITS = 400
#: The maximum distance of a date from 1970 in seconds, which is 292 years.
_MAX_SECONDS = 9.2e9
#: The number of knots of a quantile function.
_KNOTS = 129
#: The minimum fraction and the minimum number of cells with a frequent value, and the maximum
#: number of frequent values in a column.
_FREQUENT_SHARE, _FREQUENT_CELLS, _MAX_FREQUENT = 0.05, 10, 8
#: The maximum number of levels that are modeled individually; rarer levels share a category.
_MAX_LEVELS = 255
#: Scores are clipped to this number of standard deviations.
_MAX_SCORE = 50.0
#: The maximum logarithm of a decoded count, which must be an int64.
_MAX_LOG_COUNT = 40.0


@dataclass(frozen=True)
class EncodedColumn:
    """The encoded cells of a column; each array has shape (N).

    Arguments:
        observed: 1 where observed, 0 where missing.
        score: The normal score of a number, 0 where missing; None for a category.
        choice: The index of the level or of the frequent value, -1 where missing; None for a
            number without frequent values.
    """

    observed: Array
    score: Array | None = None
    choice: Array | None = None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Arguments:
        name: The name of the column.
        dtype: The dtype of its cells: "float64", "Int64", "datetime64[ns]", "boolean" or "object".
        kind: A description for the user, such as "number", "date", "count" or "yes/no"; for an
            ignored column, the reason why it is ignored.
    """

    #: The name of the class in a saved run.
    type_name: ClassVar[str]
    #: The possible dtypes.
    dtypes: ClassVar[tuple[str, ...]] = (*_NUMERIC_DTYPES, "boolean", "object")

    name: str
    dtype: str
    kind: str

    def __post_init__(self) -> None:
        self._check(self.dtype in self.dtypes, f"the dtype '{self.dtype}'")

    def _check(self, is_valid: bool, what: str) -> None:
        if not is_valid:
            raise VariedError(
                f"Column '{truncate(self.name)}' cannot have {what}; create the column with `fit`."
            )

    def _check_cells(self, cells: Sequence[Any]) -> None:
        """Check that cells have the dtype of the column."""
        try:
            to_series(list(cells), self.name, self.dtype)
        except (OverflowError, TypeError, ValueError):
            self._check(False, f"cells such as {truncate(cells[0])} of type {self.dtype}")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Column:
        """Return the column that `to_json` describes.

        Raises:
            VariedError: If a value is not valid; the message says where.
        """
        classes = (NumericColumn, CategoricalColumn, IgnoredColumn, TargetColumn)
        by_name = {c.type_name: c for c in classes if issubclass(c, cls)}
        find = partial(lookup, by_name, kind="type of column")
        column: Column = read_variant(values, "type", find)
        return column

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable description of the column, to be read by `from_json`."""
        return {"type": self.type_name, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class LearnedColumn(Column, ABC):
    """A column that the model is trained on.

    Arguments:
        has_missing: Whether any training cell is missing; if not, no generated cell is missing.
    """

    has_missing: bool = False

    @property
    @abstractmethod
    def layout_code(self) -> str:
        """The code of the column in the layout of `varied.likelihoods.TableRow`."""

    @abstractmethod
    def encode(self, cells: pd.Series[Any]) -> EncodedColumn:
        """Encode cells for the model."""

    @abstractmethod
    def decode(self, cells: EncodedColumn) -> pd.Series[Any]:
        """Decode cells, and return them with the dtype of the column."""


@dataclass(frozen=True)
class NumericColumn(LearnedColumn):
    r"""Numbers or dates, which are transformed to normal scores by a quantile transformation.

    .. math:: s = \Phi^{-1}(F(v))

    where F is the distribution function of the training cells, interpolated between knots. Outside
    the range of the knots, the score is extrapolated with the slope 1 / ``scale``; decoded values
    are clipped to this range. Frequent values, such as 0, are modeled as categories. The score of a
    count v is log(1 + v), and counts have no frequent values.

    Arguments:
        values: The knots, in increasing order.
        scores: The scores of the knots.
        scale: The standard deviation of the values.
        frequent: The frequent values.
        digits: The number of decimals to which decoded values are rounded; None for no rounding.
        step: The step between possible values, such as 500 for salaries in steps of 500, or 60 for
            times in whole minutes; 0 if there is no step larger than one unit of the last decimal.
        offset: The remainder of all values when they are divided by ``step``.
        unit: The unit of the values: the number of seconds in a day for dates without a time, a
            power of two for huge numbers, and 1 for all other values.
        is_count: Whether the values are counts.
    """

    type_name: ClassVar[str] = "numeric"
    dtypes: ClassVar[tuple[str, ...]] = _NUMERIC_DTYPES

    values: tuple[float, ...] = (0.0,)
    scores: tuple[float, ...] = (0.0,)
    scale: float = 1.0
    frequent: tuple[float, ...] = ()
    digits: int | None = None
    step: float = 0.0
    offset: float = 0.0
    unit: float = 1.0
    is_count: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        n = len(self.values)
        self._check(n == len(self.scores) > 0, f"{n} knots with {len(self.scores)} scores")
        is_ordered = all(a <= b for a, b in pairwise(self.values))
        self._check(is_ordered, "knots that are not in increasing order")
        self._check(min(self.scale, self.unit) > 0, "a non-positive scale or unit")
        is_valid = self.digits is None or abs(self.digits) <= _MAX_DIGITS
        self._check(is_valid, f"{self.digits} decimals")

    @property
    def layout_code(self) -> str:
        """The code: ``n``, ``n2`` with two frequent values, or ``k`` for counts.

        It ends in ``?`` if cells may be missing.
        """
        code = "k" if self.is_count else f"n{len(self.frequent) or ''}"
        return f"{code}{'?' * self.has_missing}"

    @classmethod
    def fit_counts(cls, cells: pd.Series[Any]) -> Self:
        """Return the column for the counts in the training rows."""
        has_missing = bool(cells.isna().any())
        return cls(*_describe(cells, "count"), has_missing=has_missing, digits=0, is_count=True)

    @classmethod
    def fit(cls, cells: pd.Series[Any], kind: str, digits: int | None) -> Self:
        """Fit the column to the observed cells of the training rows."""
        unit = unit_of(cells)
        v = to_float(cells, unit)
        v = v[~np.isnan(v)]
        values, counts = np.unique(v, return_counts=True)
        digits = None if unit == HUGE_UNIT else digits
        step, offset = grid(values, digits)
        order = np.argsort(-counts, kind="stable")[:_MAX_FREQUENT]
        threshold = max(_FREQUENT_SHARE * len(v), _FREQUENT_CELLS)
        frequent = values[order[counts[order] >= threshold]]
        rest = ~np.isin(values, frequent)
        if rest.sum() < 2:
            frequent, rest = frequent[:0], np.ones(len(values), bool)
        values, counts = values[rest], counts[rest]
        scores = ndtri((counts.cumsum() - counts / 2) / counts.sum())
        if len(values) > _KNOTS:
            even = np.linspace(scores[0], scores[-1], _KNOTS)
            knots = np.unique(np.searchsorted(scores, even).clip(0, len(values) - 1))
            values, scores = values[knots], scores[knots]
        largest = float(np.abs(v).max()) or 1.0
        return cls(
            *_describe(cells, kind),
            has_missing=bool(cells.isna().any()),
            values=tuple(values.tolist()),
            scores=tuple(scores.tolist()),
            scale=float((v / largest).std()) * largest or 1.0,  # the square of 1e-200 is 0
            frequent=tuple(frequent.tolist()),
            digits=digits,
            step=step,
            offset=offset,
            unit=unit,
        )

    def encode(self, cells: pd.Series[Any]) -> EncodedColumn:
        """Encode numbers as scores, and frequent values, if there are any, as categories."""
        v = self.to_float(cells)
        observed = ~np.isnan(v)
        if self.is_count:
            return EncodedColumn(observed, np.where(observed, np.log1p(v.clip(0)), 0.0))
        v = np.where(observed, v, self.values[0])
        score = np.interp(v, self.values, self.scores)
        with np.errstate(over="ignore"):  # an infinite score is clipped below
            excess = np.minimum(v - self.values[0], 0) + np.maximum(v - self.values[-1], 0)
            score += excess / self.scale
        choice = None
        if self.frequent:
            is_value = v[:, None] == np.asarray(self.frequent)
            choice = np.where(is_value.any(1), is_value.argmax(1), len(self.frequent))
            score = np.where(is_value.any(1), 0.0, score)
            choice = np.where(observed, choice, -1)
        score = np.where(observed, score.clip(-_MAX_SCORE, _MAX_SCORE), 0.0)
        return EncodedColumn(observed, score, choice)

    def decode(self, cells: EncodedColumn) -> pd.Series[Any]:
        """Decode scores and frequent values to numbers or dates."""
        assert cells.score is not None
        v = np.interp(cells.score, self.scores, self.values)
        if self.is_count:
            v = np.expm1(cells.score.clip(0, _MAX_LOG_COUNT))
        if cells.choice is not None:
            frequent = np.array([*self.frequent, 0.0])
            v = np.where(cells.choice < len(self.frequent), frequent[cells.choice], v)
        return self.from_float(np.where(cells.observed.astype(bool), v, np.nan))

    def to_float(self, cells: pd.Series[Any]) -> Array:
        """Convert cells to float64 in the unit of the column, NaN where missing."""
        return to_float(cells, self.unit)

    def round(self, values: Array) -> Array:
        """Round numbers to the decimals or the steps of the column."""
        if self.step:
            values = self.offset + self.step * np.round((values - self.offset) / self.step)
        return values if self.digits is None else np.round(values, self.digits)

    def from_float(self, values: Array) -> pd.Series[Any]:
        """Convert numbers in the unit of the column to cells, rounded as in `round`."""
        import pandas as pd

        scaled, missing = self.round(values) * self.unit, np.isnan(values)
        if self.dtype == "float64":
            return pd.Series(scaled, name=self.name)
        if self.dtype != "Int64":
            scaled = scaled.clip(-_MAX_SECONDS, _MAX_SECONDS)
        integers = np.where(missing, 0, scaled).round().astype("int64")
        plain = integers if self.dtype == "Int64" else integers.astype("datetime64[s]")
        return pd.Series(plain, name=self.name).astype(self.dtype).mask(missing)


@dataclass(frozen=True)
class CategoricalColumn(LearnedColumn):
    """A column with several levels: categories, yes and no, or numbers with few distinct values.

    Arguments:
        levels: The levels that are modeled individually, in order of decreasing frequency.
        rare: The levels that share the last category.
        counts: The number of training cells with each rare level.
    """

    type_name: ClassVar[str] = "categorical"

    levels: tuple[Scalar, ...] = ()
    rare: tuple[Scalar, ...] = ()
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = (*self.levels, *self.rare)
        self._check(len(set(levels)) == len(levels), "equal levels")
        self._check(len(self.counts) == len(self.rare), "rare levels without counts")
        self._check(min(self.counts, default=1) > 0, "non-positive counts")
        self._check_cells(levels)

    @property
    def layout_code(self) -> str:
        """The code: ``c5`` for five levels; ``c5?`` if cells may be missing."""
        return f"c{len(self.levels) + bool(self.rare)}{'?' * self.has_missing}"

    @classmethod
    def fit(cls, cells: pd.Series[Any], kind: str) -> Self:
        """Fit the column to the observed cells of the training rows."""
        table = cells.dropna().value_counts(sort=False)
        counts = dict(zip(python_values(table.index), table.tolist(), strict=True))
        levels = sorted(counts, key=lambda level: (-counts[level], str(level)))
        n_levels = len(levels) if len(levels) <= _MAX_LEVELS + 1 else _MAX_LEVELS
        return cls(
            *_describe(cells, kind),
            has_missing=bool(cells.isna().any()),
            levels=tuple(levels[:n_levels]),
            rare=tuple(levels[n_levels:]),
            counts=tuple(counts[level] for level in levels[n_levels:]),
        )

    def encode(self, cells: pd.Series[Any]) -> EncodedColumn:
        """Encode levels as indices; a level that is not in the training rows becomes missing."""
        import pandas as pd

        indices = {level: i for i, level in enumerate(self.levels)}
        indices |= dict.fromkeys(self.rare, len(self.levels))
        codes, unique = pd.factorize(cells)
        choice = np.array([*(indices.get(v, -1) for v in unique.tolist()), -1])[codes]
        return EncodedColumn(choice >= 0, None, choice)

    def is_unseen(self, cells: pd.Series[Any]) -> Array:
        """Return whether each cell has a level that is not in the training rows, with shape (N)."""
        unseen: Array = (self.encode(cells).observed == 0) & cells.notna().to_numpy()
        return unseen

    def decode(self, cells: EncodedColumn) -> pd.Series[Any]:
        """Decode indices to levels; rare levels are sampled in proportion to their frequency."""
        assert cells.choice is not None
        values = np.array([*self.levels, None], dtype=object)[cells.choice]
        is_rare = cells.choice == len(self.levels)
        if self.rare and is_rare.any():
            cumulative = np.cumsum(self.counts) / np.sum(self.counts)
            u = torch.rand(int(is_rare.sum()), generator=generator(0, "rare", len(self.rare)))
            index = np.searchsorted(cumulative, u.numpy()).clip(0, len(self.rare) - 1)
            values[is_rare] = np.array(self.rare, dtype=object)[index]
        values[~cells.observed.astype(bool)] = None
        return to_series(values, self.name, self.dtype)


@dataclass(frozen=True)
class IgnoredColumn(Column):
    """A column that is not modeled: constant, empty, an identifier, text, or ignored by the user.

    Arguments:
        value: The value of all cells of a constant column; None for missing cells.
    """

    type_name: ClassVar[str] = "ignored"

    value: Scalar = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_cells([self.value])

    @classmethod
    def constant(cls, cells: pd.Series[Any]) -> Self:
        """Return the column for cells that all have the same value."""
        value = str(cells.iloc[0]) if cells.dtype.kind == "M" else python_values(cells.iloc[:1])[0]
        return cls(*_describe(cells, "constant"), value=value)

    @property
    def has_known_value(self) -> bool:
        """Whether all training cells are equal, or all are missing."""
        return self.value is not None or self.kind == "empty"

    def differs(self, cells: pd.Series[Any]) -> Array:
        """Return whether each cell is observed and differs from the value, with shape (N)."""
        observed: Array = cells.notna().to_numpy(dtype=bool)
        equal = (cells == self.decode(1)[0]).fillna(False).to_numpy(dtype=bool)
        different: Array = observed & ~equal
        return different

    def fill(self, cells: pd.Series[Any]) -> pd.Series[Any]:
        """Fill missing cells with the value, and return the cells with the dtype of the column."""
        return cells.astype(self.dtype).where(cells.notna(), self.decode(1)[0])

    def decode(self, n_rows: int) -> pd.Series[Any]:
        """Return cells with the constant value, or missing cells."""
        return to_series(np.full(n_rows, self.value, dtype=object), self.name, self.dtype)


@dataclass(frozen=True)
class TargetColumn(Column):
    """A label column that is not part of the model's input.

    Arguments:
        levels: The cell value that represents each class.
    """

    type_name: ClassVar[str] = "target"

    levels: tuple[Scalar, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_cells(self.levels)

    @classmethod
    def fit(cls, cells: pd.Series[Any]) -> Self:
        """Fit the column to the cells of the training rows."""
        unique = cells.dropna().drop_duplicates()
        is_date = unique.dtype.kind == "M"
        levels = unique.astype(str).tolist() if is_date else python_values(unique)
        return cls(*_describe(cells, "label"), levels=tuple(levels))

    def decode(self, classes: Sequence[str | None]) -> pd.Series[Any]:
        """Return the cells for class names; the cell for None is missing."""
        cells = {str(level): level for level in self.levels}
        values = [None if name is None else cells.get(name) for name in classes]
        return to_series(values, self.name, self.dtype)


def _describe(cells: pd.Series[Any], kind: str) -> tuple[str, str, str]:
    return str(cells.name), str(cells.dtype), kind
