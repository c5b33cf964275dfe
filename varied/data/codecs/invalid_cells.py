"""Invalid cells of new rows, and their description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from varied.data.codecs.cell_conversion import TYPE_NAMES, convert_cells
from varied.data.codecs.columns import (
    CategoricalColumn,
    Column,
    IgnoredColumn,
    LearnedColumn,
    NumericColumn,
)
from varied.data.codecs.relations import Relation, violations
from varied.data.tables.dialect import truncate
from varied.data.tables.merge_notes import list_names

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]

#: The number of cells that a sentence lists, and the number of columns that have a sentence.
_LISTED, _DESCRIBED = 3, 8


@dataclass(frozen=True)
class InvalidCells:
    """The invalid cells in a column of new rows.

    A cell is invalid if it cannot be read, has a level that does not occur in the training rows,
    differs from a value that is the same in all training rows, or violates a relation between
    columns.

    Arguments:
        column: The name of the column.
        mask: Whether each cell is invalid, as bool with shape (N).
        cells: The cells, with shape (N).
        expected: What a valid cell is, such as "a whole number" or "in the training rows".
        constant: The value of all training cells, as text, if the column was constant.
        relation: The relation between columns that the cells violate, as text.
    """

    column: str
    mask: Array
    cells: Array
    expected: str
    constant: str | None = None
    relation: str | None = None

    def reason(self, row: int) -> str:
        """Return a phrase that says why a cell is invalid."""
        name = truncate(self.column)
        if self.relation is not None:
            return f"{self.relation} does not hold"
        if self.constant is not None:
            return f"{name} was always {self.constant} in training"
        return f"{name} {_quote(self.cells[row])} is not {self.expected}"

    def describe(self) -> str:
        """Return a sentence with the first invalid cells, counting rows from 1."""
        rows = np.flatnonzero(self.mask)
        if self.relation is not None:
            n = f"{len(rows):,} of {len(self.mask):,} rows"
            return f"{self.relation} holds in all training rows, but not in {n}."
        listed = ", ".join(f"{_quote(self.cells[i])} in row {i + 1}" for i in rows[:_LISTED])
        if len(rows) > _LISTED:
            listed += f" and {len(rows) - _LISTED:,} more rows"
        name = f"Column '{truncate(self.column)}'"
        if self.constant is not None:
            return f"{name} was always {self.constant} in training, but is {listed}."
        return (
            f"{name} has a value that is not {self.expected} ({listed}); it is treated as missing."
        )


def find_invalid_cells(
    column: Column, cells: pd.Series[Any], **formats: Any
) -> Iterator[InvalidCells]:
    """Yield the invalid cells of a column, except those that violate a relation.

    Arguments:
        column: The column, which is fitted to the training rows.
        cells: The cells of new rows, with shape (N).
        formats: The formats in which cells are read; see `convert_cells`.
    """
    converted, unreadable = convert_cells(cells, column.dtype, **formats)
    values = cells.to_numpy(dtype=object)
    if isinstance(column, IgnoredColumn):
        if column.has_known_value:
            different = column.differs(converted) | unreadable
            if different.any():
                yield InvalidCells(column.name, different, values, "", _constant(column))
        return
    if not isinstance(column, LearnedColumn):
        return
    if unreadable.any():
        yield InvalidCells(column.name, unreadable, values, TYPE_NAMES.get(column.dtype, "a date"))
    if isinstance(column, CategoricalColumn):
        unseen = column.is_unseen(converted)
        if unseen.any():
            yield InvalidCells(column.name, unseen, values, "in the training rows")


def find_violations(
    frame: pd.DataFrame, relations: Sequence[Relation], columns: Mapping[str, NumericColumn]
) -> list[InvalidCells]:
    """Return the cells that violate relations between columns.

    Arguments:
        frame: New rows, with the types of the training rows.
        relations: The relations, which hold in all training rows.
        columns: The numeric columns by name.
    """
    masks = violations(frame, relations, columns)
    return [
        InvalidCells(r.target, mask, frame[r.target].to_numpy(object), "", relation=str(r))
        for r, mask in zip(relations, masks, strict=True)
        if mask.any()
    ]


def describe_invalid_cells(invalid: Sequence[InvalidCells]) -> list[str]:
    """Return a sentence for each of the first columns, and one for all others."""
    names = list(dict.fromkeys(cells.column for cells in invalid[_DESCRIBED:]))
    more = [f"There are more such cells in {list_names(names)}."] * bool(names)
    return [cells.describe() for cells in invalid[:_DESCRIBED]] + more


def _constant(column: IgnoredColumn) -> str:
    return "empty" if column.value is None else _quote(column.value)


def _quote(value: Any) -> str:
    return truncate(repr(value) if isinstance(value, str) else value)
