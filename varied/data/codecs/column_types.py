"""Which kind a column of a table is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from varied.data.codecs.columns import (
    CategoricalColumn,
    Column,
    IgnoredColumn,
    NumericColumn,
    TargetColumn,
)
from varied.data.tables.dialect import truncate
from varied.errors import VariedError, suggest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ANSWER", "KINDS", "column_of"]

#: A number with so few values is a choice of them.
FEW = 20
#: Rows below which a column that never repeats may well be chance.
ENOUGH = 20
#: Numbers beyond this are whole.
LARGEST = 2.0**53

KINDS = ("number", "category", "ignore")
#: What the column of the label is to a model that learns its classes.
ANSWER = "answer"
#: Words that say yes or no.
YES_NO = {"yes", "no", "y", "n", "true", "false", "t", "f", "on", "off", "0", "1", "0.0", "1.0"}
YES_NO |= {"ja", "nein", "oui", "non", "si", "sí", "da", "não", "sim"}


def column_of(cells: pd.Series[Any], asked: str | None = None, digits: int | None = None) -> Column:
    """Return the kind of column that the training cells are, fitted to them.

    Arguments:
        cells: Of one of the types that `Column.dtype` names.
        asked: What the person says that it is: "number", "category" or "ignore"; or `ANSWER`.
        digits: Digits after the point, where the table is written with so many.

    Raises:
        VariedError: If it cannot be what was asked for.
    """
    name, dtype = str(cells.name), str(cells.dtype)
    if asked == ANSWER:
        return TargetColumn.fit(cells)
    if asked is not None and asked not in KINDS:
        raise VariedError(f"A column is no '{asked}': {suggest(asked, KINDS)}")
    known = cells.dropna()
    if asked == "ignore":
        return IgnoredColumn(name, dtype, "left out, as asked")
    if not len(known):
        return IgnoredColumn(name, dtype, "empty")
    distinct = known.nunique()
    if distinct == 1 and len(known) == len(cells):
        return IgnoredColumn.constant(known)
    if asked == "category" and known.dtype.kind == "M":
        raise VariedError(f"The column '{truncate(name)}' holds dates, so it is no category.")
    if asked == "category" or dtype == "boolean":
        return CategoricalColumn.fit(cells, _one_of(known, "category"))
    if dtype == "object":
        if asked == "number":
            raise VariedError(f"The column '{truncate(name)}' holds words, so it is no number.")
        return _words(cells, known, distinct)
    if asked is None and _counts_rows(known, distinct, name):
        return IgnoredColumn(name, dtype, "identifier")
    kind = {"Int64": "whole number", "float64": "number"}.get(dtype, "date")
    if asked is None and kind != "date" and distinct <= FEW and len(known) >= 10 * distinct:
        return CategoricalColumn.fit(cells, _one_of(known, f"{kind} with few values"))
    return NumericColumn.fit(cells, kind, 0 if dtype == "Int64" else _digits(known, digits))


def _words(cells: pd.Series[Any], known: pd.Series[Any], distinct: int) -> Column:
    name = str(cells.name)
    if len(known) >= ENOUGH and distinct > len(known) / 2:
        long = known.str.contains(" ").mean() > 0.5
        return IgnoredColumn(name, "object", "text" if long else "identifier")
    return CategoricalColumn.fit(cells, _one_of(known, "category"))


def _one_of(known: pd.Series[Any], kind: str) -> str:
    """Return the kind of a choice: yes/no, or the one given."""
    words = {str(level).lower() for level in known.unique()}
    return "yes/no" if len(words) == 2 and words <= YES_NO else kind


def _counts_rows(known: pd.Series[Any], distinct: int, name: str) -> bool:
    """Whether whole numbers only tell rows apart: none repeats, and they rise or are called id."""
    if str(known.dtype) != "Int64" or distinct < len(known) or len(known) < ENOUGH:
        return False
    return bool(
        known.is_monotonic_increasing or re.search(r"(^|[\s_.-])(id|uuid|key)$", name, re.I)
    )


def _digits(known: pd.Series[Any], digits: int | None) -> int | None:
    """Return the digits after the point that all cells keep to; None where there are many."""
    if digits is not None or known.dtype.kind == "M":
        return 0 if known.dtype.kind == "M" else digits
    v = known.to_numpy(dtype=np.float64)
    v = v[np.abs(v) < LARGEST]
    return next((k for k in range(7) if np.allclose(np.round(v, k), v, rtol=1e-12, atol=0)), None)
