"""Data frames of pandas, polars, pyarrow and their like: typed columns, and the types they had."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from varied.data.tables.dialect import TableDialect, truncate
from varied.data.tables.number_format import LARGEST
from varied.errors import VariedError

__all__ = ["from_frame"]

PLAIN = "make it numbers, text or dates, or leave the column out"
DIGITS = 6  # more digits than these are taken for all that a number has


@dataclass(frozen=True)
class TypedColumn:
    """A column as it is taken from a frame."""

    values: Any
    levels: list[str] | None = None
    ordered: bool = False
    date: str | None = None
    decimals: int | None = None
    note: str = ""


def from_frame(frame: Any) -> tuple[pd.DataFrame, TableDialect, tuple[str, ...]]:
    """Take a data frame's columns with their types.

    Arguments:
        frame: A frame of pandas, polars or pyarrow, or of any library that narwhals knows.

    Returns:
        The frame in pandas, whose columns are float64, Int64, datetime64[ns], boolean or text
        (object, None where missing); its form; and what was understood, a sentence each.

    Raises:
        VariedError: If it is no frame, two columns share a name, or a column holds lists, values
            of several kinds, or numbers that are not finite.

    Example:
        >>> frame, form, notes = from_frame(pd.DataFrame({"a": [1, 2], "b": ["x", None]}))
        >>> [str(t) for t in frame.dtypes], form.kind, form.dtypes["a"]
        (['Int64', 'object'], 'pandas', 'int64')
    """
    if isinstance(frame, pd.DataFrame):
        columns, dtypes, names, notes = _from_pandas(frame)
        kind = "pandas"
    else:
        columns, dtypes, kind = _from_other(frame)
        names, notes = {}, []
    if not columns or not len(next(iter(columns.values())).values):
        raise VariedError("The table has no rows or no columns: give at least one of each.")
    named = columns.items()
    form = TableDialect(
        kind=kind,
        dtypes=dtypes,
        names=names,
        levels={n: c.levels for n, c in named if c.levels is not None},
        ordered=tuple(n for n, c in named if c.ordered),
        dates={n: c.date for n, c in named if c.date is not None},
        decimals={n: c.decimals for n, c in named if c.decimals is not None},
    )
    typed = pd.DataFrame({n: c.values for n, c in named})
    return typed, form, (*notes, *(c.note for _, c in named if c.note))


def _from_pandas(
    frame: pd.DataFrame,
) -> tuple[dict[str, TypedColumn], dict[str, str], dict[str, int], list[str]]:
    if frame.columns.nlevels > 1:
        raise VariedError(
            "The table's columns have names of several levels: join them into one name each."
        )
    names = [str(name) for name in frame.columns]
    _once(names)
    whole = {str(n): int(n) for n in frame.columns if isinstance(n, int | np.integer)}
    other = [n for n in frame.columns if not isinstance(n, str | int | np.integer)]
    notes = [f"Columns called {_listed(other)} are given back with words as names."] * bool(other)
    index = frame.index
    if not (isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1):
        notes.append("The index is left out: frame.reset_index() keeps it as a column.")
    frame = frame.set_axis(names, axis=1).reset_index(drop=True)
    columns, dtypes = {}, {}
    for name in names:
        series = frame[name]
        if series.dtype == object:
            columns[name], dtypes[name] = _objects(series, name)
        elif isinstance(series.dtype, pd.CategoricalDtype):
            columns[name] = _categories(series)
            dtypes[name] = f"category[{series.cat.categories.dtype}]"
        else:
            dtypes[name] = str(series.dtype)
            if isinstance(series.dtype, np.dtype):  # narwhals knows one order of bytes
                series = series.astype(series.dtype.newbyteorder("="))
            columns[name] = _taken(nw.from_native(series, series_only=True), name)
    return columns, dtypes, whole, notes


def _from_other(frame: Any) -> tuple[dict[str, TypedColumn], dict[str, str], str]:
    if hasattr(frame, "column_names"):  # pyarrow alone allows a name twice
        _once(list(frame.column_names))
    try:
        wide = nw.from_native(frame)
    except (TypeError, ValueError) as error:
        raise VariedError(
            f"A {type(frame).__name__} is no table: give a data frame, or pandas.DataFrame(...) "
            "of it."
        ) from error
    full = wide.collect() if isinstance(wide, nw.LazyFrame) else wide
    implementation = full.implementation
    kind = "polars" if implementation.is_polars() else "pyarrow"
    if not (implementation.is_polars() or implementation.is_pyarrow()):
        typed = full.to_pandas()
        columns, dtypes, _, _ = _from_pandas(typed)
        return columns, dtypes, "pandas"
    columns = {name: _taken(full[name], name) for name in full.columns}
    native = full.to_native()
    types = native.dtypes if kind == "polars" else native.schema.types
    dtypes = {name: str(t) for name, t in zip(full.columns, types, strict=True)}
    return columns, dtypes, kind


def _once(names: Sequence[str]) -> None:
    twice = list(dict.fromkeys(n for n in names if names.count(n) > 1))
    if twice:
        raise VariedError(
            f"The table has several columns called {_listed(twice)}: give each "
            "column a name of its own."
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{truncate(name)}'" for name in names[:5])


def _taken(series: Any, name: str) -> TypedColumn:
    """Return a column of a library's own type."""
    dtype, native = series.dtype, _native_type(series)
    if dtype.is_nested() or native.lower().startswith("map"):  # narwhals knows no maps
        raise _nested(name, native)
    if series.is_null().all() and dtype not in (nw.Categorical, nw.Enum):
        return _texts([None] * len(series))
    for fits, take in TAKERS:
        if fits(dtype):
            return take(series, name)
    for start, take in ARROW.items():
        if native.startswith(start):
            return take(series, name)
    raise VariedError(f"Column '{truncate(name)}' is of the type {native}: {PLAIN}.")


def _plain(series: Any) -> list[Any]:
    """Return Python values, None where missing: pandas has several signs for that."""
    missing = series.is_null().to_list()
    return [None if gap else v for v, gap in zip(series.to_list(), missing, strict=True)]


def _native_type(series: Any) -> str:
    native = series.to_native()
    return str(getattr(native, "dtype", None) or getattr(native, "type", ""))


def _nested(name: str, what: str) -> VariedError:
    return VariedError(
        f"Column '{truncate(name)}' holds several values in one cell ({what}): make a column of each "
        "of them, or leave the column out."
    )


def _objects(series: pd.Series, name: str) -> tuple[TypedColumn, str]:
    """Return a column of Python objects, if they are of one kind."""
    there = series[series.notna()]
    inner = pd.api.types.infer_dtype(there, skipna=True)
    dtype = f"object[{inner}]"
    series = series.where(series.notna(), None)  # NaT is no boolean to pandas, and no float
    if inner in ("string", "empty"):
        return _texts(series.tolist()), dtype
    if inner == "boolean":
        return TypedColumn(series.astype("boolean")), dtype
    if inner in ("integer", "floating", "mixed-integer-float", "decimal"):
        if inner == "integer":
            return _whole(series.isna().to_numpy(), there.tolist(), name), dtype
        digits = None
        if inner == "decimal":
            digits = max(max(0, -v.as_tuple().exponent) for v in there)
        taken = _real(series.astype("float64").to_numpy(), name)
        return dataclasses.replace(taken, decimals=digits or taken.decimals), dtype
    if inner in ("date", "datetime", "datetime64"):
        taken = _objects_of_time(series, name)
        return dataclasses.replace(taken, date="%Y-%m-%d" if inner == "date" else None), dtype
    kinds = [type(v) for v in there]
    if any(issubclass(k, list | dict | tuple | set | np.ndarray) for k in kinds):
        raise _nested(name, "lists or mappings")
    odd = next((i for i, k in enumerate(kinds) if k is not kinds[0]), None)
    if odd is None:
        raise VariedError(f"Column '{truncate(name)}' holds {kinds[0].__name__} values: {PLAIN}.")
    row = int(there.index[odd])
    raise VariedError(
        f"Column '{truncate(name)}' holds values of several kinds: {truncate(repr(there.iloc[0]))}, but "
        f"{truncate(repr(there.iloc[odd]))} in row {row} (counted from 0): make them all numbers, or "
        "all text."
    )


def _objects_of_time(series: pd.Series, name: str) -> TypedColumn:
    try:
        stamps = pd.to_datetime(series, utc=True)
    except (ValueError, OverflowError) as error:
        raise _distant(name) from error
    zoned = any(getattr(v, "tzinfo", None) is not None for v in series)
    note = f"Column '{truncate(name)}' has a time zone: kept as UTC." if zoned else ""
    return TypedColumn(_nanoseconds(stamps.dt.tz_localize(None).to_numpy(), name), note=note)


def _categories(series: pd.Series) -> TypedColumn:
    levels = [str(level) for level in series.cat.categories]
    codes = series.cat.codes.to_numpy()
    values = np.array([*levels, None], dtype=object)[codes]  # a code of -1 is missing
    return TypedColumn(pd.Series(values, dtype=object), levels, bool(series.cat.ordered))


def _texts(values: Sequence[Any]) -> TypedColumn:
    texts = [v if isinstance(v, str) else None for v in values]
    return TypedColumn(pd.Series(texts, dtype=object))


def _words(series: Any, name: str) -> TypedColumn:
    return _texts(series.to_list())


def _dictionary(series: Any, name: str) -> TypedColumn:
    """Return a column of categories of polars or pyarrow."""
    values = [None if v is None else str(v) for v in _plain(series)]
    levels, ordered = None, False
    if isinstance(series.dtype, nw.Enum):
        levels, ordered = list(series.dtype.categories), True
    elif _native_type(series).startswith("dictionary"):
        array = series.to_arrow()
        levels = [str(v) for v in array.dictionary.to_pylist()]
        ordered = bool(array.type.ordered)
    return TypedColumn(pd.Series(values, dtype=object), levels, ordered)


def _booleans(series: Any, name: str) -> TypedColumn:
    missing = np.asarray(series.is_null().to_numpy(), dtype=bool)
    values = np.asarray(series.fill_null(False).to_numpy(), dtype=bool)
    return TypedColumn(pd.Series(pd.arrays.BooleanArray(values, missing.copy())))


def _integers(series: Any, name: str) -> TypedColumn:
    missing = np.asarray(series.is_null().to_numpy(), dtype=bool)
    return _whole(missing, series.drop_nulls().to_list(), name)


def _whole(missing: Any, there: Sequence[Any], name: str) -> TypedColumn:
    there = [int(v) for v in there]
    if max(map(abs, there), default=0) > LARGEST:
        texts = np.full(len(missing), None, dtype=object)
        texts[~missing] = list(map(str, there))
        note = f"Column '{truncate(name)}' holds whole numbers beyond 2^53: read as text."
        return TypedColumn(pd.Series(texts, dtype=object), note=note)
    values = np.zeros(len(missing), dtype=np.int64)
    values[~missing] = there
    return TypedColumn(pd.Series(pd.arrays.IntegerArray(values, missing.copy())))


def _floats(series: Any, name: str) -> TypedColumn:
    return _real(np.asarray(series.fill_null(float("nan")).to_numpy()), name)


def _exact(series: Any, name: str) -> TypedColumn:
    """Return a column of decimal numbers, with its digits."""
    cells = _plain(series)
    values = [np.nan if v is None else float(v) for v in cells]
    there = [v for v in cells if v is not None]
    digits = max(max(0, -v.as_tuple().exponent) for v in there)
    return dataclasses.replace(_real(np.array(values), name), decimals=digits)


def _real(values: Any, name: str) -> TypedColumn:
    """Return real numbers, and how many digits after the point they have, if those are few."""
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    endless = np.isinf(values)
    if endless.any():
        row = int(np.argmax(endless))
        raise VariedError(
            f"Row {row} (counted from 0) of column '{truncate(name)}' holds {values[row]}, which is "
            "not finite: make it missing, or a number."
        )
    wide = values.astype(np.float64)
    broken = np.abs(wide) < LARGEST  # larger ones are whole; NaN is neither
    there = values[broken]
    for digits in range(DIGITS + 1):
        rounded = np.round(there.astype(np.float64), digits)
        if (rounded.astype(values.dtype) == there).all():
            wide[broken] = rounded  # 0.1 as float32 has 0.1 nearest, not 0.1000000015
            return TypedColumn(pd.Series(wide), decimals=digits)
    return TypedColumn(pd.Series(wide))


def _days(series: Any, name: str) -> TypedColumn:
    days = np.array(_plain(series), dtype="datetime64[D]")
    return TypedColumn(_nanoseconds(days, name), date="%Y-%m-%d")


def _instants(series: Any, name: str) -> TypedColumn:
    note = ""
    if series.dtype.time_zone:
        note = (
            f"Column '{truncate(name)}' is in the time zone {series.dtype.time_zone}: kept as UTC."
        )
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return TypedColumn(_nanoseconds(np.asarray(series.to_numpy(), "datetime64"), name), note=note)


def _nanoseconds(values: Any, name: str) -> pd.Series:
    years = values.astype("datetime64[Y]")[~np.isnat(values)].astype(np.int64) + 1970
    if len(years) and (years.min() < 1678 or years.max() > 2261):
        raise _distant(name)
    return pd.Series(values.astype("datetime64[ns]"))


def _distant(name: str) -> VariedError:
    return VariedError(
        f"Column '{truncate(name)}' holds dates before 1678 or after 2261, which cannot be counted in "
        "nanoseconds: make those that mean 'never' missing."
    )


TAKERS: tuple[tuple[Callable[[Any], bool], Callable[[Any, str], TypedColumn]], ...] = (
    (lambda t: t == nw.Boolean, _booleans),
    (lambda t: t.is_integer(), _integers),
    (lambda t: t.is_float(), _floats),
    (lambda t: t == nw.Decimal, _exact),
    (lambda t: t == nw.String, _words),
    (lambda t: t in (nw.Categorical, nw.Enum), _dictionary),
    (lambda t: t == nw.Date, _days),
    (lambda t: t == nw.Datetime, _instants),
)
#: Types of pyarrow that narwhals does not know, by how they begin.
ARROW = {"date64": _days, "decimal256": _exact}
