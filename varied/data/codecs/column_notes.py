"""Notes about the inferred columns of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from varied.data.codecs.columns import CategoricalColumn, Column, NumericColumn
from varied.data.tables.dialect import truncate
from varied.data.tables.merge_notes import merge_notes

#: The number of columns that a note lists.
_LISTED = 6


def describe_columns(columns: Sequence[Column]) -> list[str]:
    """Return sentences about the kinds of columns, frequent values and rare levels."""
    kinds: dict[str, list[str]] = {}
    for column in columns:
        kinds.setdefault(column.kind, []).append(column.name)
    notes = [f"{_list_names(names)}: {kind}." for kind, names in kinds.items()]
    return notes + merge_notes(_details(columns))


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
