"""Notes about the inferred columns of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from varied.data.codecs.columns import CategoricalColumn, Column, NumericColumn
from varied.data.tables.dialect import truncate
from varied.data.tables.merge_notes import merge_notes

if TYPE_CHECKING:
    import pandas as pd

#: The number of columns that a note lists.
_LISTED = 6
#: A level with a smaller fraction of the rows is rare.
_RARE = 0.25


def describe_columns(columns: Sequence[Column]) -> list[str]:
    """Return notes about the kinds of columns, frequent values and rare levels."""
    kinds: dict[str, list[str]] = {}
    for column in columns:
        kinds.setdefault(column.kind, []).append(column.name)
    notes = [f"{_list_names(names)}: {kind}." for kind, names in kinds.items()]
    return notes + merge_notes(_details(columns))


def describe_rare_classes(columns: Sequence[Column], frame: pd.DataFrame) -> list[str]:
    """Return a note about the columns with two levels, one of them rare; empty if there are none.

    Arguments:
        columns: The columns of the table.
        frame: The training rows.
    """
    names = [
        column.name
        for column in columns
        if isinstance(column, CategoricalColumn)
        and len(column.levels) == 2
        and (frame[column.name].dropna() == column.levels[1]).mean() < _RARE
    ]
    if not names:
        return []
    return [
        f"{_list_names(names)}: fewer than {100 * _RARE:g}% of the rows have the rarer of the two "
        "levels; to preserve the relation of such a column to the others, generate rows for each "
        "level (--labels COLUMN --model conditional-vae)."
    ]


def _details(columns: Sequence[Column]) -> Iterator[tuple[str, str]]:
    for column in columns:
        name = truncate(column.name)
        if isinstance(column, NumericColumn) and column.frequent:
            values = column.from_float(np.array(column.frequent))
            listed = ", ".join(str(v) if column.kind == "date" else f"{v:g}" for v in values)
            note = f"{name}: frequent values are modeled as categories ({listed})."
            yield column.name, note
        if isinstance(column, CategoricalColumn) and column.rare:
            yield (
                column.name,
                (
                    f"{name}: the {len(column.levels):,} most frequent levels are modeled "
                    f"individually, and the other {len(column.rare):,} levels as one category."
                ),
            )


def _list_names(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(truncate(name, 80) for name in names[:_LISTED]) + more
