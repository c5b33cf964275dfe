"""Inference of the type of each column of a table: number, count, category or ignored."""

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

#: The types that the user can choose.
COLUMN_TYPES = ("number", "count", "category", "ignore")
#: The type of a label column that is not part of the model's input.
TARGET = "target"

#: A numeric column with at most this many distinct values, each in at least ten cells on average,
#: is treated as categorical.
_FEW_VALUES = 20
#: With fewer rows, a column may have no duplicates by chance.
_ENOUGH_ROWS = 20
#: All floats above this are integers.
_LARGEST_FRACTION = 2.0**53
_YES_NO = {"yes", "no", "y", "n", "true", "false", "t", "f", "on", "off", "0", "1", "0.0", "1.0"}
_YES_NO |= {"ja", "nein", "oui", "non", "si", "sí", "da", "não", "sim"}


def infer_column(
    cells: pd.Series[Any], column_type: str | None = None, digits: int | None = None
) -> Column:
    """Infer the type of a column and fit the column to its training cells.

    Arguments:
        cells: The cells, with one of the dtypes of `Column`.
        column_type: One of `COLUMN_TYPES` or `TARGET`; inferred by default.
        digits: The number of decimals in the file, if known.

    Raises:
        VariedError: If the cells cannot have the given type.
    """
    name, dtype = str(cells.name), str(cells.dtype)
    if column_type == TARGET:
        return TargetColumn.fit(cells)
    if column_type is not None and column_type not in COLUMN_TYPES:
        raise VariedError(
            f"There is no column type '{column_type}': {suggest(column_type, COLUMN_TYPES)}"
        )
    observed = cells.dropna()
    if column_type == "ignore":
        return IgnoredColumn(name, dtype, "ignored by the user")
    if not len(observed):
        return IgnoredColumn(name, dtype, "empty")
    n_values = observed.nunique()
    if n_values == 1 and len(observed) == len(cells):
        return IgnoredColumn.constant(observed)
    if column_type == "category" and observed.dtype.kind == "M":
        raise VariedError(
            f"Column '{truncate(name)}' contains dates and cannot be categorical; omit its type."
        )
    if column_type == "category" or dtype == "boolean":
        return CategoricalColumn.fit(cells, _category_kind(observed, "category"))
    if column_type == "count":
        _check_counts(observed, name)
        return NumericColumn.fit_counts(cells)
    if dtype == "object":
        if column_type == "number":
            raise VariedError(
                f"Column '{truncate(name)}' contains text and cannot be numeric; declare it as a "
                "category."
            )
        return _text_column(cells, observed, n_values)
    if column_type is None and _is_identifier(observed, n_values, name):
        return IgnoredColumn(name, dtype, "identifier")
    kind = {"Int64": "whole number", "float64": "number"}.get(dtype, "date")
    if kind == "number" and _is_whole(observed):
        kind = "whole number"  # such as 84.0, since integers with missing cells are often floats
    is_category = n_values <= _FEW_VALUES and len(observed) >= 10 * n_values
    if column_type is None and kind != "date" and is_category:
        return CategoricalColumn.fit(cells, _category_kind(observed, f"{kind} with few values"))
    return NumericColumn.fit(cells, kind, 0 if kind != "number" else infer_digits(observed, digits))


def _check_counts(observed: pd.Series[Any], name: str) -> None:
    is_numeric = observed.dtype.kind in "iuf"
    if not is_numeric or not _is_whole(observed) or observed.min() < 0:
        raise VariedError(
            f"Column '{truncate(name)}' contains values other than non-negative whole numbers and "
            "cannot be a count; omit its type."
        )


def _text_column(cells: pd.Series[Any], observed: pd.Series[Any], n_values: int) -> Column:
    if len(observed) >= _ENOUGH_ROWS and n_values > len(observed) / 2:
        is_text = observed.str.contains(" ").mean() > 0.5
        return IgnoredColumn(str(cells.name), "object", "text" if is_text else "identifier")
    return CategoricalColumn.fit(cells, _category_kind(observed, "category"))


def _category_kind(observed: pd.Series[Any], kind: str) -> str:
    """Return "yes/no" if there are two levels that mean yes and no, or else `kind`."""
    levels = {str(level).lower() for level in observed.unique()}
    return "yes/no" if len(levels) == 2 and levels <= _YES_NO else kind


def _is_identifier(observed: pd.Series[Any], n_values: int, name: str) -> bool:
    """Return whether integers are distinct, and either increasing or in a column such as "id"."""
    if str(observed.dtype) != "Int64" or n_values < len(observed) or len(observed) < _ENOUGH_ROWS:
        return False
    is_named = re.search(r"(^|[\s_.-])(id|uuid|key)$", name, re.IGNORECASE)
    return bool(observed.is_monotonic_increasing or is_named)


def _is_whole(observed: pd.Series[Any]) -> bool:
    """Return whether all floats are integers of at most 2^53, up to which float64 is exact."""
    v = observed.to_numpy(dtype=np.float64)
    return bool((np.round(v) == v).all() and np.abs(v).max() <= _LARGEST_FRACTION)


def infer_digits(observed: pd.Series[Any], digits: int | None = None) -> int | None:
    """Return the number of decimals of floats, or None if it is greater than six."""
    if digits is not None:
        return digits
    v = observed.to_numpy(dtype=np.float64)
    v = v[np.abs(v) < _LARGEST_FRACTION]
    return next((k for k in range(7) if np.allclose(np.round(v, k), v, rtol=1e-12, atol=0)), None)
