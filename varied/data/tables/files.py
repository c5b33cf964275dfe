"""Tables in files: text, gzip, Parquet and Feather, read and given back in their own form.

What cannot be given back to the letter: numbers of one column in several ways (1.5 and 1.50;
1e5 and 100000), or with more digits than a float64 holds; several missing tokens among the
numbers or dates of one column; spaces around numbers; empty lines; quotes around cells that need
none, where only some have them; rows that end in several ways.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from varied.atomic_io import atomic_write
from varied.data.memory import check_memory
from varied.data.tables.columns import Column, decimal_sign, distinct, typed, written
from varied.data.tables.csv_text import PREFERRED, decode, encode, read_cells, write_cells
from varied.data.tables.dialect import SUFFIXES, TableDialect, suffix, truncate
from varied.data.tables.frame_reader import from_frame
from varied.data.tables.frame_writer import to_arrow
from varied.errors import VariedError

__all__ = ["read_table", "write_table"]

TIMES = 20  # the memory that a table of text takes at its peak, as a multiple of its bytes
BLOCK = 2**24
NAMED = 5

Table = tuple[pd.DataFrame, TableDialect, tuple[str, ...]]


def read_table(path: Path) -> Table:
    """Read a table from a file, by its ending.

    Arguments:
        path: A file of one of `SUFFIXES`.

    Returns:
        The frame, whose columns are float64, Int64, datetime64[ns], boolean or text (object, None
        where missing); its form; and what was understood, a sentence each.

    Raises:
        VariedError: If there is no such file, or it is no table.
    """
    path = Path(path)
    ending = suffix(path.name)
    if not ending:
        raise VariedError(f"{path.name} is no table: let it end in {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise VariedError(f"There is no file {path}: check its name.")
    if ending in (".parquet", ".feather"):
        return from_frame(_read_arrow(path, ending))
    text, encoding, bom = decode(_contents(path, ending.endswith(".gz")), path.name)
    cells = read_cells(text, path.name, tab=ending.startswith(".tsv"))
    columns = [distinct(c) for c in cells.columns]
    decimal = decimal_sign(columns, cells.form.delimiter)
    found = [
        typed(column, name, cells.rows, decimal)
        for name, column in zip(cells.names, columns, strict=True)
    ]
    named = dict(zip(cells.names, found, strict=True))
    form = dataclasses.replace(
        cells.form, encoding=encoding, bom=bom, decimal=decimal, **_described(named)
    )
    # Text is kept as objects: pandas would infer a type of its own for it.
    frame = pd.DataFrame(
        {
            name: pd.Series(c.values, dtype=object if c.values.dtype == object else None)
            for name, c in named.items()
        }
    )
    notes = [*cells.notes, *(note for column in found for note in column.notes)]
    if encoding == "cp1252":
        notes.insert(0, f"{path.name} is not in UTF-8: read as cp1252 (Windows).")
    if decimal == ",":
        notes.append("The decimal sign is a comma.")
    notes += _missing_note(named)
    return frame, form, tuple(notes)


def write_table(frame: pd.DataFrame, path: Path, form: TableDialect) -> Path:
    """Write a table in its form, whole or not at all, by the ending of its name.

    Arguments:
        frame: Typed columns, as `read_table` returns them.
        path: Where; one of `SUFFIXES`.
        form: How it is written.

    Raises:
        VariedError: If the ending is unknown or the folder cannot be written.
    """
    path = Path(path)
    ending = suffix(path.name)
    if not ending:
        raise VariedError(f"{path.name} cannot be written: let it end in {', '.join(SUFFIXES)}.")
    if ending in (".parquet", ".feather"):
        return _write_arrow(frame, path, form, ending)
    contents = encode(_text(frame, form), form)
    return atomic_write(
        path, gzip.compress(contents, mtime=0) if ending.endswith(".gz") else contents
    )


def _contents(path: Path, packed: bool) -> bytes:
    way_out = "give fewer rows or columns"
    try:
        if not packed:
            check_memory(path.stat().st_size * TIMES, path.name, way_out)
            return path.read_bytes()
        blocks, size = [], 0
        with gzip.open(path) as file:
            while block := file.read(BLOCK):
                blocks.append(block)
                size += len(block)
                check_memory(size * TIMES, path.name, way_out)
        return b"".join(blocks)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise VariedError(f"{path.name} is damaged: make or fetch it again.") from error
    except OSError as error:
        raise VariedError(f"{path} cannot be read ({error.strerror}): check it.") from error


def _described(columns: dict[str, Column]) -> dict[str, Any]:
    """Return what the columns tell of the form."""
    tokens = {name: c.token for name, c in columns.items() if c.token is not None}
    missing = Counter(tokens.values()).most_common(1)[0][0] if tokens else ""
    return {
        "missing": missing,
        "tokens": {name: token for name, token in tokens.items() if token != missing},
        "dates": {name: c.date for name, c in columns.items() if c.date is not None},
        "styles": {name: c.style for name, c in columns.items() if c.style is not None},
        "decimals": {name: c.decimals for name, c in columns.items() if c.decimals is not None},
    }


def _missing_note(columns: dict[str, Column]) -> list[str]:
    """Say which words stand for missing cells; that an empty cell does goes without saying."""
    by_token: dict[str, list[str]] = {}
    for name, column in columns.items():
        if column.token:
            by_token.setdefault(column.token, []).append(name)
    return [
        f"'{token}' stands for a missing cell in {_listed(names)}."
        for token, names in by_token.items()
    ]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(truncate, names[:NAMED])) + more


def _text(frame: pd.DataFrame, form: TableDialect) -> str:
    quote = _quoter(form, frame.shape[1] == 1)
    columns = []
    for name in frame.columns:
        cells = written(frame[name], name, form)
        words = frame[name].dtype == object
        everything = form.quoting == "all" or (form.quoting == "text" and words)
        # A missing token that is a word would be text if it stood in quotes.
        bare = form.token(name) if form.quoting == "text" else None
        marks = {c: quote(c, everything and c != bare) for c in set(cells)}
        columns.append([marks[c] for c in cells])
    unnamed = set(form.unnamed)
    heads = ["" if name in unnamed else name for name in frame]
    # The name of a lone column would say that its tab stands between cells.
    split = len(heads) == 1 and any(d in heads[0] for d in PREFERRED)
    names = [quote(head, split or form.quoting in ("all", "text")) for head in heads]
    return write_cells(names, columns, form)


def _quoter(form: TableDialect, alone: bool) -> Any:
    special = (form.delimiter, '"', "\n", "\r")

    def quote(cell: str, always: bool) -> str:
        if form.quoting == "none":
            return cell
        needs = any(s in cell for s in special) or (alone and not cell)
        if always or needs or (form.space and cell.startswith(" ")):
            return '"' + cell.replace('"', '""') + '"'
        return cell

    return quote


def _arrow() -> tuple[Any, Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.feather as feather
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise VariedError(
            "Parquet and Feather need pyarrow: pip install 'varied[parquet]', or give a CSV."
        ) from error
    return pa, parquet, feather


def _read_arrow(path: Path, ending: str) -> Any:
    pa, parquet, feather = _arrow()
    try:
        if ending == ".parquet":
            meta = parquet.read_metadata(path)
            groups = [meta.row_group(i).total_byte_size for i in range(meta.num_row_groups)]
            cells = meta.num_rows * meta.num_columns
            size = max(sum(groups) * 4, cells * 16)
        else:
            size = path.stat().st_size * TIMES
        check_memory(size, path.name, "give fewer rows or columns")
        return parquet.read_table(path) if ending == ".parquet" else feather.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise VariedError(
            f"{path.name} is damaged or no {ending[1:]} file: save it again."
        ) from error


def _write_arrow(frame: pd.DataFrame, path: Path, form: TableDialect, ending: str) -> Path:
    _, parquet, feather = _arrow()
    table = to_arrow(frame, form)
    buffer = io.BytesIO()
    (parquet.write_table if ending == ".parquet" else feather.write_feather)(table, buffer)
    return atomic_write(path, buffer.getvalue())
