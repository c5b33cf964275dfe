"""Typed columns, as returned by readers, and their assembly into a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from varied.data.tables.dialect import TableDialect, truncate
from varied.data.tables.merge_notes import list_names, merge_notes
from varied.data.tables.number_styles import NumberStyle
from varied.errors import VariedError

#: The maximum number of columns of a file; inferring the type of each takes about a millisecond.
_MAX_COLUMNS = 100_000
#: Above this value, float64 cannot represent every integer.
LARGEST_INTEGER = 2**53

Table = tuple[pd.DataFrame, TableDialect, tuple[str, ...]]


@dataclass(frozen=True)
class TypedColumn:
    """A column of dtype float64, Int64, datetime64[ns] or boolean, or a column of text.

    Arguments:
        values: The values; text has the dtype object, with None where missing.
        notes: Notes for the user, one sentence each.
        missing: The string that is read as a missing value, if any.
        date_format: The `strftime` format of dates.
        decimals: The number of digits after the decimal separator.
        levels: The levels of a categorical dtype, in order.
        dtype: The original dtype of a pandas column.
        is_ordered: Whether the categories of a pandas column are ordered.
        style: The style of numbers with a currency or thousands separators, or of times of day.
    """

    values: pd.Series
    notes: tuple[str, ...] = ()
    missing: str | None = None
    date_format: str | None = None
    decimals: int | None = None
    levels: list[str] | None = None
    dtype: str | None = None
    is_ordered: bool = False
    style: NumberStyle | None = None


def assemble(
    columns: Mapping[str, TypedColumn], notes: Iterable[str] = (), **settings: Any
) -> Table:
    """Return the columns as a DataFrame, the dialect including ``settings``, and all notes."""
    items = columns.items()
    dialect = TableDialect(
        missing={name: c.missing for name, c in items if c.missing},
        dates={name: c.date_format for name, c in items if c.date_format},
        decimals={name: c.decimals for name, c in items if c.decimals is not None},
        levels={name: c.levels for name, c in items if c.levels is not None},
        dtypes={name: c.dtype for name, c in items if c.dtype},
        ordered=tuple(name for name, c in items if c.is_ordered),
        styles={name: c.style for name, c in items if c.style is not None},
        **settings,
    )
    frame = pd.DataFrame({name: c.values for name, c in items}).reset_index(drop=True)
    of_columns = merge_notes((name, note) for name, c in items for note in c.notes)
    return frame, dialect, (*notes, *of_columns)


def large_integer_note(name: object) -> str:
    """Return the note about a column with integers that float64 cannot represent."""
    return f"Column '{truncate(name)}' is read as text, because it has integers beyond 2^53."


def check_width(n_columns: int, table: str) -> None:
    """Check that a file does not have too many columns.

    Raises:
        VariedError: If it has too many columns.
    """
    if n_columns > _MAX_COLUMNS:
        raise VariedError(
            f"{table} has {n_columns:,} columns, and the limit is {_MAX_COLUMNS:,}; save the "
            "numbers as an array with numpy.save, or use fewer columns."
        )


def check_unique(names: list[str], table: str) -> None:
    """Check that the column names of a table are unique.

    Raises:
        VariedError: If a name occurs more than once; the message lists the duplicates.
    """
    duplicates = [name for name, n in Counter(names).items() if n > 1]
    if duplicates:
        raise VariedError(
            f"{table} has duplicate column names ({list_names(duplicates)}); rename the columns so "
            "that each name is unique."
        )
