"""Notes about the inferred columns of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from varied.data.codecs.columns import CategoricalColumn, Column, NumericColumn
from varied.data.tables.dialect import truncate


def describe_columns(columns: Sequence[Column]) -> list[str]:
    """Return sentences about the kinds of columns, frequent values and rare levels."""
    kinds: dict[str, list[str]] = {}
    for column in columns:
        kinds.setdefault(column.kind, []).append(column.name)
    notes = [f"{_list_names(names)}: {kind}." for kind, names in kinds.items()]
    for column in columns:
        name = truncate(column.name)
        if isinstance(column, NumericColumn) and column.frequent:
            values = column.from_float(np.array(column.frequent))
            listed = ", ".join(str(v) if column.kind == "date" else f"{v:g}" for v in values)
            notes.append(f"{name}: frequent values are modeled as categories ({listed}).")
        if isinstance(column, CategoricalColumn) and column.rare:
            notes.append(
                f"{name}: the {len(column.levels):,} most frequent levels are modeled "
                f"individually, and the other {len(column.rare):,} levels as one category."
            )
    return notes


def _list_names(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(truncate(name, 80) for name in names[:most]) + more
