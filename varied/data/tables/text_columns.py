"""Type inference, parsing and formatting of columns of text cells."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from varied.data.tables.dates import parse_dates
from varied.data.tables.dialect import TableDialect, truncate
from varied.data.tables.number_styles import NumberStyle, infer_style
from varied.data.tables.typed_column import LARGEST_INTEGER, TypedColumn, large_integer_note
from varied.errors import VariedError

#: Strings that can be read as missing values in any column, and in columns of numbers or dates.
_MISSING = ("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", "<NA>", "n/a", "#N/A")
MISSING_NUMBER = (*_MISSING, "None", "NaT", "-", ".")
#: A note is returned about a text column if at least this fraction of its cells are numbers.
_MOSTLY = 0.9
#: The number of decimal digits that a float64 represents.
_FLOAT_DIGITS = 15

_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_LEADING_ZEROS = re.compile(r"[+-]?0[0-9]+")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_NUMBER = {
    sign: re.compile(
        rf"[+-]?(?:(?:0|[1-9][0-9]*)(?:{re.escape(sign)}[0-9]*)?|{re.escape(sign)}[0-9]+)"
        r"(?:[eE][+-]?[0-9]+)?"
    )
    for sign in ".,"
}
#: Numbers with thousands separators, as in 1,234,567.8, by decimal separator.
_THOUSANDS = {
    ".": re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?"),
    ",": re.compile(r"[+-]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+(?:,[0-9]*)?"),
}


def is_number(text: str) -> bool:
    """Return whether a string is a number with a decimal point or comma.

    Example:
        >>> is_number("-1.5e3"), is_number("0,25"), is_number("007")
        (True, True, False)
    """
    return any(pattern.fullmatch(text) for pattern in _NUMBER.values())


def parse_number(text: str, decimals: Sequence[str]) -> float:
    """Return a number with one of the decimal separators, or NaN if the text is not a number.

    Example:
        >>> parse_number("2,5", ".,"), parse_number("two", ".,")
        (2.5, nan)
    """
    matches = (sign for sign in decimals if _NUMBER[sign].fullmatch(text))
    return next((float(text.replace(sign, ".")) for sign in matches), math.nan)


def infer_decimal(columns: Iterable[pd.Series], delimiter: str) -> str:
    """Return the decimal separator, inferred from columns of text cells.

    Numbers such as ``1,234`` are ignored, since the comma may be a thousands separator.
    """
    if delimiter == ",":
        return "."
    texts = [[t for t in column.unique() if t not in MISSING_NUMBER] for column in columns]

    def count(decimal: str, thousands: re.Pattern[str]) -> int:
        return sum(
            all(map(_NUMBER[decimal].fullmatch, column))
            and any(decimal in text and not thousands.fullmatch(text) for text in column)
            for column in texts
        )

    return "," if count(",", _THOUSANDS["."]) > count(".", _THOUSANDS[","]) else "."


def parse_column(cells: pd.Series, decimal: str) -> TypedColumn:
    """Infer the type of a column of text cells (integer, float, date or text) and parse the cells.

    An empty cell is missing. In a text column without empty cells, the most frequent string among
    ``?``, ``NA``, ``NaN``, ``null`` and variants such as ``n/a`` is read as a missing value. In a
    column of numbers or dates, all of these are read as missing values, as well as ``None``,
    ``NaT``, ``-`` and ``.``.

    Arguments:
        cells: The cells, indexed by the row numbers to use in messages.
        decimal: The decimal separator.

    Raises:
        VariedError: If a column of numbers contains an infinite value.
    """
    texts = [text for text in cells.unique() if text not in MISSING_NUMBER]
    stripped = [text.strip(" ") for text in texts]
    missing = _missing_token(cells, MISSING_NUMBER)
    if not texts:
        return _text_column(cells)
    if all(map(_INTEGER.fullmatch, stripped)):
        if max(map(len, stripped)) > 17 or max(abs(int(t)) for t in stripped) > LARGEST_INTEGER:
            return _text_column(cells, large_integer_note(cells.name))
        integers = dict(zip(texts, map(int, stripped), strict=True))
        return TypedColumn(cells.map(integers).astype("Int64"), missing=missing)
    finite = [text for text in stripped if not _INFINITE.fullmatch(text)]
    if finite and all(map(_NUMBER[decimal].fullmatch, finite)):
        plain = [text.replace(decimal, ".") for text in stripped]
        values = _floats(cells, dict(zip(texts, map(float, plain), strict=True)))
        return TypedColumn(values, missing=missing, decimals=_decimals(plain))
    if (dates := parse_dates(texts)) is not None:
        values = cells.map(dict(zip(texts, pd.Series(dates.values), strict=True)))
        column = f"Column '{truncate(cells.name)}'"
        note = f"{column} has an ambiguous order of day and month and is read as {dates.format}."
        notes = (note,) * dates.is_ambiguous
        return TypedColumn(values.astype("datetime64[ns]"), notes, missing, dates.format)
    if (style := infer_style(stripped, decimal)) is not None:
        return _styled_column(cells, dict(zip(texts, stripped, strict=True)), style, missing)
    return _text_column(cells, *_why_text(cells, texts, stripped, decimal))


def format_column(values: pd.Series, name: str, dialect: TableDialect) -> list[str]:
    """Format the values of a column as text cells."""
    observed = values.dropna()
    if name in dialect.styles and pd.api.types.is_numeric_dtype(values.dtype):
        style, decimals = dialect.styles[name], dialect.decimals.get(name)
        cells = [style.format(v, decimals) for v in observed.tolist()]
    elif pd.api.types.is_float_dtype(values.dtype):
        decimals = dialect.decimals.get(name)
        if decimals is None:  # with the digits that identify the number in its precision
            cells = observed.to_numpy().astype(str).tolist()
        else:
            cells = [_format_number(v, decimals) for v in observed.tolist()]
        cells = [cell.replace(".", dialect.decimal) for cell in cells]
    elif pd.api.types.is_datetime64_any_dtype(values.dtype):
        cells = _format_dates(observed, dialect.dates.get(name, ""))
    else:
        cells = list(map(str, observed.tolist()))
    column = np.full(len(values), dialect.missing.get(name, ""), dtype=object)
    column[values.notna().to_numpy(dtype=bool)] = cells
    return list(column)


def _styled_column(
    cells: pd.Series, stripped: dict[str, str], style: NumberStyle, missing: str | None
) -> TypedColumn:
    """Return a column of numbers with a currency or thousands separators, or of times of day."""
    numbers = {text: style.parse(plain) for text, plain in stripped.items()}
    fractions = [plain.partition(style.decimal)[2] for plain in stripped.values()]
    decimals = max(sum(map(str.isdigit, fraction)) for fraction in fractions)
    name = f"Column '{truncate(cells.name)}'"
    if style.time:
        note = f"{name} contains times of day and is read as seconds since midnight."
    else:
        note = (
            f"{name} is read as numbers in the format '{truncate(next(iter(stripped.values())))}'."
        )
    values = cells.map(numbers).astype("float64")
    if decimals and not style.time:
        return TypedColumn(values, (note,), missing, decimals=decimals, style=style)
    if values.abs().max() > LARGEST_INTEGER:
        return _text_column(cells, large_integer_note(cells.name))
    return TypedColumn(values.astype("Int64"), (note,), missing, style=style)


def _missing_token(cells: pd.Series, tokens: Sequence[str]) -> str | None:
    """Return the most frequent token, or None if no token occurs."""
    counts = cells[cells.isin(tokens)].value_counts()
    return max(tokens, key=lambda token: counts.get(token, 0)) if len(counts) else None


def _floats(cells: pd.Series, numbers: dict[str, float]) -> pd.Series:
    for text, number in numbers.items():
        if not math.isfinite(number):
            raise VariedError(
                f"Row {cells.index[cells == text][0]} of column '{truncate(cells.name)}' contains "
                f"{text}; leave the cell empty, or replace it with a finite number."
            )
    return cells.map(numbers).astype("float64")


def _decimals(texts: Sequence[str]) -> int | None:
    """Return the maximum number of decimals, or None if any number has an exponent."""
    if any("e" in text.lower() for text in texts):
        return None
    return max(len(text.partition(".")[2]) for text in texts)


def _text_column(cells: pd.Series, *notes: str) -> TypedColumn:
    token = "" if (cells == "").any() else _missing_token(cells, _MISSING)
    words = [text for text in cells.unique() if text in _MISSING and text != token]
    if words:
        notes += (
            f"Column '{truncate(cells.name)}' keeps {', '.join(map(repr, words))} as text, since "
            f"only {repr(token) if token else 'an empty cell'} is read as a missing value.",
        )
    return TypedColumn(cells.where(cells != token, None), notes, token)


def _why_text(
    cells: pd.Series, texts: Sequence[str], stripped: Sequence[str], decimal: str
) -> tuple[str, ...]:
    """Return a note about a text column that was probably meant to contain numbers."""
    name, is_plain = truncate(cells.name), _NUMBER[decimal].fullmatch
    if all(_LEADING_ZEROS.fullmatch(t) or is_plain(t) for t in stripped):
        return (f"Column '{name}' is read as text, because it has numbers with leading zeros.",)
    others = [text for text, t in zip(texts, stripped, strict=True) if not is_plain(t)]
    is_other = cells.isin(others)
    if is_other.sum() <= (1 - _MOSTLY) * cells.isin(texts).sum():
        return (
            f"Column '{name}' is read as text, because row {cells.index[is_other][0]} contains "
            f"'{truncate(others[0])}'.",
        )
    return ()


def _format_number(value: float, decimals: int) -> str:
    """Format a number with ``decimals`` decimals."""
    text = repr(round(value, decimals) + 0.0)  # + 0.0 turns -0.0 into 0.0
    if "e" in text:
        return text
    return text.ljust(text.index(".") + 1 + min(decimals, _FLOAT_DIGITS), "0")


def _format_dates(values: pd.Series, date_format: str) -> list[Any]:
    # strftime truncates to microseconds.
    if not date_format or ("%f" in date_format and values.dt.nanosecond.any()):
        return list(values.astype(str))
    return list(values.dt.strftime(date_format))
