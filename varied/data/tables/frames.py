"""Conversion of pandas, polars and pyarrow DataFrames to typed columns and back."""

from __future__ import annotations

import base64
import dataclasses
import importlib
import io
import json
from decimal import Decimal
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from varied.data.tables.dialect import TableDialect, truncate
from varied.data.tables.merge_notes import list_names
from varied.data.tables.typed_column import (
    LARGEST_INTEGER,
    Table,
    TypedColumn,
    assemble,
    check_unique,
    large_integer_note,
)
from varied.errors import VariedError
from varied.stored_values import stored_in

#: A column of floats with more decimals than this has no fixed number of decimals.
_MAX_DECIMALS = 6
#: Kinds of values that can be converted back to a type that narwhals does not know, such as
#: date64 and decimal256 in Arrow.
_CONVERTIBLE = ("empty", "date", "decimal")


def from_frame(frame: Any) -> Table:
    """Convert a DataFrame to typed columns.

    Arguments:
        frame: A DataFrame from pandas, polars, pyarrow or another library that narwhals supports.

    Returns:
        A pandas DataFrame with columns of float64, Int64, datetime64[ns], boolean or text (object,
        None where missing); the dialect; and notes for the user, one sentence each.

    Raises:
        VariedError: If ``frame`` is not a DataFrame or is empty, two columns have the same name, or
            a column contains lists, mixed types, infinite numbers, or dates outside 1678 to 2261.

    Example:
        >>> frame, dialect, notes = from_frame(pd.DataFrame({"a": [1, 2], "b": ["x", None]}))
        >>> [str(t) for t in frame.dtypes], dialect.library, dialect.dtypes["a"]
        (['Int64', 'object'], 'pandas', 'int64')
    """
    notes: list[str] = []
    settings: dict[str, Any] = {}
    if isinstance(frame, pd.DataFrame):
        settings["names"] = {str(n): int(n) for n in frame if isinstance(n, int | np.integer)}
        frame, notes = _with_text_names(frame)
    # Only pyarrow allows duplicate names.
    check_unique(list(getattr(frame, "column_names", [])), "The table")
    try:
        table = nw.from_native(frame)
    except (TypeError, ValueError) as error:
        raise VariedError(
            f"A {type(frame).__name__} is not a DataFrame; convert it with pandas.DataFrame(...)."
        ) from error
    table = table.collect() if isinstance(table, nw.LazyFrame) else table
    library, native = table.implementation.name.lower(), table.to_native()
    if library not in ("pandas", "polars", "pyarrow"):
        return from_frame(table.to_pandas())
    if not all(table.shape):
        raise VariedError("The table has no rows or no columns; at least one of each is required.")
    columns = {name: _type_column(table[name], name) for name in table.columns}
    return assemble(columns, notes, library=library, schema=_schema(native, library), **settings)


def to_frame(frame: pd.DataFrame, dialect: TableDialect) -> Any:
    """Convert typed columns to a DataFrame of the original library, with the original types.

    A column is not converted if its values cannot be represented in the original type.

    Arguments:
        frame: Typed columns, as `from_frame` returns them.
        dialect: The dialect, as `from_frame` returns it.

    Raises:
        VariedError: If the library is not installed.

    Example:
        >>> columns, dialect, _ = from_frame(pd.DataFrame({"a": np.array([1, 2], "int8")}))
        >>> str(to_frame(columns, dialect)["a"].dtype)
        'int8'
    """
    if dialect.library == "polars":
        pl = import_library("polars", extra="polars")
        with stored_in("The schema of the table"):
            schema = io.BytesIO(base64.b64decode(dialect.schema))
            types = pl.read_ipc(schema).schema if dialect.schema else {}
        return pl.DataFrame([_polars(pl, frame[name], types.get(name)) for name in frame])
    if dialect.library == "pyarrow":
        return to_arrow(frame, dialect)
    types, frame = _arrow_types(dialect), _with_times(frame, dialect)
    columns = {n: _pandas(frame[n], n, dialect, types.get(n)).set_axis(frame.index) for n in frame}
    return pd.DataFrame(columns).set_axis([dialect.names.get(n, n) for n in frame], axis=1)


def to_arrow(frame: pd.DataFrame, dialect: TableDialect) -> Any:
    """Convert typed columns to a pyarrow table, with the original pandas or pyarrow types.

    Raises:
        VariedError: If pyarrow is not installed.
    """
    pa = import_library("pyarrow")
    if dialect.library == "pandas" and dialect.dtypes:
        dtypes = {n: _stored_dtype(dtype) for n, dtype in dialect.dtypes.items()}
        typed = to_frame(frame, dataclasses.replace(dialect, dtypes=dtypes, names={}))
        return _without_null_type(pa, pa.Table.from_pandas(typed, preserve_index=False))
    types = _arrow_types(dialect) if dialect.library == "pyarrow" else {}
    frame = _with_times(frame, dialect)
    arrays = [_arrow(pa, frame[n], types.get(n), dialect.levels.get(n, [])) for n in frame]
    return pa.table(arrays, names=list(frame), metadata=_pandas_metadata(frame, dialect))


def _stored_dtype(dtype: str) -> str:
    """Return the dtype of a column in a file; files have no intervals or big-endian numbers."""
    return "" if "[interval" in dtype else dtype.removeprefix(">")


def _with_times(frame: pd.DataFrame, dialect: TableDialect) -> pd.DataFrame:
    """Convert times of day from seconds since midnight to text."""
    texts = {
        name: frame[name].astype(object).map(lambda v, s=style: s.format(v, None), "ignore")
        for name, style in dialect.styles.items()
        if name in frame and style.time and pd.api.types.is_numeric_dtype(frame[name].dtype)
    }
    return frame.assign(**{name: cells.where(cells.notna(), None) for name, cells in texts.items()})


def _without_null_type(pa: Any, table: Any) -> Any:
    """Return a table in which columns without any value are columns of text."""
    fields = [f.with_type(pa.string()) if pa.types.is_null(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields, table.schema.metadata))


def _pandas_metadata(frame: pd.DataFrame, dialect: TableDialect) -> dict[str, str] | None:
    """Return the metadata from which pandas restores dtypes such as Int64, if there are any."""
    if dialect.library != "pyarrow" or not dialect.schema:
        return None
    metadata = _read_schema(dialect).metadata or {}
    if b"pandas" not in metadata:
        return None
    pandas = json.loads(metadata[b"pandas"])
    columns = [column for column in pandas["columns"] if column["field_name"] in frame]
    return {"pandas": json.dumps(pandas | {"columns": columns, "index_columns": []})}


def import_library(library: str, extra: str = "parquet") -> Any:
    """Import and return an optional library.

    Raises:
        VariedError: If the library is not installed.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        name = library.partition(".")[0]
        raise VariedError(
            f"This table requires {name}; run pip install 'varied[{extra}]', or use a CSV file."
        ) from error


def _with_text_names(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Convert column names to text and drop the index; return the DataFrame and notes."""
    if frame.columns.nlevels > 1:
        raise VariedError(
            "The columns of the table are a MultiIndex; join its levels into single names."
        )
    names = list(map(str, frame.columns))
    check_unique(names, "The table")
    others = [name for name in frame.columns if not isinstance(name, str | int | np.integer)]
    notes = [f"The column names {list_names(others)} are converted to text."] * bool(others)
    index = frame.index
    if not (isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1):
        notes.append("The index is dropped; use frame.reset_index() to keep it as a column.")
    return frame.set_axis(names, axis=1).reset_index(drop=True), notes


def _schema(frame: Any, library: str) -> str:
    """Return the column types of a DataFrame in base64; for pandas, only of Arrow columns.

    Polars and pyarrow dtypes cannot be restored from their names.
    """
    if library == "polars":
        buffer = io.BytesIO()
        frame.clear().write_ipc(buffer)
        return base64.b64encode(buffer.getvalue()).decode()
    if library == "pyarrow":
        metadata = frame.schema.metadata or {}
        schema = frame.schema.with_metadata({k: v for k, v in metadata.items() if k == b"pandas"})
    else:
        dtypes = frame.dtypes.items()
        types = {n: t.pyarrow_dtype for n, t in dtypes if isinstance(t, pd.ArrowDtype)}
        if not types:
            return ""
        schema = import_library("pyarrow").schema(types)
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def _arrow_types(dialect: TableDialect) -> dict[str, Any]:
    if not dialect.schema:
        return {}
    schema = _read_schema(dialect)
    return dict(zip(schema.names, schema.types, strict=True))


def _read_schema(dialect: TableDialect) -> Any:
    pa = import_library("pyarrow")
    with stored_in("The schema of the table"):
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(dialect.schema)))


# From a DataFrame to typed columns


def _type_column(series: Any, name: str) -> TypedColumn:
    """Convert a narwhals series to a typed column."""
    native = series.to_native()
    dtype = native.dtype if isinstance(native, pd.Series) else None
    if isinstance(dtype, np.dtype) and dtype.kind != "O":  # narwhals requires native byte order
        series = nw.from_native(native.astype(dtype.newbyteorder("=")), series_only=True)
    # pandas raises an error for signaling NaNs from the decimal module.
    values = [None if isinstance(v, Decimal) and v.is_nan() else v for v in series.to_list()]
    cells = pd.Series(values, dtype=object)
    cells = cells.where(cells.notna(), None)
    kind = _kind(series.dtype, cells.dropna())
    column = _convert(series, cells, kind, name)
    if dtype is None or column.dtype is not None:
        return column
    dtype_name = f"object[{kind}]" if str(dtype) == "object" else str(dtype)
    return dataclasses.replace(column, dtype=dtype_name)


def _kind(dtype: Any, observed: pd.Series) -> str:
    """Return "categorical", "unsupported", or the result of `pandas.api.types.infer_dtype`."""
    if dtype in (nw.Categorical, nw.Enum):
        return "categorical"
    kind: str = pd.api.types.infer_dtype(observed, skipna=True)
    return "unsupported" if dtype == nw.Unknown and kind not in _CONVERTIBLE else kind


def _convert(series: Any, cells: pd.Series, kind: str, name: str) -> TypedColumn:
    match kind:
        case "string" | "empty":
            return TypedColumn(cells)
        case "boolean":
            return TypedColumn(cells.astype("boolean"))
        case "categorical":
            return _categorical(series, cells)
        case "integer":
            return _integers(cells, name)
        case "floating" | "mixed-integer-float":
            return _floats(series, cells, name)
        case "decimal":
            column = _floats(series, cells, name)
            decimals = max(max(0, -v.as_tuple().exponent) for v in cells.dropna())
            return dataclasses.replace(column, decimals=decimals)
        case "date":
            days = np.array(cells.tolist(), dtype="datetime64[D]")
            return TypedColumn(_nanoseconds(days, name), date_format="%Y-%m-%d")
        case "datetime" | "datetime64":
            return _datetimes(series, cells, name)
    raise _unsupported_error(series, cells.dropna(), name)


def _categorical(series: Any, cells: pd.Series) -> TypedColumn:
    values = pd.Series([None if v is None else str(v) for v in cells], dtype=object)
    native = series.to_native()
    if isinstance(native, pd.Series) and isinstance(native.dtype, pd.CategoricalDtype):
        categories = native.cat.categories
        dtype, levels = f"category[{categories.dtype}]", list(map(str, categories))
        return TypedColumn(values, levels=levels, dtype=dtype, is_ordered=native.cat.ordered)
    if series.implementation.is_polars():  # the levels are part of its schema
        return TypedColumn(values)
    return TypedColumn(values, levels=list(map(str, series.to_arrow().dictionary.to_pylist())))


def _integers(cells: pd.Series, name: str) -> TypedColumn:
    integers = [None if v is None else int(v) for v in cells]
    if max(abs(v) for v in integers if v is not None) <= LARGEST_INTEGER:
        return TypedColumn(pd.Series(integers, dtype="Int64"))
    texts = [None if v is None else str(v) for v in integers]
    return TypedColumn(pd.Series(texts, dtype=object), (large_integer_note(name),))


def _floats(series: Any, cells: pd.Series, name: str) -> TypedColumn:
    """Return a column of floats, with the number of decimals if it is at most `_MAX_DECIMALS`."""
    values = cells.to_numpy("float64")
    if np.isinf(values).any():
        row = int(np.argmax(np.isinf(values)))
        raise VariedError(
            f"Row {row} (counted from 0) of column '{truncate(name)}' contains {values[row]}; "
            "replace it with a finite number or a missing value."
        )
    precision = str(series.dtype).lower() if series.dtype.is_float() else "float64"
    is_fractional = np.abs(values) < LARGEST_INTEGER  # larger floats are integers
    fractional = values[is_fractional]
    for decimals in range(_MAX_DECIMALS + 1):
        rounded = np.round(fractional, decimals)
        if (rounded.astype(precision) == fractional).all():
            values[is_fractional] = rounded  # as a float32, 0.1 is 0.1000000015
            return TypedColumn(pd.Series(values), decimals=decimals)
    return TypedColumn(pd.Series(values))


def _datetimes(series: Any, cells: pd.Series, name: str) -> TypedColumn:
    if series.dtype == nw.Datetime:
        has_zone = series.dtype.time_zone is not None
        if has_zone:
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        values = np.asarray(series.to_numpy(), "datetime64")
    else:
        has_zone = any(getattr(v, "tzinfo", None) is not None for v in cells)
        try:
            values = pd.to_datetime(cells, utc=True).dt.tz_localize(None).to_numpy()
        except (ValueError, OverflowError) as error:
            raise _distant(name) from error
    note = f"Column '{truncate(name)}' has a time zone and is converted to UTC."
    return TypedColumn(_nanoseconds(values, name), (note,) * has_zone)


def _nanoseconds(values: Any, name: str) -> pd.Series:
    years = values.astype("datetime64[Y]")[~np.isnat(values)].astype(np.int64) + 1970
    if len(years) and (years.min() < 1678 or years.max() > 2261):
        raise _distant(name)
    return pd.Series(values.astype("datetime64[ns]"))


def _distant(name: str) -> VariedError:
    return VariedError(
        f"Column '{truncate(name)}' contains dates before 1678 or after 2261, which do not fit "
        "into 64-bit nanoseconds; replace dates that mean 'never' with missing cells."
    )


def _unsupported_error(series: Any, observed: pd.Series, name: str) -> VariedError:
    column, types = f"Column '{truncate(name)}'", [type(v) for v in observed]
    if any(issubclass(t, list | dict | tuple | set | np.ndarray) for t in types):
        return VariedError(f"{column} has several values in a cell; split or drop the column.")
    other = next((i for i, t in enumerate(types) if t is not types[0]), None)
    if other is None or series.dtype != nw.Object:
        native = series.to_native()
        dtype = native.type if series.implementation.is_pyarrow() else native.dtype
        type_name = types[0].__name__ if series.dtype == nw.Object else str(dtype)
        return VariedError(
            f"{column} contains values of the unsupported type {type_name}; convert them to "
            "numbers, text or dates, or drop the column."
        )
    first, second = (truncate(repr(observed.iloc[i])) for i in (0, other))
    return VariedError(
        f"{column} contains values of mixed types ({first} and, in row {observed.index[other]} "
        f"counted from 0, {second}); convert all of them to numbers or to text."
    )


# From typed columns to a DataFrame


def _polars(pl: Any, values: pd.Series, dtype: Any) -> Any:
    is_date = pd.api.types.is_datetime64_any_dtype(values.dtype)
    cells = values.to_numpy("datetime64[ns]") if is_date else _python_values(values)
    series = pl.Series(values.name, cells)
    try:
        return series if dtype is None else series.cast(dtype)
    except pl.exceptions.PolarsError:
        return series


def _arrow(pa: Any, values: pd.Series, dtype: Any, levels: list[str]) -> Any:
    try:
        array = pa.array(values, from_pandas=True)
    except pa.ArrowException:  # values of mixed types, such as imputed cells of several columns
        array = pa.array(values.astype(str).where(values.notna(), None), from_pandas=True)
    if dtype is None:
        return array.cast(pa.string()) if pa.types.is_null(array.type) else array
    try:
        if pa.types.is_dictionary(dtype):
            compute, texts = import_library("pyarrow.compute"), pa.array(levels, pa.string())
            indices = compute.index_in(array.cast(pa.string()), texts).cast(dtype.index_type)
            categories = texts.cast(dtype.value_type)
            return pa.DictionaryArray.from_arrays(indices, categories, ordered=dtype.ordered)
        if array.null_count == len(array):
            return pa.nulls(len(array), dtype)
        return array.cast(dtype)
    except (pa.ArrowException, ValueError):
        return array


def _pandas(values: pd.Series, name: str, dialect: TableDialect, arrow_type: Any) -> pd.Series:
    dtype, levels = dialect.dtypes.get(name, ""), dialect.levels.get(name, [])
    if not dtype:
        return values
    try:
        if arrow_type is not None:
            array = _arrow(import_library("pyarrow"), values, arrow_type, levels)
            return pd.Series(array, dtype=pd.ArrowDtype(array.type))
        if dtype.startswith("category["):
            column = pd.Categorical(values, levels, ordered=name in dialect.ordered)
            return pd.Series(column.rename_categories(_categories(levels, dtype[9:-1])))
        if dtype.startswith("object["):
            cells = _python_objects(values, dtype[7:-1], dialect.decimals.get(name, 0))
            return pd.Series(cells, dtype=object)
        if isinstance(pd.api.types.pandas_dtype(dtype), pd.DatetimeTZDtype):
            values = pd.to_datetime(values, utc=True)
        elif values.dtype == object and "int" in dtype.lower():  # integers beyond 2^53
            values = pd.Series(_python_objects(values, "integer", 0), dtype=object)
        restored = values.astype(dtype)
    except (LookupError, OverflowError, TypeError, ValueError):
        return values
    has_overflow = values.dtype == "Int64" and (restored != values).any()
    return values if has_overflow else restored


def _categories(levels: list[str], dtype: str) -> Any:
    """Convert the categories of a pandas column from text to their original dtype."""
    if dtype == "bool":
        return [level == "True" for level in levels]
    if dtype.startswith("interval["):  # as from pandas.cut: (0.5, 1.0]
        ends = np.array([level[1:-1].split(", ") for level in levels], dtype=np.float64)
        closed = {"(]": "right", "[)": "left", "[]": "both", "()": "neither"}
        return pd.IntervalIndex.from_arrays(*ends.T, closed=closed[levels[0][0] + levels[0][-1]])
    return pd.Index(levels, dtype=object).astype(dtype)


def _python_objects(values: pd.Series, kind: str, decimals: int) -> list[Any]:
    convert: dict[str, Any] = {
        "date": lambda v: v.date(),
        "decimal": lambda v: Decimal(f"{v:.{decimals}f}"),
        "integer": int,
    }
    to_object = convert.get(kind, lambda v: v)
    return [None if v is None else to_object(v) for v in _python_values(values)]


def _python_values(values: pd.Series) -> list[Any]:
    """Convert cells to Python values, with None where missing."""
    return [None if pd.isna(v) else v for v in values.tolist()]
