"""Conversion of cells of new rows to the type of a column, and detection of unreadable cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]

#: The name of each type in a message. Text is omitted, since every cell can be converted to it.
TYPE_NAMES = {
    "Int64": "a whole number",
    "float64": "a number",
    "datetime64[ns]": "a date",
    "boolean": "true or false",
}
_LARGEST_INTEGER = 2.0**53


def convert_cells(
    cells: pd.Series[Any],
    dtype: str,
    *,
    decimals: Sequence[str] = ".",
    date_format: str = "",
    style: Mapping[str, str] | None = None,
) -> tuple[pd.Series[Any], Array]:
    """Convert cells to the dtype of a column.

    Arguments:
        cells: The cells, with shape (N).
        dtype: The dtype of the column: "float64", "Int64", "datetime64[ns]", "boolean" or "object".
        decimals: The decimal separators of numbers in text, in the order in which they are tried.
        date_format: The `strftime` format of the column during training; "" if it is unknown.
        style: The fields of the `NumberStyle` of the column during training, if it has one.

    Returns:
        The converted cells, which are missing where they cannot be read; and whether each cell
        cannot be read, as bool with shape (N).
    """
    from varied.data.tables.text_columns import MISSING_NUMBER

    if str(cells.dtype) == dtype:
        return cells, np.zeros(len(cells), bool)
    if dtype == "object":
        return _to_text(cells), np.zeros(len(cells), bool)
    if cells.dtype.kind == "O":  # text, as objects or as a string dtype of pandas
        cells = cells.astype(object).mask(cells.isin(MISSING_NUMBER), None)
    if dtype.startswith("datetime64"):
        converted = _to_dates(cells, date_format).astype(dtype)
    else:
        converted = _to_numbers(cells, dtype, decimals, style).astype(dtype)
    return converted, (converted.isna() & cells.notna()).to_numpy(dtype=bool)


def _to_text(cells: pd.Series[Any]) -> pd.Series[Any]:
    texts = cells.map(lambda v: f"{v:.15g}") if cells.dtype.kind == "f" else cells.astype(str)
    return texts.astype(object).where(cells.notna(), None)


def _to_numbers(
    cells: pd.Series[Any], dtype: str, decimals: Sequence[str], style: Mapping[str, str] | None
) -> pd.Series[Any]:
    """Convert cells to float64; values that are not possible for the dtype become missing."""
    import pandas as pd

    from varied.data.tables.number_styles import NumberStyle
    from varied.data.tables.text_columns import parse_number

    if cells.dtype.kind == "M":
        return pd.Series(np.nan, cells.index, dtype="float64", name=cells.name)
    if cells.dtype == object:
        texts = {v: str(v).strip(" ") for v in cells.dropna().unique()}
        if dtype == "boolean":
            words = {"true": 1.0, "false": 0.0}
            numbers = {v: words.get(text.lower(), np.nan) for v, text in texts.items()}
        else:
            numbers = {v: parse_number(text, decimals) for v, text in texts.items()}
        if style:
            parse = NumberStyle(**style).parse
            numbers = {
                v: parse(text) if isnan(numbers[v]) else numbers[v] for v, text in texts.items()
            }
        cells = cells.map(numbers)
    values = cells.to_numpy(dtype=np.float64, na_value=np.nan)
    possible = np.isfinite(values)
    if dtype == "Int64":
        possible &= (np.round(values) == values) & (np.abs(values) <= _LARGEST_INTEGER)
    if dtype == "boolean":
        possible &= np.isin(values, (0.0, 1.0))
    return pd.Series(np.where(possible, values, np.nan), cells.index, name=cells.name)


def _to_dates(cells: pd.Series[Any], date_format: str) -> pd.Series[Any]:
    import pandas as pd

    from varied.data.tables.dates import parse_most_dates

    if cells.dtype.kind == "M":
        return cells
    if cells.dtype != object:
        return pd.Series(pd.NaT, cells.index, dtype="datetime64[ns]", name=cells.name)
    texts = [str(v) for v in cells.dropna().unique()]
    dates = dict(zip(texts, pd.Series(parse_most_dates(texts, date_format)), strict=True))
    return cells.map(lambda v: dates[str(v)], na_action="ignore").astype("datetime64[ns]")
