"""Typed columns given back as the frame they came from, with the types it had."""

from __future__ import annotations

import dataclasses
import importlib
import re
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from varied.data.tables.dialect import TableDialect
from varied.errors import VariedError

__all__ = ["to_arrow", "to_frame"]


def to_frame(frame: pd.DataFrame, form: TableDialect) -> Any:
    """Return typed columns as the kind of frame that they came from.

    A column keeps the type of `varied.data.tables` where its values do not allow the one it had.

    Arguments:
        frame: Typed columns, as `from_frame` returns them.
        form: What `from_frame` remembered.

    Raises:
        VariedError: If polars or pyarrow is wanted and missing.

    Example:
        >>> from varied.data.tables.frame_reader import from_frame
        >>> typed, form, _ = from_frame(pd.DataFrame({"a": np.array([1, 2], "int8")}))
        >>> str(to_frame(typed, form)["a"].dtype)
        'int8'
    """
    if form.kind == "polars":
        return _to_polars(frame, form)
    if form.kind == "pyarrow":
        return to_arrow(frame, form)
    index = frame.index  # a column that is built anew would count from 0
    columns = {name: _pandas(frame[name], name, form).set_axis(index) for name in frame.columns}
    names = [form.names.get(name, name) for name in frame.columns]
    return pd.DataFrame(columns).set_axis(names, axis=1)


def to_arrow(frame: pd.DataFrame, form: TableDialect) -> Any:
    """Return typed columns as a table of pyarrow, with the types it had if it came from one.

    Raises:
        VariedError: If pyarrow is missing.
    """
    pa = _wanted("pyarrow", "parquet")
    arrays = []
    for name in frame.columns:
        array = pa.array(_plain(frame[name]), type=_arrow_type(pa, frame[name].dtype))
        if form.kind == "pyarrow":
            array = _arrow_cast(pa, array, name, form)
        arrays.append(array)
    return pa.table(arrays, names=list(frame.columns))


def _wanted(library: str, extra: str) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise VariedError(
            f"This table needs {library}: pip install 'varied[{extra}]', or give a CSV."
        ) from error


def _plain(values: pd.Series) -> list[Any]:
    """Return Python values, None where missing."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        whole = values.to_numpy(dtype="datetime64[ns]")
        return [None if np.isnat(v) else v.astype(np.int64).item() for v in whole]
    return [None if pd.isna(v) else v for v in values.tolist()]


def _arrow_type(pa: Any, dtype: Any) -> Any:
    """Return pyarrow's type of a typed column."""
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return pa.timestamp("ns")
    if pd.api.types.is_bool_dtype(dtype):
        return pa.bool_()
    if pd.api.types.is_integer_dtype(dtype):
        return pa.int64()
    return pa.float64() if pd.api.types.is_float_dtype(dtype) else pa.string()


def _arrow_cast(pa: Any, array: Any, name: str, form: TableDialect) -> Any:
    dtype = form.dtypes.get(name, str(array.type)).removesuffix("[pyarrow]")
    try:
        if zone := re.fullmatch(r"timestamp\[(\w+), tz=(.+)\]", dtype):
            return array.cast(pa.timestamp("ns", "UTC")).cast(pa.timestamp(zone[1], zone[2]))
        if stamp := re.fullmatch(r"timestamp\[(\w+)\]", dtype):
            return array.cast(pa.timestamp(stamp[1]))
        if exact := re.fullmatch(r"decimal(?:32|64|128|256)\((\d+), (-?\d+)\)", dtype):
            digits = max(0, int(exact[2]))
            numbers = [None if v is None else _decimal(v, digits) for v in array.to_pylist()]
            kind = pa.decimal256 if "256" in dtype else pa.decimal128
            return pa.array(numbers, type=kind(int(exact[1]), int(exact[2])))
        if found := re.fullmatch(r"dictionary<values=(\w+), indices=(\w+), ordered=(\d)>", dtype):
            return _arrow_dictionary(pa, array, form.levels.get(name, []), *found.groups())
        if dtype == "null":
            return pa.nulls(len(array))
        return array.cast(pa.type_for_alias(dtype))
    except (pa.ArrowException, ValueError, KeyError):
        return array


def _arrow_dictionary(
    pa: Any, array: Any, levels: list[str], inner: str, indices: str, ordered: str
) -> Any:
    place = {level: i for i, level in enumerate(levels)}
    codes = [None if v is None else place[v] for v in array.to_pylist()]
    words = pa.array(levels, pa.string()).cast(pa.type_for_alias(inner))
    numbers = pa.array(codes, pa.type_for_alias(indices))
    return pa.DictionaryArray.from_arrays(numbers, words, ordered=ordered == "1")


def _to_polars(frame: pd.DataFrame, form: TableDialect) -> Any:
    pl = _wanted("polars", "polars")
    return pl.DataFrame([_polars(pl, frame[name], name, form) for name in frame.columns])


def _polars(pl: Any, values: pd.Series, name: str, form: TableDialect) -> Any:
    dtype = values.dtype
    if pd.api.types.is_datetime64_any_dtype(dtype):
        series = pl.Series(name, _plain(values), dtype=pl.Int64).cast(pl.Datetime("ns"))
    elif pd.api.types.is_bool_dtype(dtype):
        series = pl.Series(name, _plain(values), dtype=pl.Boolean)
    elif pd.api.types.is_integer_dtype(dtype):
        series = pl.Series(name, _plain(values), dtype=pl.Int64)
    elif pd.api.types.is_float_dtype(dtype):
        series = pl.Series(name, _plain(values), dtype=pl.Float64)
    else:
        series = pl.Series(name, _plain(values), dtype=pl.String)
    try:
        return _polars_cast(pl, series, form.dtypes.get(name, ""), form.levels.get(name, []))
    except pl.exceptions.PolarsError:
        return series


def _polars_cast(pl: Any, series: Any, dtype: str, levels: list[str]) -> Any:
    word = dtype.partition("(")[0]
    settings = dict(re.findall(r"(\w+)='?([^',)]+)'?", dtype))
    if word == "Datetime":
        zone = settings.get("time_zone", "None")
        series = series.cast(pl.Datetime(settings["time_unit"]))
        if zone == "None":
            return series
        return series.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    if word == "Decimal":
        scale, precision = int(settings["scale"]), settings["precision"]
        exact = [None if v is None else f"{v:.{scale}f}" for v in series.to_list()]
        digits = None if precision == "None" else int(precision)
        return pl.Series(series.name, exact, dtype=pl.String).cast(pl.Decimal(digits, scale))
    if word == "Enum":
        return series.cast(pl.Enum(levels))
    return series.cast(getattr(pl, word)) if word in POLARS else series


def _decimal(value: float, digits: int) -> Decimal:
    return Decimal(f"{value:.{digits}f}")


def _pandas(values: pd.Series, name: str, form: TableDialect) -> pd.Series:
    dtype = form.dtypes.get(name, "")
    try:
        if dtype.startswith("category["):
            return _pandas_category(values, dtype[9:-1], form.levels[name], name in form.ordered)
        if dtype.startswith("object["):
            return pd.Series(_pandas_objects(values, dtype[7:-1], name, form), dtype=object)
        if dtype.endswith("[pyarrow]"):
            array = to_arrow(values.to_frame(name), dataclasses.replace(form, kind="pyarrow"))[0]
            return pd.Series(array, dtype=pd.ArrowDtype(array.type))
        if zone := re.fullmatch(r"datetime64\[(\w+), (.+)\]", dtype):
            return values.dt.as_unit(zone[1]).dt.tz_localize("UTC").dt.tz_convert(zone[2])
        if values.dtype == object and re.fullmatch(r"u?int64|U?Int64", dtype):
            whole = [None if v is None else int(v) for v in values]
            return pd.Series(whole, dtype=dtype if None not in whole else dtype.capitalize())
        given = values.astype(dtype) if dtype else values
    except (TypeError, ValueError, OverflowError, KeyError):
        return values
    same = pd.api.types.is_integer_dtype(values.dtype) and not (given == values).all()
    return values if same else given


def _pandas_category(values: pd.Series, inner: str, levels: list[str], ordered: bool) -> pd.Series:
    place = {level: i for i, level in enumerate(levels)}
    codes = [-1 if v is None else place[v] for v in values]
    found: Any = levels
    if inner == "bool":
        found = [level == "True" for level in levels]
    elif inner.startswith("interval["):
        found = _intervals(levels)
    elif inner not in ("object", "str", "string"):
        try:
            found = pd.Index(levels).astype(inner)
        except (TypeError, ValueError):
            found = levels
    elif inner != "str":
        found = pd.Index(levels, dtype=inner)
    return pd.Series(pd.Categorical.from_codes(codes, found, ordered=ordered))


def _intervals(levels: list[str]) -> Any:
    """Return what `pandas.cut` says, such as (0.5, 1.0], as intervals."""
    ends = [level[1:-1].split(", ") for level in levels]
    low, high = (np.array(side).astype(np.float64) for side in zip(*ends, strict=True))
    closed = {"(]": "right", "[)": "left", "[]": "both", "()": "neither"}
    shape = levels[0][0] + levels[0][-1]
    return pd.IntervalIndex.from_arrays(low, high, closed=closed[shape])


def _pandas_objects(values: pd.Series, inner: str, name: str, form: TableDialect) -> list[Any]:
    there = [None if pd.isna(v) else v for v in values.tolist()]
    if inner == "date":
        return [None if v is None else v.date() for v in there]
    if inner == "decimal":
        digits = form.decimals.get(name, 0)
        return [None if v is None else _decimal(v, digits) for v in there]
    if inner == "integer" and values.dtype == object:
        return [None if v is None else int(v) for v in there]
    return there


POLARS = {
    *("Boolean", "Null", "String", "Categorical", "Date", "Float16", "Float32", "Float64"),
    *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64, 128)),
}
