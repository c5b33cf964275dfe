"""The columns of a table: cells as text to typed values, and typed values to cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from varied.data.tables.dates import read_dates, write_dates
from varied.data.tables.dialect import TableDialect, truncate
from varied.data.tables.number_format import (
    ENDLESS,
    LARGEST,
    PADDED,
    WHOLE,
    is_thousands,
    real,
    render,
    style_of,
)
from varied.errors import VariedError

__all__ = ["Column", "decimal_sign", "distinct", "typed", "written"]

MISSING = ("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", "<NA>", "n/a", "#N/A")
AMONG_NUMBERS = (*MISSING, "None", "NaT", "-", ".")
MOSTLY = 0.9


@dataclass(frozen=True)
class Distinct:
    """A column as its distinct texts, how often each is there, and which one each row has."""

    texts: list[str]
    counts: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int64]

    def without(self, tokens: Sequence[str]) -> list[str]:
        """Return the texts that are none of these tokens."""
        return [t for t in self.texts if t not in tokens]

    def most_used(self, tokens: Sequence[str]) -> str | None:
        """Return the token that is there most often; None if none is."""
        found = [(c, t) for t, c in zip(self.texts, self.counts, strict=True) if t in tokens]
        return max(found, key=lambda pair: (pair[0], -tokens.index(pair[1])))[1] if found else None

    def row_of(self, text: str, rows: Sequence[int]) -> int:
        """Return the number of the first row that holds a text."""
        return rows[int(np.argmax(self.codes == self.texts.index(text)))]


@dataclass(frozen=True)
class Column:
    """A column with its type, and how it was written."""

    values: Any
    token: str | None = None
    date: str | None = None
    style: str | None = None
    decimals: int | None = None
    notes: tuple[str, ...] = ()


def distinct(cells: Sequence[str]) -> Distinct:
    """Return the distinct texts of a column."""
    codes, texts = pd.factorize(np.array(cells, dtype=object))
    return Distinct(list(texts), np.bincount(codes, minlength=len(texts)), codes)


def decimal_sign(columns: Sequence[Distinct], delimiter: str) -> str:
    """Return the decimal sign: a comma where the numbers with one tell it.

    `1,234` alone tells nothing: its thousands could be divided. `1,5` and `0,123` do.
    """
    if delimiter == ",":
        return "."
    commas = points = 0
    for column in columns:
        present = column.without(AMONG_NUMBERS)
        if not present or not any("," in t or "." in t for t in present):
            continue
        if all(map(real(",").fullmatch, present)):
            commas += any("," in t and not is_thousands(t, ".") for t in present)
        elif all(map(real(".").fullmatch, present)):
            points += any("." in t and not is_thousands(t, ",") for t in present)
    return "," if commas > points else "."


def typed(column: Distinct, name: str, rows: Sequence[int], decimal: str) -> Column:
    """Return a column with its type.

    In every column an empty cell is missing, or else the one of `?`, `NA`, `NaN`, `null`, `n/a`
    that is used most; `None`, `-` and `.`, which can be words, are missing in columns whose other
    cells are numbers or dates, where any number of these tokens is taken.

    Arguments:
        column: Its distinct texts.
        name: Its name.
        rows: The number of each row, for messages.
        decimal: The decimal sign.

    Raises:
        VariedError: If a column of numbers holds one that is not finite.
    """
    present = column.without(AMONG_NUMBERS)
    stripped = [t.strip(" ") for t in present]
    if not present:
        return _text(column, name)
    if all(map(WHOLE.fullmatch, stripped)):
        if max(len(t) for t in stripped) < 16 or max(abs(int(t)) for t in stripped) <= LARGEST:
            return _whole(column, present, stripped, name)
        return _text(
            column,
            name,
            f"Column '{truncate(name)}' holds whole numbers beyond 2^53: read as text.",
        )
    finite = [t for t in stripped if not ENDLESS.fullmatch(t)]
    if finite and all(map(real(decimal).fullmatch, finite)):
        return _real(column, present, name, rows, decimal)
    dates = read_dates(present)
    if dates is not None:
        note = f"Column '{truncate(name)}' could have day or month first: {dates.format} was taken."
        missing = np.datetime64("NaT", "ns")
        return Column(
            _spread(column, present, dates.values, missing),
            column.most_used(AMONG_NUMBERS),
            date=dates.format,
            notes=(*_tokens(column, name), *((note,) if dates.guessed else ())),
        )
    return _text(column, name, *_why(column, present, stripped, name, rows, decimal))


def written(values: Any, name: str, form: TableDialect) -> list[str]:
    """Return the cells of a typed column as text, without quotes."""
    dtype = values.dtype
    missing = values.isna().to_numpy(dtype=bool)
    there = values[~missing]
    if pd.api.types.is_bool_dtype(dtype):
        cells = ["True" if v else "False" for v in there]
    elif pd.api.types.is_integer_dtype(dtype):
        cells = list(map(str, there.tolist()))
    elif pd.api.types.is_float_dtype(dtype):
        cells = render(there.tolist(), form.styles.get(name, "point"), form.decimals.get(name))
        if form.decimal == ",":
            cells = [c.replace(".", ",") for c in cells]
    elif pd.api.types.is_datetime64_any_dtype(dtype):
        instants = there.to_numpy(dtype="datetime64[ns]")
        cells = write_dates(instants, form.dates.get(name) or _plain_format(instants))
    else:
        cells = list(map(str, there.tolist()))
    if not missing.any():
        return cells
    every = np.full(len(values), form.token(name), dtype=object)
    every[~missing] = cells
    return list(every)


def _plain_format(instants: npt.NDArray[np.datetime64]) -> str:
    whole = instants.astype("datetime64[s]")
    if (instants == instants.astype("datetime64[D]")).all():
        return "%Y-%m-%d"
    return "%Y-%m-%d %H:%M:%S" + ("" if (instants == whole).all() else ".%f")


def _spread(column: Distinct, present: Sequence[str], values: Any, missing: Any) -> Any:
    """Return a value for each row from the values of the distinct texts."""
    at = {text: i for i, text in enumerate(present)}
    places = np.array([at.get(t, len(present)) for t in column.texts])
    return np.append(values, np.array([missing], dtype=values.dtype))[places][column.codes]


def _whole(column: Distinct, present: Sequence[str], stripped: list[str], name: str) -> Column:
    values = np.array([int(t) for t in stripped], dtype=np.int64)
    places = np.array([t not in AMONG_NUMBERS for t in column.texts])
    whole = pd.arrays.IntegerArray(_spread(column, present, values, 0), ~places[column.codes])
    notes = (*_tokens(column, name), *_padded(present, stripped, name))
    return Column(whole, column.most_used(AMONG_NUMBERS), notes=notes)


def _real(
    column: Distinct, present: Sequence[str], name: str, rows: Sequence[int], decimal: str
) -> Column:
    texts = [t.strip(" ").replace(decimal, ".") for t in present]
    values = np.array(list(map(float, texts)), dtype=np.float64)
    if not np.isfinite(values).all():
        text = present[int(np.argmin(np.isfinite(values)))]
        raise VariedError(
            f"Row {column.row_of(text, rows)} of column '{truncate(name)}' holds {text}, which is not "
            "finite: leave the cell empty, or write a number."
        )
    style, decimals, changed = style_of(texts, values.tolist())
    notes = [*_tokens(column, name), *_padded(present, texts, name)]
    if changed:
        given = render([float(changed)], style, decimals)[0]
        notes.append(
            f"Column '{truncate(name)}' writes numbers in several ways: "
            f"{changed.replace('.', decimal)} will be given back as {given.replace('.', decimal)}."
        )
    return Column(
        _spread(column, present, values, np.nan),
        column.most_used(AMONG_NUMBERS),
        style=style,
        decimals=decimals,
        notes=tuple(notes),
    )


def _text(column: Distinct, name: str, *notes: str) -> Column:
    token = "" if "" in column.texts else column.most_used(MISSING)
    kept = [t for t in column.texts if t in MISSING and t != token]
    if kept:
        shown = repr(token) if token else "an empty cell"
        notes += (
            f"Column '{truncate(name)}' keeps {', '.join(map(repr, kept))} as a word: {shown} is "
            "missing.",
        )
    values: npt.NDArray[Any] = np.array(
        [None if t == token else t for t in column.texts], dtype=object
    )
    return Column(values[column.codes], token, notes=notes)


def _tokens(column: Distinct, name: str) -> tuple[str, ...]:
    found = [t for t in column.texts if t in AMONG_NUMBERS]
    if len(found) < 2:
        return ()
    listed = ", ".join(repr(t) for t in found)
    kept = column.most_used(AMONG_NUMBERS)
    return (f"Column '{truncate(name)}' has missing cells as {listed}: given back as {kept!r}.",)


def _padded(present: Sequence[str], stripped: Sequence[str], name: str) -> tuple[str, ...]:
    if all(len(a) == len(b) for a, b in zip(present, stripped, strict=True)):
        return ()
    return (f"Column '{truncate(name)}' has spaces around numbers: they are left out.",)


def _why(
    column: Distinct,
    present: Sequence[str],
    stripped: Sequence[str],
    name: str,
    rows: Sequence[int],
    decimal: str,
) -> tuple[str, ...]:
    """Return why a column that looks like numbers is read as text, where it does."""
    number = real(decimal).fullmatch
    if all(PADDED.fullmatch(t) or number(t) for t in stripped):
        return (f"Column '{truncate(name)}' has numbers with leading zeros: read as text.",)
    if all(is_thousands(t, decimal) or number(t) for t in stripped):
        return (
            f"Column '{truncate(name)}' divides thousands: read as text; write the numbers plainly to "
            "have them as numbers.",
        )
    odd = [p for p, t in zip(present, stripped, strict=True) if not number(t)]
    counts: Mapping[str, int] = dict(zip(column.texts, column.counts.tolist(), strict=True))
    total = sum(counts[t] for t in present)
    if sum(counts[t] for t in odd) <= (1 - MOSTLY) * total:
        row = column.row_of(odd[0], rows)
        return (
            f"Column '{truncate(name)}' is read as text, because row {row} holds '{truncate(odd[0])}'.",
        )
    return ()
