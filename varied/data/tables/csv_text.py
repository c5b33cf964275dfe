"""A table as text: bytes to cells and cells to bytes, every cell to the letter."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from varied.data.tables.dialect import TableDialect, truncate
from varied.data.tables.number_format import real
from varied.errors import VariedError

__all__ = ["PREFERRED", "Cells", "decode", "encode", "read_cells", "write_cells"]

BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
OTHERS = {
    b"PK\x03\x04": "a zip or a workbook: save it as CSV from the program that made it",
    b"\xd0\xcf\x11\xe0": "a workbook of Excel: save it as CSV there",
    b"PAR1": "Parquet: call it .parquet",
    b"ARROW1": "Feather: call it .feather",
    b"\x1f\x8b": "packed with gzip: let its name end in .gz",
    b"%PDF": "a PDF: save the table as CSV",
}
PREFERRED = ("\t", ";", "|", ",")
NAMES = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas"}
SAMPLE = 200_000
LINES = 200
NAMED = 5
MARK = "\0"  # stands for a quoted cell while the delimiter is looked for; no text holds it
QUOTED = re.compile(r'(?:(?<=[,;|\t\r\n])|\A)( ?)"[^"]*(?:""[^"]*)*"')
BREAKS = re.compile(r"\r\n|\n|\r")

Rows = list[list[str]]


@dataclass(frozen=True)
class Cells:
    """The cells of a table as text.

    Arguments:
        names: The name of each column.
        columns: The cells of each column.
        rows: The number of each row in the file, as a spreadsheet counts it.
        form: How the file was written, as far as cells alone tell it.
        notes: What was understood, a sentence each.
    """

    names: tuple[str, ...]
    columns: list[tuple[str, ...]]
    rows: Sequence[int]
    form: TableDialect
    notes: tuple[str, ...]


def decode(contents: bytes, name: str) -> tuple[str, str, bool]:
    """Return a file's text, its encoding, and whether a byte order mark opened it.

    Raises:
        VariedError: If it is empty or no text.
    """
    if not contents.strip():
        raise VariedError(f"{name} is empty: give a table with a row of names and rows of cells.")
    for start, what in OTHERS.items():
        if contents.startswith(start):
            raise VariedError(f"{name} is no text but {what}.")
    bom = next((b for b in BOMS if contents.startswith(b)), b"")
    for encoding in (BOMS[bom],) if bom else ("utf-8", "cp1252"):
        try:
            text = contents[len(bom) :].decode(encoding)
        except UnicodeDecodeError:
            continue
        if MARK not in text:
            return text, encoding, bool(bom)
    raise VariedError(f"{name} is no text in UTF-8, UTF-16 or cp1252: save it as CSV in UTF-8.")


def encode(text: str, form: TableDialect) -> bytes:
    """Return text as the bytes of a file.

    Raises:
        VariedError: If the encoding has no sign for a letter of it.
    """
    if MARK in text:
        raise VariedError("A name or a cell holds a NUL, which no text may: save as .parquet.")
    bom = {e: b for b, e in BOMS.items()}[form.encoding] if form.bom else b""
    try:
        return bom + text.encode(form.encoding)
    except UnicodeEncodeError as error:
        raise VariedError(
            f"{form.encoding} cannot write {text[error.start]!r}: set the form's encoding to utf-8."
        ) from error


def read_cells(text: str, name: str, tab: bool = False) -> Cells:
    """Return the cells of a table.

    Arguments:
        text: The contents of a file.
        name: What the messages call it.
        tab: Whether a tab is expected between cells, as the name of the file says.

    Raises:
        VariedError: If rows are ragged (all of them in one sentence), a quote is not closed, there
            is nothing below the header, or two columns share a name.
    """
    bare = QUOTED.sub(rf"\1{MARK}", text) if '"' in text else text
    lines = _lines(bare, len(bare))
    delimiter = _delimiter(lines, tab)
    space = _space(bare, delimiter)
    records, quoting = _records(text, name, delimiter, space, _quoting(lines, delimiter))
    first = next((i for i, r in enumerate(records) if r), len(records))
    width = len(records[first]) if records[first:] else 0
    blank = sum(1 for r in records[first:] if not r) if width > 1 else 0
    numbers: Sequence[int] = range(first + 1, len(records) + 1)
    if blank:
        numbers = [i + 1 for i, r in enumerate(records) if r]
    table = [r or [""] for r in records[first:] if r or width == 1]
    header = not all(real(".").fullmatch(c) or real(",").fullmatch(c) for c in table[0])
    if header and len(table) == 1:
        raise VariedError(f"{name} has a header and no rows below it: give at least one row.")
    names, unnamed = _names(table[0] if header else [f"c{i + 1}" for i in range(width)], name)
    end = BREAKS.search(bare)
    form = TableDialect(
        delimiter=delimiter,
        quoting=quoting,
        newline=end.group() if end else "\n",
        ended=text.endswith(("\n", "\r")),
        space=space,
        header=header,
        unnamed=unnamed,
    )
    notes = _notes(form, width, blank)
    columns = list(zip(*table[header:], strict=True))
    return Cells(names, columns, numbers[header:], form, notes)


def write_cells(names: Sequence[str], columns: Sequence[Sequence[str]], form: TableDialect) -> str:
    """Return a table as text.

    Arguments:
        names: The name of each column.
        columns: The cells of each column, with quotes where they are wanted.
        form: How to write it.
    """
    between = form.delimiter + " " * form.space
    rows: Iterable[str] = map(between.join, zip(*columns, strict=True))
    lines = [*([between.join(names)] if form.header else []), *rows]
    return form.newline.join(lines) + form.newline * form.ended


def _lines(bare: str, length: int) -> list[str]:
    lines = BREAKS.split(bare[:SAMPLE])
    lines = lines[:-1] if length > SAMPLE and len(lines) > 1 else lines
    return [line for line in lines if line][:LINES]


def _delimiter(lines: Sequence[str], tab: bool) -> str:
    """Return what stands as often in each line; else what does so in most of them."""
    found = [d for d in PREFERRED if d in lines[0]]
    if tab and ("\t" in found or not found):
        return "\t"
    counts = {d: [line.count(d) for line in lines] for d in found}
    steady = [d for d in found if min(counts[d]) == max(counts[d])]
    return next(iter(steady), max(found, key=lambda d: _share(counts[d]), default=","))


def _share(counts: Sequence[int]) -> float:
    """Return the share of the lines that hold the most usual number of a delimiter."""
    usual = max(set(counts), key=lambda n: (counts.count(n), n))
    return counts.count(usual) / len(counts) if usual else 0.0


def _space(bare: str, delimiter: str) -> bool:
    spaced = delimiter + " "
    count = bare.count(delimiter)
    return 0 < count == bare.count(spaced) and f"{spaced} " not in bare


def _quoting(lines: Sequence[str], delimiter: str) -> str:
    """Return which cells stand in quotes, as the first lines have it."""
    cells = [[c.strip(" ") == MARK for c in line.split(delimiter)] for line in lines]
    if all(map(all, cells)):
        return "all"
    below = cells[1:]
    if all(cells[0]) and below and any(map(any, below)):
        return "text"
    return "minimal"


def _records(text: str, name: str, delimiter: str, space: bool, quoting: str) -> tuple[Rows, str]:
    """Return the rows; where quotes make no sense, they are letters like any other."""
    rows, problem = _parsed(text, delimiter, space, csv.QUOTE_MINIMAL)
    problem = problem or _ragged(rows)
    if problem and '"' in text:
        plain, other = _parsed(text, delimiter, space, csv.QUOTE_NONE)
        if not other and not _ragged(plain):
            return plain, "none"
    if problem:
        raise VariedError(f"{name} cannot be read as a table: {problem}.")
    return rows, quoting


def _parsed(text: str, delimiter: str, space: bool, quoting: int) -> tuple[Rows, str]:
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        skipinitialspace=space,
        quoting=quoting,  # type: ignore[arg-type]  # one of csv.QUOTE_*
        strict=True,
    )
    rows: Rows = []
    try:
        rows.extend(reader)
    except csv.Error as error:
        return rows, (
            f"in row {len(rows) + 1} a quote is not closed, or text follows it ({error}); "
            'write a quote inside a quoted cell twice (""), or save the table anew'
        )
    while rows and not rows[-1]:
        rows.pop()
    return rows, ""


def _ragged(rows: Rows) -> str:
    """Return what is wrong with the lengths of the rows, all at once; empty: nothing."""
    full = next((r for r in rows if r), [])
    width = len(full)
    wrong = [(i + 1, len(r)) for i, r in enumerate(rows) if r and len(r) != width]
    if not wrong:
        return ""
    number, length = wrong[0]
    said = [f"row {number} has {_count(length)} and the header {width}"]
    said += [f"row {i} has {n}" for i, n in wrong[1:NAMED]]
    more = f"; and {len(wrong) - NAMED:,} more" if len(wrong) > NAMED else ""
    return f"{'; '.join(said)}{more}; give every row as many cells as the header"


def _count(n: int) -> str:
    return "1 cell" if n == 1 else f"{n} cells"


def _names(header: Sequence[str], name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the columns, and those of them that were made up."""
    names, unnamed = list(header), []
    for i, one in enumerate(header):
        if not one.strip():
            made = f"column {i + 1}"
            while made in names:
                made += "_"
            names[i] = made
            unnamed.append(made)
    seen: set[str] = set()
    twice = list(dict.fromkeys(n for n in names if n in seen or seen.add(n)))  # type: ignore[func-returns-value]
    if twice:
        raise VariedError(
            f"{name} has several columns called {', '.join(repr(truncate(n)) for n in twice[:NAMED])}: "
            "give each column a name of its own."
        )
    return tuple(names), tuple(unnamed)


def _notes(form: TableDialect, width: int, blank: int) -> tuple[str, ...]:
    notes = []
    if width == 1:
        notes.append("The table has a single column.")
    elif form.delimiter != ",":
        notes.append(f"The cells are divided by {NAMES[form.delimiter]}.")
    if not form.header:
        notes.append("The first row is all numbers, so the columns are called c1, c2, ...")
    if form.unnamed:
        notes.append(f"A column without a name is called {', '.join(form.unnamed)}.")
    if form.quoting == "none":
        notes.append("Quotes do not come in pairs here: they are read as letters.")
    if blank:
        notes.append(f"{blank:,} empty line{'s' * (blank > 1)} left out.")
    return tuple(notes)
