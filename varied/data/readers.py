"""The one door for data: `read` takes what a person has and returns items."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from varied.data.archive import Listing, list_file, list_folder, list_zip
from varied.data.arrays import from_array, from_tensor
from varied.data.catalog import CATALOG
from varied.data.idx import idx_folder, is_idx, read_idx, read_idx_folder
from varied.data.image_folder import read_images
from varied.data.images import EXTENSIONS, Size, as_size, resized
from varied.data.labels import parse_labels
from varied.data.numpy_files import read_npy, read_npz
from varied.data.raw_data import RawData
from varied.data.tables import SUFFIXES
from varied.data.torch_datasets import read_dataset
from varied.errors import VariedError, suggest

__all__ = ["read"]

SHEETS = (".xlsx", ".xls", ".ods", ".json", ".jsonl", ".arff", ".sas7bdat", ".sav", ".dta")
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".aiff")
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")


def read(
    source: Any,
    *,
    image_size: int | Size | None = None,
    labels: Any = None,
    classes: Sequence[str] | None = None,
    min_rows: int = 10,
) -> RawData:
    """Read data from what a person has.

    Arguments:
        source: The name of a set (`"mnist"`); the path of a folder or a zip of pictures (folders
            become labels), of one picture, of a table (`.csv`, `.tsv`, `.parquet`, `.feather`), of
            an `.npy`, `.npz` or idx file, or of a folder of idx files; a data frame of pandas,
            polars or pyarrow; an array `(N, ...)`; a tensor `(N, C, H, W)` or `(N, ...)`; a tuple
            of one and its labels; a `torch.utils.data.Dataset`; or items, which come back as they
            are.
        image_size: Height and width that pictures are resized to; chosen from them if None.
        labels: A label for each row, or for pictures a mapping from file names, or the name of the
            labels in an `.npz` file, or of a column of a table, which stays in the table; those
            that the source has if None.
        classes: The names of the classes, if labels are indices.
        min_rows: The fewest rows that are of use.

    Returns:
        The items; their `notes` say what was understood, their `problems` what could not be read.

    Raises:
        VariedError: If nothing useful can be read; the message says what to do.

    Example:
        >>> read(np.random.default_rng(0).normal(size=(20, 3)))
        RawData(20 arrays, 3)
    """
    wanted = as_size(image_size)
    if isinstance(source, RawData):
        items = source
    elif isinstance(source, str | os.PathLike):
        items = _from_path(os.fspath(source), wanted, labels, classes)
    else:
        items = _from_memory(source, labels, classes)
    items = _at_size(items, wanted)
    if items is not source:
        items = dataclasses.replace(items, notes=(_summary(items), *items.notes))
    if len(items) < min_rows:
        raise VariedError(_too_few(items, min_rows))
    return items


def _at_size(items: RawData, size: Size | None) -> RawData:
    if size is None or (items.kind == "image" and items.x.shape[1:3] == size):
        return items
    if items.kind != "image":
        raise VariedError(
            f"`image_size` resizes pictures, and these are {items.kind}s: leave it out."
        )
    x = resized(items.x, size)
    note = f"Resized to {size[0]}x{size[1]}, as asked."
    return dataclasses.replace(items, x=x, notes=(*items.notes, note))


def _from_memory(source: Any, labels: Any, classes: Sequence[str] | None) -> RawData:
    if isinstance(source, tuple):
        if len(source) != 2 or labels is not None:
            raise VariedError("A tuple is (x, labels), given once: give two things, or an array.")
        source, labels = source
    if isinstance(source, Tensor):
        return from_tensor(source, labels, classes)
    if isinstance(source, Dataset):
        return read_dataset(source, labels, classes)
    # Of the type, since a lazy frame of polars warns where it is itself asked.
    if hasattr(type(source), "columns") or hasattr(source, "__arrow_c_stream__"):
        from varied.data.tables import from_frame

        return _table(*from_frame(source), labels, classes)
    if isinstance(source, np.ndarray):
        return from_array(source, labels, classes)
    if isinstance(source, list) or hasattr(source, "__array__"):
        return from_array(_as_array(source), labels, classes)
    raise VariedError(
        f"A {type(source).__name__} cannot be read: give a path, a data frame, an array, a tensor "
        "or a Dataset."
    )


def _as_array(source: Any) -> np.ndarray[Any, np.dtype[Any]]:
    try:
        return np.asarray(source)
    except ValueError as error:
        raise VariedError("The rows are ragged: make all of them the same shape.") from error


def _from_path(
    source: str, size: Size | None, labels: Any, classes: Sequence[str] | None
) -> RawData:
    """A name of the catalog goes before a path: `./mnist` is the folder."""
    if source in CATALOG:
        return dataclasses.replace(_renamed(CATALOG[source].load(labels), classes), source=source)
    path = Path(source).expanduser()
    try:
        if not path.exists():
            raise VariedError(_missing(path))
        items = _reader(path)(path, size, labels, classes)
    except OSError as error:
        raise VariedError(
            f"'{path}' cannot be read ({error.strerror}): look at its name and its permissions."
        ) from error
    return dataclasses.replace(items, source=str(path.resolve()))


def _renamed(items: RawData, classes: Sequence[str] | None) -> RawData:
    if classes is None:
        return items
    labels, names = parse_labels(items.labels, len(items), classes)
    return dataclasses.replace(items, labels=labels, classes=names)


def _summary(items: RawData) -> str:
    """Say what was understood, on one line."""
    if items.kind == "table":
        return f"{len(items):,} rows of {items.x.shape[1]:,} columns."
    shape = "x".join(str(s) for s in items.x.shape[1 : 3 if items.kind == "image" else None])
    color = "color" if items.x.ndim == 4 else "gray"
    parts = [
        f"{len(items):,} {color} pictures, {shape}"
        if items.kind == "image"
        else f"{len(items):,} rows of {shape} numbers",
        f"{len(items.problems):,} unreadable" if items.problems else "",
        f"{len(items.classes):,} classes" if items.classes else "",
        f"{len(items.test):,} official test rows" if items.test is not None else "",
    ]
    return "; ".join(part for part in parts if part) + "."


Reader = Callable[[Path, Size | None, Any, Sequence[str] | None], RawData]


def _reader(path: Path) -> Reader:
    if path.is_dir():
        return _read_idx_folder if idx_folder(path) else _read_folder
    if not path.is_file():
        raise VariedError(f"{path.name} is neither a file nor a folder: give one of these.")
    suffix = path.suffix.lower()
    if suffix in READERS:
        return READERS[suffix]
    if path.name.lower().endswith(SUFFIXES):
        return _read_table
    if is_idx(path):
        return _read_idx
    raise VariedError(_unknown(path))


def _read_folder(path: Path, size: Size | None, labels: Any, classes: Any) -> RawData:
    listing = list_folder(path, EXTENSIONS)
    if not listing.members and not listing.problems:
        raise VariedError(_no_pictures(path, listing, "folder"))
    return read_images(listing, path.name, size=size, labels=labels, classes=classes)


def _read_zip(path: Path, size: Size | None, labels: Any, classes: Any) -> RawData:
    listing = list_zip(path, EXTENSIONS)
    if not listing.members and not listing.problems:
        raise VariedError(_no_pictures(path, listing, "zip"))
    return read_images(listing, path.name, size=size, labels=labels, classes=classes)


def _read_picture(path: Path, size: Size | None, labels: Any, classes: Any) -> RawData:
    return read_images(list_file(path), path.name, size=size, labels=labels, classes=classes)


def _read_npy(path: Path, size: Size | None, labels: Any, classes: Any) -> RawData:
    return read_npy(path, labels, classes)


def _read_npz(path: Path, size: Size | None, labels: Any, classes: Any) -> RawData:
    return read_npz(path, labels, classes)


def _read_idx(path: Path, size: Size | None, labels: Any, classes: Any) -> RawData:
    return read_idx(path, labels, classes)


def _read_idx_folder(path: Path, size: Size | None, labels: Any, classes: Any) -> RawData:
    return read_idx_folder(path, labels, classes)


def _read_table(path: Path, size: Size | None, labels: Any, classes: Any) -> RawData:
    from varied.data.tables import read_table

    return _table(*read_table(path), labels, classes)


def _table(
    frame: Any, form: Any, notes: tuple[str, ...], labels: Any, classes: Sequence[str] | None
) -> RawData:
    """Return the rows of a table; a name as labels is that of a column."""
    items = RawData(frame, "table", notes=notes, form=form.to_json())
    if labels is None:
        return items
    if isinstance(labels, str):
        if labels not in frame.columns:
            near = suggest(labels, list(frame.columns))
            raise VariedError(f"The table has no column '{labels}': {near}")
        labels = _values(frame[labels])
    found, names = parse_labels(labels, len(frame), classes)
    return dataclasses.replace(items, labels=found, classes=names)


def _values(cells: Any) -> Any:
    """Return a column as labels are given: numbers with NaN, or words with None."""
    if cells.dtype.kind == "M":
        raise VariedError(
            f"The column '{cells.name}' holds dates, and labels are names or numbers."
        )
    if cells.dtype.kind == "f" or (cells.dtype.kind in "iu" and cells.isna().any()):
        return cells.to_numpy(dtype=np.float64, na_value=np.nan)
    return cells.to_numpy(dtype=np.int64) if cells.dtype.kind in "iu" else cells.to_numpy(object)


def _missing(path: Path) -> str:
    if str(path) == path.name and not path.suffix:
        near = suggest(path.name, [*CATALOG, *_siblings(path)], limit=len(CATALOG))
        return f"There is no set and no file called '{path}': {near}"
    return f"There is no '{path}': {_near(path)}"


def _near(path: Path) -> str:
    siblings = _siblings(path)
    if not path.parent.is_dir():
        return f"the folder '{path.parent}' is not there either."
    return suggest(path.name, siblings, limit=20) if siblings else f"'{path.parent}' is empty."


def _siblings(path: Path) -> list[str]:
    try:
        return sorted(p.name for p in path.parent.iterdir() if not p.name.startswith("."))
    except OSError:
        return []


def _no_pictures(path: Path, listing: Listing, kind: str) -> str:
    if not listing.others:
        return f"The {kind} {path.name} is empty: give one with pictures in it."
    found = ", ".join(f"{n:,} {suffix}" for suffix, n in listing.others.most_common(5))
    read_ones = ", ".join(sorted(EXTENSIONS))
    if any(suffix in SUFFIXES for suffix in listing.others):
        read_ones += "; a table is named itself"
    return f"The {kind} {path.name} has no pictures (found {found}): these are read: {read_ones}."


def _unknown(path: Path) -> str:
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix in SHEETS:
        return f"{path.name} is not read: save it as .csv, or give a data frame of pandas."
    if suffix in SOUNDS:
        return f"{path.name} is a sound, and sounds are not read yet: give an array of samples."
    if suffix in PICKLES:
        return (
            f"{path.name} is a pickle, which can run any code when it is opened: "
            "save the arrays with numpy.savez."
        )
    return (
        f"{path.name} is not in a format that is read: give a folder or a zip of pictures, a "
        ".csv, .tsv, .parquet or .feather table, or an .npy, .npz or idx file."
    )


def _too_few(items: RawData, at_least: int) -> str:
    lost = f" ({len(items.problems):,} more could not be read)" if items.problems else ""
    found = "is 1 row" if len(items) == 1 else f"are {len(items)} rows"
    return (
        f"There {found}{lost} and at least {at_least} are needed, to train on some and to measure "
        "on others: give more."
    )


READERS: dict[str, Reader] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".zip": _read_zip,
    **dict.fromkeys(EXTENSIONS, _read_picture),
}
