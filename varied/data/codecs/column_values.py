"""Conversions between the cells of a column and numbers or Python values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]

#: With fewer distinct values, a common step may be a coincidence.
_MIN_GRID_VALUES = 10
#: A column with numbers above the first value has the second value as its unit, so that differences
#: do not overflow.
_HUGE, HUGE_UNIT = 2.0**900, 2.0**64


def unit_of(cells: pd.Series[Any]) -> float:
    """Return the unit of a column; see `NumericColumn`."""
    if cells.dtype.kind != "M":
        return HUGE_UNIT if cells.abs().max() > _HUGE else 1.0
    return 86400.0 if (cells.dropna().dt.normalize() == cells.dropna()).all() else 1.0


def grid(values: Array, digits: int | None) -> tuple[float, float]:
    """Return the common step and offset of distinct numbers, or zeros if they have none."""
    size = 10.0 ** (digits or 0)
    scaled = np.round(values * size)
    if digits is None or len(values) < _MIN_GRID_VALUES or np.abs(scaled).max() >= 2**53:
        return 0.0, 0.0
    integers = scaled.astype(np.int64)
    step = int(np.gcd.reduce(np.diff(integers)))
    return (step / size, int(integers[0]) % step / size) if step > 1 else (0.0, 0.0)


def to_float(cells: pd.Series[Any], unit: float) -> Array:
    """Convert numbers or dates to float64 in a unit, NaN where missing."""
    if cells.dtype.kind == "M":
        seconds: Array = cells.to_numpy("datetime64[s]").astype(np.float64) / unit
        return np.where(cells.isna().to_numpy(), np.nan, seconds)
    numbers: Array = cells.to_numpy(dtype=np.float64, na_value=np.nan) / unit
    return numbers


def python_values(cells: Any) -> list[Any]:
    """Convert values to Python values, with None where missing."""
    import pandas as pd

    return [None if is_na else v for v, is_na in zip(cells.tolist(), pd.isna(cells), strict=True)]


def to_series(values: Array | list[Any], name: str, dtype: str) -> pd.Series[Any]:
    """Convert Python values to cells with a name and a dtype."""
    import pandas as pd

    series = pd.Series(values, name=name, dtype=object)
    is_date = dtype.startswith("datetime64")
    return (pd.to_datetime(series) if is_date else series).astype(dtype)
