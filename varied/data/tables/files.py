"""Table files: CSV, compressed CSV, Parquet and Feather."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import Any

import pandas as pd

from varied.atomic_io import atomic_write
from varied.data.memory import check_memory, check_ratio
from varied.data.tables.csv_text import decode, encode, format_csv, read_cells
from varied.data.tables.dialect import SUFFIXES, TableDialect, table_suffix
from varied.data.tables.frames import from_frame, import_library, to_arrow
from varied.data.tables.merge_notes import list_names
from varied.data.tables.text_columns import format_column, infer_decimal, parse_column
from varied.data.tables.typed_column import Table, TypedColumn, assemble, check_width
from varied.errors import VariedError, read_error

#: The peak memory while a text file is read, as a multiple of the file size.
_MEMORY_FACTOR = 20
_BLOCK = 2**24
#: The unpacked sizes up to which a compressed text, and the cells of a Parquet or Feather file, may
#: exceed the ratio to the size of the file at which it is refused.
_SMALL_TEXT, _SMALL_CELLS = 2**24, 2**28
_CELL_BYTES = 16
#: The first bytes of a Feather file of version 2.
_FEATHER = b"ARROW1"
_REMEDY = "use fewer rows or columns"


def read_table(path: Path) -> Table:
    """Read a table from a file, whose suffix determines the format.

    Arguments:
        path: A file whose name ends in one of `SUFFIXES`.

    Returns:
        A pandas DataFrame with columns of float64, Int64, datetime64[ns], boolean or text (object,
        None where missing); the dialect; and notes for the user, one sentence each.

    Raises:
        VariedError: If the file does not exist or is not a table.
    """
    path = Path(path)
    suffix = _check_suffix(path)
    if not path.is_file():
        raise VariedError(f"There is no file {path}; check its name.")
    if suffix in (".parquet", ".feather"):
        return from_frame(_read_arrow(path, suffix))
    text, encoding = decode(read_bytes(path, suffix.endswith(".gz")), path.name)
    cells, settings, notes = read_cells(text, path.name, prefer_tab=suffix.startswith(".tsv"))
    decimal = infer_decimal((cells[name] for name in cells), settings["delimiter"])
    columns = {name: parse_column(cells[name], decimal) for name in cells}
    notes += _missing_notes(columns)
    if encoding == "cp1252":
        notes.append(f"{path.name} is not valid UTF-8 and is read as cp1252 (Windows).")
    if decimal == ",":
        notes.append("The decimal separator is a comma.")
    return assemble(columns, notes, encoding=encoding, decimal=decimal, **settings)


def write_table(frame: pd.DataFrame, path: Path, dialect: TableDialect) -> Path:
    """Write a table atomically, in the format of its file extension.

    Arguments:
        frame: Typed columns, as `read_table` returns them.
        path: A file name that ends in one of `SUFFIXES`.
        dialect: The dialect of the file.

    Raises:
        VariedError: If the file extension is not supported, the folder is not writable, or a cell
            or column cannot be represented in the format.
    """
    path = Path(path)
    suffix = _check_suffix(path)
    if suffix in (".parquet", ".feather"):
        return _write_arrow(frame, path, dialect, suffix)
    columns = (format_column(frame[name], name, dialect) for name in frame.columns)
    contents = encode(format_csv(list(frame.columns), columns, dialect), dialect.encoding)
    # With a timestamp, writing the same table again would give different bytes.
    return atomic_write(
        path, gzip.compress(contents, mtime=0) if suffix.endswith(".gz") else contents
    )


def _check_suffix(path: Path) -> str:
    suffix = table_suffix(path.name)
    if not suffix:
        raise VariedError(
            f"'{path.name}' does not have a supported file extension; use {', '.join(SUFFIXES)}."
        )
    return suffix


def read_bytes(path: Path, is_compressed: bool) -> bytes:
    """Read a text file, which may be compressed with gzip, if it fits in memory.

    Raises:
        VariedError: If it does not fit, is corrupted, may be a zip bomb, or cannot be read.
    """
    try:
        if not is_compressed:
            check_memory(path.stat().st_size * _MEMORY_FACTOR, path.name, _REMEDY)
            return path.read_bytes()
        blocks, size = [], 0
        with gzip.open(path) as file:
            while block := file.read(_BLOCK):
                blocks.append(block)
                size += len(block)
                check_memory(size * _MEMORY_FACTOR, path.name, _REMEDY)
                n_packed = path.stat().st_size
                check_ratio(size, n_packed, path.name, "unpack it with gunzip", _SMALL_TEXT)
        return b"".join(blocks)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise VariedError(f"{path.name} is corrupted; create or download it again.") from error
    except OSError as error:
        raise read_error(path, error) from error


def _missing_notes(columns: dict[str, TypedColumn]) -> list[str]:
    """Return a note about each string that is read as a missing value, except the empty string."""
    names: dict[str, list[str]] = {}
    for name, column in columns.items():
        names.setdefault(column.missing or "", []).append(name)
    return [f"'{t}' is read as a missing value in {list_names(names[t])}." for t in names if t]


def _read_arrow(path: Path, suffix: str) -> Any:
    pa = import_library("pyarrow")
    module = import_library(f"pyarrow.{suffix[1:]}")
    n_file = path.stat().st_size
    try:
        n_cells, n_bytes = _arrow_size(path, module if suffix == ".parquet" else None)
        remedy = "read it with pandas, and pass the DataFrame"
        check_ratio(_CELL_BYTES * n_cells, n_file, path.name, remedy, _SMALL_CELLS)
        check_memory(max(4 * n_bytes, _CELL_BYTES * n_cells), path.name, _REMEDY)
        table = module.read_table(path)
    except PermissionError as error:
        raise read_error(path, error) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise VariedError(
            f"{path.name} is corrupted or not a {suffix[1:].title()} file; save it again."
        ) from error
    check_width(table.num_columns, path.name)
    return table


def _arrow_size(path: Path, parquet: Any) -> tuple[int, int]:
    """Return the number of cells and the unpacked size in bytes that the metadata state.

    Arguments:
        path: The file.
        parquet: The module ``pyarrow.parquet``, or None for a Feather file, of which only the
            number of cells is stated; the unpacked size is an estimate.
    """
    if parquet is not None:
        metadata = parquet.read_metadata(path)
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        n_bytes = sum(group.total_byte_size for group in groups)
        return metadata.num_rows * metadata.num_columns, n_bytes
    n_bytes = path.stat().st_size * _MEMORY_FACTOR // 4
    with path.open("rb") as file:
        if file.read(len(_FEATHER)) != _FEATHER:  # version 1 of Feather is never compressed
            return 0, n_bytes
    dataset = import_library("pyarrow.dataset").dataset(path, format="feather")
    return dataset.count_rows() * len(dataset.schema), n_bytes


def _write_arrow(frame: pd.DataFrame, path: Path, dialect: TableDialect, suffix: str) -> Path:
    module, buffer = import_library(f"pyarrow.{suffix[1:]}"), io.BytesIO()
    write = module.write_table if suffix == ".parquet" else module.write_feather
    try:
        write(to_arrow(frame, dialect), buffer)
    except import_library("pyarrow").ArrowNotImplementedError as error:
        raise VariedError(
            f"{path.name} cannot contain a column type of the training table ({error}); save the "
            "rows as .csv."
        ) from error
    return atomic_write(path, buffer.getvalue())
