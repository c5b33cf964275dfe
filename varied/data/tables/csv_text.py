"""CSV text: detection of the encoding and the delimiter, parsing, and formatting."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from varied.data.tables.dialect import TableDialect
from varied.data.tables.formulas import escape_formula, unescape_formula
from varied.data.tables.merge_notes import list_names
from varied.data.tables.text_columns import is_number
from varied.data.tables.typed_column import check_unique, check_width
from varied.errors import VariedError

#: A mapping from the first bytes of a binary file to its format and a remedy.
_BINARY = {
    b"PK\x03\x04": "a zip file or a workbook; save the table as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save the table as CSV",
    b"PAR1": "a Parquet file; change its extension to .parquet",
    b"ARROW1": "a Feather file; change its extension to .feather",
    b"\x1f\x8b": "a gzip file; add the extension .gz",
    b"%PDF": "a PDF file; save the table as CSV",
}
#: Encodings by byte order mark.
_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_DELIMITERS = {"\t": "tab", ";": "semicolon", "|": "vertical bar", ",": "comma"}
#: The maximum numbers of characters and rows that are used to detect the delimiter.
_SAMPLE_CHARACTERS, _SAMPLE_ROWS = 200_000, 200
_LISTED = 5

#: The non-empty rows, keyed by row number in the file, starting at 1.
Rows = dict[int, list[str]]


def decode(contents: bytes, name: str) -> tuple[str, str]:
    """Return the text of a file and its encoding.

    Raises:
        VariedError: If the file is empty or binary.
    """
    for signature, description in _BINARY.items():
        if contents.startswith(signature):
            raise VariedError(f"{name} is not a text file but {description}.")
    marked = [encoding for bom, encoding in _ENCODINGS.items() if contents.startswith(bom)]
    for encoding in marked or ("utf-8", "cp1252"):
        try:
            text = contents.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not text.strip():
            raise VariedError(f"{name} is empty; use a table with a header and rows.")
        if "\0" not in text:
            return text, encoding
    raise VariedError(
        f"{name} is not valid UTF-8, UTF-16 or cp1252 text; save it as a UTF-8 CSV file."
    )


def encode(text: str, encoding: str) -> bytes:
    """Encode text as bytes.

    Raises:
        VariedError: If a character cannot be represented in the encoding.
    """
    if "\0" in text:
        raise VariedError(
            "A cell or a column name contains a NUL character; save the table as .parquet."
        )
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        raise VariedError(
            f"{encoding} cannot encode {text[error.start]!r}; save the table as .parquet, or set "
            "its encoding to utf-8."
        ) from error


def read_cells(
    text: str, name: str, prefer_tab: bool = False
) -> tuple[pd.DataFrame, dict[str, Any], list[str]]:
    """Split CSV text into cells.

    Arguments:
        text: The content of a file.
        name: The name of the file, for messages.
        prefer_tab: Whether the file extension suggests that the delimiter is a tab.

    Returns:
        The cells, indexed by row number in the file, without the apostrophe that `format_csv`
        writes before formulas; the `delimiter` and `header` of the `TableDialect`; and notes for
        the user, one sentence each.

    Raises:
        VariedError: If there are too many columns, rows differ in length, a quote is not closed,
            there are no rows below the header, or there are duplicate column names.
    """
    delimiter = _sniff_delimiter(text, prefer_tab)
    check_width(_first_line(text).count(delimiter) + 1, name)
    rows, notes = _parse(text, name, delimiter)
    if "'" in text:
        rows = {number: list(map(unescape_formula, row)) for number, row in rows.items()}
    first, last = min(rows), max(rows)
    n_empty = last - first + 1 - len(rows)
    has_header = not all(map(is_number, rows[first]))
    header = rows.pop(first) if has_header else [f"c{i + 1}" for i in range(len(rows[first]))]
    if not rows:
        raise VariedError(f"{name} has a header but no rows; at least one row is required.")
    if has_header:
        notes += _name_columns(header)
        check_unique(header, name)
    else:
        notes.append("The first row contains only numbers, so the columns are named c1, c2, ...")
    if len(header) == 1:
        notes.append("The table has a single column.")
    elif delimiter != ",":
        notes.append(f"The delimiter is a {_DELIMITERS[delimiter]}.")
    if n_empty:
        notes.append(f"Skipped {n_empty:,} empty line{'s' * (n_empty > 1)}.")
    frame = pd.DataFrame(list(rows.values()), list(rows), header, dtype=object)
    return frame, {"delimiter": delimiter, "header": has_header}, notes


def format_csv(names: Sequence[str], columns: Iterable[Iterable[str]], form: TableDialect) -> str:
    """Format a table as CSV text, with quotes where necessary.

    An apostrophe precedes formulas, including those in names; see `escape_formula`.
    """
    cells = [list(map(escape_formula, column)) for column in columns]
    header = [list(map(escape_formula, names))] if form.header else []
    rows = [*header, *zip(*cells, strict=True)]
    # csv.writer does not quote a carriage return, but csv.reader ends the row there.
    has_returns = any("\r" in cell for row in rows for cell in row)
    text = io.StringIO(newline="")
    writer = csv.writer(
        text,
        delimiter=form.delimiter,
        lineterminator="\n",
        quoting=csv.QUOTE_ALL if has_returns else csv.QUOTE_MINIMAL,
    )
    writer.writerows(rows)
    return text.getvalue()


def _sniff_delimiter(text: str, prefer_tab: bool) -> str:
    """Return the delimiter that splits most of the first rows into the same number of cells.

    `csv.Sniffer` fails for decimal commas, dates and quoted text.
    """
    text = text.lstrip("\r\n")
    sample = text[:_SAMPLE_CHARACTERS]
    consistency = {}
    for delimiter in _DELIMITERS:
        rows = filter(None, _reader(sample, delimiter, csv.QUOTE_MINIMAL))
        try:
            widths = [len(row) for row in itertools.islice(rows, _SAMPLE_ROWS)]
        except csv.Error:  # a quote that is not closed
            continue
        if len(text) > len(sample) and 1 < len(widths) < _SAMPLE_ROWS:
            widths.pop()  # the last row may be cut off
        counts = Counter(widths)
        width = max(counts, key=lambda w: (counts[w], w))
        if widths[0] > 1 and width > 1:
            consistency[delimiter] = counts[width] / len(widths)
    if prefer_tab and ("\t" in consistency or not consistency):
        return "\t"
    return max(consistency, key=lambda d: consistency[d], default=",")


def _parse(text: str, name: str, delimiter: str) -> tuple[Rows, list[str]]:
    """Return the rows and notes; unbalanced quotes are read as ordinary characters."""
    rows, problem = _records(text, delimiter, csv.QUOTE_MINIMAL)
    if not problem:
        return rows, []
    rows, other_problem = _records(text, delimiter, csv.QUOTE_NONE)
    if not other_problem:
        return rows, ["The quotes are unbalanced and are read as ordinary characters."]
    raise VariedError(f"{name} cannot be read as a table: {problem}.")


def _records(text: str, delimiter: str, quoting: int) -> tuple[Rows, str]:
    """Return the rows, and a description of the problem if the table is invalid."""
    records: list[list[str]] = []
    try:
        records.extend(_reader(text, delimiter, quoting, strict=True))
    except csv.Error as error:
        return {}, (
            f"in row {len(records) + 1}, a quote is not closed or is followed by text ({error}); "
            'double the quotes inside a quoted cell ("")'
        )
    rows = {number: row for number, row in enumerate(records, 1) if row}
    first, last = min(rows), max(rows)
    width = len(rows[first])
    if width == 1:  # empty lines represent missing cells
        rows = {number: records[number - 1] or [""] for number in range(first, last + 1)}
    ragged = [f"row {number} has {len(row)}" for number, row in rows.items() if len(row) != width]
    if not ragged:
        return rows, ""
    more = f", and {len(ragged) - _LISTED:,} more rows differ" if len(ragged) > _LISTED else ""
    return rows, (
        f"the header has {width} cell{'s' * (width > 1)}, but {', '.join(ragged[:_LISTED])}{more}; "
        "every row must have as many cells as the header"
    )


def _reader(text: str, delimiter: str, quoting: int, strict: bool = False) -> Iterable[list[str]]:
    header = _first_line(text)
    return csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        skipinitialspace=0 < header.count(delimiter) == header.count(f"{delimiter} "),
        quoting=quoting,  # type: ignore[arg-type]  # one of csv.QUOTE_*
        strict=strict,
    )


def _first_line(text: str) -> str:
    return text.lstrip().partition("\n")[0]


def _name_columns(header: list[str]) -> list[str]:
    """Assign names to unnamed columns, in place, and return notes."""
    unnamed, names = [], set(header)
    for i, name in enumerate(header):
        if not name.strip():
            header[i] = f"column {i + 1}"
            while header[i] in names:
                header[i] += "_"
            names.add(header[i])
            unnamed.append(header[i])
    return [f"Unnamed columns are named {list_names(unnamed)}."] * bool(unnamed)
