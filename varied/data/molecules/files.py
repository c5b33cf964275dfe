"""Reading molecules from SMILES and SDF files, and from a column of a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from varied.data.molecules.chemistry import import_chemistry, scaffold
from varied.data.molecules.parsing import parse
from varied.data.raw_data import Problem, RawData, printable
from varied.errors import VariedError

#: The extensions of files that contain only molecules.
ENDINGS = (".smi", ".smiles", ".sdf", ".smi.gz", ".smiles.gz", ".sdf.gz")
#: The kind of data, as in `RawData.kind`.
KIND = "molecules"
#: The characters of SMILES; and the minimum mean length, fraction of distinct cells and fraction of
#: cells that RDKit can parse, for a column whose name is not in `_NAMES`.
_SMILES = re.compile(r"[A-Za-z0-9@+\-\[\]()=#$:.%/\\*~]+")
_MIN_LENGTH, _MIN_DISTINCT, _MIN_PARSED = 5.0, 0.8, 0.95
#: The names of columns that contain molecules, in lower case.
_NAMES = ("smiles", "canonical_smiles", "canonical smiles", "isomeric_smiles")
#: The number of cells that are checked in a column, and the number of examples in a note.
_CHECKED, _LISTED = 200, 5


class MoleculeText(NamedTuple):
    """A molecule in a file.

    Arguments:
        text: The SMILES string, or the record of an SDF file.
        where: The place in the file, such as "line 3".
    """

    text: str
    where: str


def read_molecules(path: Path) -> RawData:
    """Read a file of SMILES (one per line, optionally followed by a name) or an SDF file.

    Raises:
        VariedError: If the file cannot be read, or a package is not installed.
    """
    import_chemistry()
    from varied.data.tables.files import read_bytes  # imports pandas

    name = path.name.lower()
    text = read_bytes(path, name.endswith(".gz")).decode("utf-8-sig", errors="replace")
    if name.removesuffix(".gz").endswith(".sdf"):
        return from_texts(list(_records(text)), "sdf")
    return from_texts(list(_lines(text)), "smiles")


def smiles_column(frame: Any, *, is_chosen: bool = False) -> str | None:
    """Return the name of the column of a table that contains molecules, or None.

    It is a column with a name such as "smiles" (ignoring case) in which at least half of the cells
    are valid SMILES, or else a text column with mostly distinct cells, almost all of which are
    valid SMILES. Only the first 200 rows are checked.

    Arguments:
        frame: A table, whose text columns have the dtype object.
        is_chosen: Whether the user chose to read molecules, so that a column with such a name need
            not contain valid SMILES.
    """
    for name in possible_columns(frame):
        if is_chosen and _is_named(name):
            return name
        if _fraction_parsed(_cells(frame[name])) >= (0.5 if _is_named(name) else _MIN_PARSED):
            return name
    return None


def is_smiles(text: str) -> bool:
    """Return whether a text is the SMILES string of a molecule that can be modeled."""
    return _SMILES.fullmatch(text) is not None and not parse([text])[0].reason


def possible_columns(frame: Any) -> list[str]:
    """Return the columns of a table that may contain molecules, without using RDKit.

    Arguments:
        frame: A table, whose text columns have the dtype object.
    """
    texts = [name for name in frame.columns if frame[name].dtype == object]
    columns = [n for n in texts if _is_named(n) or _resembles_smiles(_cells(frame[n]))]
    return sorted(columns, key=lambda name: not _is_named(name))


def _is_named(name: str) -> bool:
    return name.lower() in _NAMES


def _cells(column: Any) -> list[str]:
    return [cell for cell in column.head(_CHECKED) if isinstance(cell, str) and cell]


def from_table(data: RawData, column: str) -> RawData:
    """Return the molecules in a column of a table, with the labels of the table.

    Arguments:
        data: The table.
        column: The name of the column.
    """
    cells = data.x[column].tolist()
    texts = [
        MoleculeText(str(cell).strip() if isinstance(cell, str) else "", f"row {i}")
        for i, cell in enumerate(cells, 1)
    ]
    molecules = from_texts(texts, "smiles", labeled=data)
    others = [name for name in data.columns if name not in (column, *data.label_names)]
    notes = [f"The molecules are read from column '{column}'."] if len(data.columns) > 1 else []
    if others:
        count = "1 other column is" if len(others) == 1 else f"{len(others):,} other columns are"
        notes.append(f"{count} not used ({_list(others)}).")
    return molecules.replace(notes=(*notes, *molecules.notes))


def from_texts(
    texts: Sequence[MoleculeText], form: str, *, labeled: RawData | None = None
) -> RawData:
    """Parse molecules in a child process, and return their canonical SMILES.

    Arguments:
        texts: The molecules.
        form: "smiles" or "sdf".
        labeled: The data that contain the labels of the molecules.

    Raises:
        VariedError: If no molecule can be parsed, or a package is not installed.
    """
    import_chemistry()
    results = parse([molecule.text for molecule in texts], form)
    problems, rows, smiles, salts = list[Problem](), list[int](), list[str](), list[str]()
    for i, (molecule, result) in enumerate(zip(texts, results, strict=True)):
        if result.reason:
            problems.append(Problem(_name(molecule, form), result.reason))
            continue
        if result.has_fragments:
            salts.append(molecule.where)
        rows.append(i)
        smiles.append(result.smiles)
    if not smiles:
        raise VariedError(_no_molecules(problems))
    labels = {} if labeled is None else _labels(labeled.take(rows))
    notes = _note(salts, "molecules consist of several fragments, of which the largest is used")
    return RawData(
        np.array(smiles, dtype=str),
        KIND,
        names=tuple(smiles),
        notes=tuple(notes),
        problems=tuple(problems),
        **labels,
    )


def drop_duplicates(data: RawData) -> RawData:
    """Omit the molecules that occurred before, and add a note with their number."""
    _, first = np.unique(data.x, return_index=True)
    if len(first) == len(data):
        return data
    repeated = data.x[np.setdiff1d(np.arange(len(data)), first)].tolist()
    what = "molecules repeat earlier ones and are omitted"
    return data.take(np.sort(first)).with_notes(*_note(repeated, what))


def split_scaffolds(data: RawData, fraction: float = 0.1) -> RawData:
    """Return the data with official test rows, whose scaffolds do not occur in other rows.

    As is common, the rarest scaffolds are in the test split.

    Arguments:
        data: The molecules.
        fraction: The minimum fraction of test rows.
    """
    scaffolds = np.array([scaffold(text) for text in data.x])
    _, group, size = np.unique(scaffolds, return_inverse=True, return_counts=True)
    order = np.lexsort((group, size[group]))
    cut = round(fraction * len(data))
    rows = np.flatnonzero(np.isin(group, group[order[:cut]]))
    note = f"The test split consists of the {len(rows):,} molecules with the rarest scaffolds."
    return data.replace(test=rows).with_notes(note)


def _labels(data: RawData) -> dict[str, Any]:
    names = ("labels", "classes", "label_names", "label_classes", "source", "test")
    return {name: getattr(data, name) for name in names}


def _note(places: Sequence[str], what: str) -> list[str]:
    return [f"{len(places):,} {what} ({_list(places)})."] if places else []


def _list(words: Sequence[str]) -> str:
    more = ", ..." if len(words) > _LISTED else ""
    return ", ".join(words[:_LISTED]) + more


def _name(molecule: MoleculeText, form: str) -> str:
    text = molecule.text if form == "smiles" else molecule.text.partition("\n")[0]
    return f"{molecule.where} ({printable(text[:60].strip()) or 'empty'})"


def _no_molecules(problems: Sequence[Problem]) -> str:
    if not problems:
        return "The file contains no molecules; use a file with a SMILES string on each line."
    return (
        f"None of the {len(problems):,} molecules can be read; correct them, starting with "
        f"{problems[0].name}: {problems[0].reason}."
    )


# Formats


def _lines(text: str) -> Iterator[MoleculeText]:
    """Yield the SMILES at the start of each line; a header is skipped."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words and not (number == 1 and words[0].lower() in _NAMES):
            yield MoleculeText(words[0], f"line {number}")


def _records(text: str) -> Iterator[MoleculeText]:
    """Yield the records of an SDF file."""
    records = re.split(r"^\$\$\$\$[ \t]*\n?", text.replace("\r\n", "\n"), flags=re.MULTILINE)
    for number, record in enumerate(records, 1):
        if record.strip():
            yield MoleculeText(record, f"record {number}")


# Columns


def _resembles_smiles(cells: Sequence[str]) -> bool:
    """Return whether cells are long, mostly distinct, and consist of the characters of SMILES."""
    if not cells or not all(_SMILES.fullmatch(cell) for cell in cells):
        return False
    is_long = sum(map(len, cells)) / len(cells) >= _MIN_LENGTH
    return is_long and len(set(cells)) >= _MIN_DISTINCT * len(cells)


def _fraction_parsed(cells: Sequence[str]) -> float:
    results = parse(cells) if cells else []
    return sum(not result.reason for result in results) / max(len(cells), 1)
