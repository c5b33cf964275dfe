"""The columns of a table: what kind each is, and how its cells become numbers and come back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri

from varied.errors import VariedError
from varied.seeding import generator

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CategoricalColumn",
    "Cells",
    "Column",
    "IgnoredColumn",
    "NumericColumn",
    "TargetColumn",
    "open_column",
]

Array = npt.NDArray[Any]

#: So many places has a curve of quantiles.
KNOTS = 129
#: A value that so large a share of the cells has, and so many, gets a place of its own; so many
#: values at most do.
FREQUENT, AT_LEAST, PLACES = 0.05, 10, 8
#: Levels of a category that have a place of their own; rarer ones share one.
LEVELS = 255
#: How far from the data a cell may be, in standard deviations, before it is all the same.
FARTHEST = 50.0
#: Numbers beyond this are counted in this unit, so that a difference of two is a number as well.
HUGE, UNIT = 2.0**900, 2.0**64


@dataclass(frozen=True)
class Cells:
    """A column as a model sees it.

    Arguments:
        known: 1 where the cell is known, with shape (N).
        score: Of a number, with shape (N); 0 where not known; None where there is none.
        option: The index of the choice, with shape (N), -1 where not known; None where there is
            none.
    """

    known: Array
    score: Array | None = None
    option: Array | None = None


@dataclass(frozen=True)
class Column:
    """A column: its name, the type that its cells come back as, and a word for what it is.

    Arguments:
        name: As the person calls it.
        dtype: "float64", "Int64", "datetime64[ns]", "boolean" or "object".
        kind: "number", "whole number", "date", "category", "yes/no", or why it is left out.
        gaps: Whether training cells were missing; where none was, none is made missing.
    """

    #: What this is called in a saved run.
    how: ClassVar[str]

    name: str
    dtype: str
    kind: str
    gaps: bool = False

    @property
    def word(self) -> str:
        """The column in the layout of `varied.likelihoods.TableRow`; empty where it is left out."""
        return ""

    def encode(self, cells: pd.Series[Any]) -> Cells:
        """Return cells as a model sees them."""
        raise NotImplementedError

    def decode(self, cells: Cells) -> pd.Series[Any]:
        """Return cells as the person has them."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `open_column` reads."""
        fields = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in fields}
        return {"how": self.how, **plain}


@dataclass(frozen=True)
class NumericColumn(Column):
    r"""A number by its quantiles: its score is normal whatever its shape; frequent values apart.

    .. math:: s = \Phi^{-1}(F(v))

    with F the share of the training cells below, linear between knots. Beyond the training cells a
    score goes on with their standard deviation; what comes back lies between the least and the
    largest of them.

    Arguments:
        values: The knots, rising.
        scores: Their scores.
        scale: The standard deviation of the values.
        frequent: Values with a place of their own.
        digits: Digits after the point of what comes back; None leaves them.
        unit: What the values count in: of dates the seconds of a day, where no cell has a time; of
            huge numbers a power of two.
    """

    how: ClassVar[str] = "number"

    values: tuple[float, ...] = (0.0,)
    scores: tuple[float, ...] = (0.0,)
    scale: float = 1.0
    frequent: tuple[float, ...] = ()
    digits: int | None = None
    unit: float = 1.0

    @property
    def word(self) -> str:
        """n, or n2 where two values are frequent."""
        return f"n{len(self.frequent) or ''}{'?' * self.gaps}"

    @classmethod
    def fit(cls, cells: pd.Series[Any], kind: str, digits: int | None) -> NumericColumn:
        """Fit to the known cells of the training rows."""
        unit = _unit(cells)
        v = _numbers(cells, unit)
        v = v[~np.isnan(v)]
        found, counts = np.unique(v, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:PLACES]
        frequent = found[order[counts[order] >= max(FREQUENT * len(v), AT_LEAST)]]
        rest = ~np.isin(found, frequent)
        if rest.sum() < 2:
            frequent, rest = frequent[:0], np.ones(len(found), bool)
        found, counts = found[rest], counts[rest]
        below = (counts.cumsum() - counts / 2) / counts.sum()
        scores = ndtri(below)
        if len(found) > KNOTS:
            ends = np.linspace(scores[0], scores[-1], KNOTS)
            places = np.unique(np.searchsorted(scores, ends).clip(0, len(found) - 1))
            found, scores = found[places], scores[places]
        most = float(np.abs(v).max()) or 1.0
        scale = float((v / most).std()) * most or 1.0  # the square of 1e-200 is 0
        name, dtype = str(cells.name), str(cells.dtype)
        return cls(
            name,
            dtype,
            kind,
            bool(cells.isna().any()),
            tuple(found.tolist()),
            tuple(scores.tolist()),
            scale,
            tuple(frequent.tolist()),
            None if unit == UNIT else digits,
            unit,
        )

    def encode(self, cells: pd.Series[Any]) -> Cells:
        """Return scores, and which of the frequent values a cell is, or that it is none."""
        v = self.numbers(cells)
        known = ~np.isnan(v)
        v = np.where(known, v, self.values[0])
        score = np.interp(v, self.values, self.scores)
        with np.errstate(over="ignore"):  # what lies so far is taken as lying less far, below
            beyond = np.minimum(v - self.values[0], 0) + np.maximum(v - self.values[-1], 0)
            score += beyond / self.scale
        option = None
        if self.frequent:
            same = v[:, None] == np.asarray(self.frequent)
            option = np.where(same.any(1), same.argmax(1), len(self.frequent))
            score = np.where(same.any(1), 0.0, score)
            option = np.where(known, option, -1)
        return Cells(known, np.where(known, score.clip(-FARTHEST, FARTHEST), 0.0), option)

    def decode(self, cells: Cells) -> pd.Series[Any]:
        """Return numbers or dates; missing where not known."""
        assert cells.score is not None
        v = np.interp(cells.score, self.scores, self.values)
        if cells.option is not None:
            places = np.array([*self.frequent, 0.0])
            v = np.where(cells.option < len(self.frequent), places[cells.option], v)
        return self.restore(np.where(cells.known.astype(bool), v, np.nan))

    def numbers(self, cells: pd.Series[Any]) -> Array:
        """Return cells as float64, NaN where missing; dates in units of the column."""
        return _numbers(cells, self.unit)

    def restore(self, v: Array) -> pd.Series[Any]:
        """Return such numbers as cells, with the digits of the column."""
        rounded = v if self.digits is None else np.round(v, self.digits)
        return _typed(rounded * self.unit, self)


@dataclass(frozen=True)
class CategoricalColumn(Column):
    """One of several levels: a category, yes or no, or a number that has few values.

    Arguments:
        levels: The levels that have a place, most frequent first.
        rare: Levels that share the last place.
        counts: How often each of these came.
    """

    how: ClassVar[str] = "choice"

    levels: tuple[Any, ...] = ()
    rare: tuple[Any, ...] = ()
    counts: tuple[int, ...] = ()

    @property
    def word(self) -> str:
        """c5 for five levels."""
        return f"c{len(self.levels) + bool(self.rare)}{'?' * self.gaps}"

    @classmethod
    def fit(cls, cells: pd.Series[Any], kind: str) -> CategoricalColumn:
        """Fit to the known cells of the training rows."""
        counts = cells.dropna().value_counts(sort=False)
        levels = sorted(_plain(counts.index), key=str)
        by = dict(zip(_plain(counts.index), counts.tolist(), strict=True))
        levels.sort(key=lambda level: -by[level])
        kept, rare = (
            (levels, []) if len(levels) <= LEVELS + 1 else (levels[:LEVELS], levels[LEVELS:])
        )
        often = tuple(by[level] for level in rare)
        gaps = bool(cells.isna().any())
        name, dtype = str(cells.name), str(cells.dtype)
        return cls(name, dtype, kind, gaps, tuple(kept), tuple(rare), often)

    def encode(self, cells: pd.Series[Any]) -> Cells:
        """Return the index of each level; a level that was never seen is taken as not known."""
        places = {level: i for i, level in enumerate(self.levels)}
        places |= dict.fromkeys(self.rare, len(self.levels))
        values = _plain(cells)
        option = np.array([-1 if v is None else places.get(v, -1) for v in values], dtype=np.int64)
        return Cells(option >= 0, None, option)

    def unseen(self, cells: pd.Series[Any]) -> Array:
        """Return which cells have a level that the training rows have not, as bool (N)."""
        new: Array = (self.encode(cells).known == 0) & cells.notna().to_numpy()
        return new

    def decode(self, cells: Cells) -> pd.Series[Any]:
        """Return levels; a rare one is drawn among the rare as often as it came."""
        assert cells.option is not None
        values = np.empty(len(self.levels) + 1, dtype=object)
        values[: len(self.levels)] = self.levels
        found = values[cells.option]
        last = np.flatnonzero(cells.option == len(self.levels))
        if self.rare and len(last):
            places = np.cumsum(self.counts) / np.sum(self.counts)
            drawn = torch.rand(len(last), generator=generator(0, "rare", len(self.rare))).numpy()
            rare = np.empty(len(self.rare), dtype=object)
            rare[:] = self.rare
            found[last] = rare[np.searchsorted(places, drawn).clip(0, len(self.rare) - 1)]
        found[~cells.known.astype(bool)] = None
        return _typed(found, self)


@dataclass(frozen=True)
class IgnoredColumn(Column):
    """A column that no model learns: it is constant, empty, an identifier or a text.

    Arguments:
        value: What a constant column has in every cell; None where cells come back empty.
    """

    how: ClassVar[str] = "aside"

    value: Any = None

    @classmethod
    def constant(cls, cells: pd.Series[Any]) -> IgnoredColumn:
        """Return a column that has this one value in every cell."""
        value = str(cells.iloc[0]) if cells.dtype.kind == "M" else _plain(cells.iloc[:1])[0]
        return cls(str(cells.name), str(cells.dtype), "constant", value=value)

    def decode(self, cells: Cells) -> pd.Series[Any]:
        """Return the constant, or empty cells."""
        found = np.empty(len(cells.known), dtype=object)
        found[:] = [self.value] * len(found)
        return _typed(found, self)


@dataclass(frozen=True)
class TargetColumn(IgnoredColumn):
    """The column of the classes that a model says, and so must not read.

    Arguments:
        levels: What its cells hold for each class.
    """

    how: ClassVar[str] = "answer"

    levels: tuple[Any, ...] = ()

    @classmethod
    def fit(cls, cells: pd.Series[Any]) -> TargetColumn:
        """Fit to the cells of the training rows."""
        known = cells.dropna().drop_duplicates()
        levels = known.astype(str).tolist() if known.dtype.kind == "M" else _plain(known)
        return cls(str(cells.name), str(cells.dtype), "label", levels=tuple(levels))

    def of(self, classes: Sequence[str | None]) -> pd.Series[Any]:
        """Return the cells of classes by their names; an empty one where a row has none."""
        cells = {str(level): level for level in self.levels}
        found = np.empty(len(classes), dtype=object)
        found[:] = [None if name is None else cells.get(name) for name in classes]
        return _typed(found, self)


def open_column(plain: Mapping[str, Any]) -> Column:
    """Return the column that `to_json` wrote."""
    kinds: dict[str, Any] = {
        c.how: c for c in (NumericColumn, CategoricalColumn, IgnoredColumn, TargetColumn)
    }
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items() if k != "how"}
    try:
        found: Column = kinds[plain["how"]](**fields)
        return found
    except (KeyError, TypeError) as error:
        raise VariedError(f"A saved column is damaged ({error}): train again.") from error


def _unit(cells: pd.Series[Any]) -> float:
    if cells.dtype.kind != "M":
        return UNIT if cells.abs().max() > HUGE else 1.0
    return 86400.0 if (cells.dropna().dt.normalize() == cells.dropna()).all() else 1.0


def _numbers(cells: pd.Series[Any], unit: float) -> Array:
    """Return float64, NaN where missing; dates in units of so many seconds."""
    if cells.dtype.kind == "M":
        seconds: Array = cells.to_numpy("datetime64[s]").astype(np.float64) / unit
        return np.where(cells.isna().to_numpy(), np.nan, seconds)
    numbers: Array = cells.to_numpy(dtype=np.float64, na_value=np.nan) / unit
    return numbers


def _plain(cells: Any) -> list[Any]:
    """Return plain Python values, None where missing."""
    import pandas as pd

    return [None if gap else v for v, gap in zip(cells.tolist(), pd.isna(cells), strict=True)]


def _typed(values: Array, column: Column) -> pd.Series[Any]:
    """Return values in the type of the column."""
    import pandas as pd

    if column.dtype.startswith("datetime64"):
        if values.dtype == object:  # a constant
            return pd.Series(pd.to_datetime(values), name=column.name).astype(column.dtype)
        whole = np.where(np.isnan(values), 0, values).astype("int64").astype("datetime64[s]")
        dates = pd.Series(whole, name=column.name).astype(column.dtype)
        return dates.mask(np.isnan(values))
    if column.dtype == "Int64" and values.dtype != object:
        whole = pd.array(np.where(np.isnan(values), 0, values).round().astype("int64"), "Int64")
        return pd.Series(whole, name=column.name).mask(np.isnan(values))
    return pd.Series(values, name=column.name, dtype=values.dtype).astype(column.dtype)
