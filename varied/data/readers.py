"""Reading data from any source."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from varied.data.arrays import from_array, from_sparse, from_tensor
from varied.data.catalog import CATALOG
from varied.data.codecs import CODECS, Codec, check_rows
from varied.data.file_folder import read_folder, read_single, read_zip
from varied.data.idx import is_idx, is_idx_folder, read_idx, read_idx_folder
from varied.data.labels import parse_covariates, parse_labels, parse_names
from varied.data.numpy_files import read_npy, read_npz
from varied.data.raw_data import RawData
from varied.data.torch_datasets import read_dataset
from varied.errors import OptionError, VariedError, read_error, suggest
from varied.registry import find, load_entry_points

Classes = Sequence[str] | None
Reader = Callable[..., RawData]

_SPREADSHEETS = (".xlsx", ".xls", ".ods", ".json", ".jsonl", ".arff", ".sas7bdat", ".sav", ".dta")
_SOUNDS = (".mp3", ".m4a", ".aif", ".aiff", ".wma", ".opus")
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")
#: The readers of files that may contain any kind of data.
_READERS: dict[str, Reader] = {".npy": read_npy, ".npz": read_npz}


def read(
    source: Any,
    *,
    labels: Any = None,
    classes: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    kind: str | None = None,
    min_rows: int = 10,
    **options: Any,
) -> RawData:
    """Read data from a path, the name of a dataset, or an object in memory.

    Arguments:
        source: The name of a dataset (``"mnist"``); the path of a folder or zip file of images or
            recordings (whose inner folders become labels), of one of these files, of a table
            (``.csv``, ``.tsv``, ``.parquet``, ``.feather``), of a file of molecules (``.smi``,
            ``.sdf``), of an ``.npy``, ``.npz`` or idx file, or of a folder of idx files; a list of
            SMILES; a pandas, polars or pyarrow DataFrame; an array with shape ``(N, ...)``; a SciPy
            sparse matrix; a tensor with shape ``(N, C, H, W)`` or ``(N, ...)``; a tuple of
            one of these and its labels; a `torch.utils.data.Dataset`; or `RawData`, which is
            returned unchanged.
        labels: A label for each row; for files, a mapping from file names to labels, or a pattern
            of the file names such as ``"{word}_{speaker}_{index}"``, is also possible; for an
            ``.npz`` file, the name of the label array; for a table, the name of the label column,
            which also stays in the table. A list of names, or names separated by commas, selects
            several labels. By default, the labels of the source are used.
        classes: The names of the classes, if the labels are indices.
        image_size: The height and width to which images are resized; by default, they are chosen
            automatically.
        kind: The kind of data, such as "table" or "molecules", if the source may be read as several
            kinds; by default, it is inferred.
        min_rows: The minimum number of rows.
        options: Additional options for the kind of data.

    Returns:
        The data; ``notes`` describes what was inferred, and ``problems`` lists the files that
        cannot be read.

    Raises:
        VariedError: If the source cannot be read; the message says what to do.

    Example:
        >>> read(np.random.default_rng(0).normal(size=(20, 3)))
        RawData(20 rows, kind='array', shape=(3,))
    """
    if image_size is not None:
        options["image_size"] = image_size
    if isinstance(source, RawData):
        data = source
    elif isinstance(source, str | os.PathLike):
        data = _from_path(os.fspath(source), labels, classes, options)
    else:
        data = _from_memory(source, labels, classes, kind, options)
    if data is not source:
        data = _interpret(data, kind)
    if data is not source or options:
        data = codec_of(data).apply_options(data, **options)
    if data is not source:
        data = data.replace(notes=(_summarize(data), *data.notes))
    given = dict(options)
    if not isinstance(source, RawData):
        given = _as_plain({"labels": labels, "classes": classes, "kind": kind, **options})
    if data.source is None and not data.label_names:
        given.pop("labels", None)  # a label for each row, passed again with the data
    if given:
        data = data.replace(options={**data.options, **given})
    if len(data) < min_rows:
        raise VariedError(_too_few(data, min_rows))
    return data


def _as_plain(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were passed, with lists in place of arrays, as in JSON."""
    return {
        name: np.asarray(value).tolist() if "__array__" in dir(type(value)) else value
        for name, value in options.items()
        if value is not None
    }


def codec_of(data: RawData) -> type[Codec]:
    """Return the codec class for the kind of data."""
    codec: type[Codec] = find("data", data.kind, CODECS)
    return codec


def _interpret(data: RawData, kind: str | None) -> RawData:
    """Return a table as another kind of data if it contains such data.

    Raises:
        OptionError: If the data are not of the kind that the user chose.
    """
    if data.is_frame and data.kind != kind:
        codecs = CODECS.values() if kind is None else [find("data", kind, CODECS)]
        contents = (codec.from_table(data, is_chosen=kind is not None) for codec in codecs)
        data = next((content for content in contents if content is not None), data)
    if kind is not None and data.kind != kind:
        noun = find("data", kind, CODECS).noun
        raise OptionError(f"The source cannot be read as {noun} (kind='{kind}'); omit kind.")
    return data


def _from_memory(
    source: Any, labels: Any, classes: Classes, kind: str | None, options: dict[str, Any]
) -> RawData:
    if isinstance(source, tuple):
        if len(source) != 2:
            raise VariedError(f"A tuple must be (x, labels), got a tuple of length {len(source)}.")
        if labels is not None:
            raise VariedError(
                "A tuple (x, labels) cannot be combined with `labels`; pass x instead of the tuple."
            )
        source, labels = source
    if kind is not None and isinstance(source, list | np.ndarray | Tensor):
        data = find("data", kind, CODECS).from_memory(source, **options)
        if data is not None:
            return _with_labels(data, labels, classes)
    if isinstance(source, Tensor):
        return from_tensor(source, labels, classes)
    if isinstance(source, Dataset):
        return read_dataset(source, labels, classes)
    # Accessing the columns of a polars LazyFrame raises a warning, so only the type is tested.
    if "columns" in dir(type(source)) or "__arrow_c_stream__" in dir(type(source)):
        from varied.data.tables import from_frame

        frame, dialect, notes = from_frame(source)
        data = RawData(frame, "table", notes=notes, dialect=dialect.to_json())
        return _with_labels(data, labels, classes)
    if _is_text(source):
        data = _interpret(_from_texts(source, labels, classes), kind)
        if not data.is_frame:
            return data
    if isinstance(source, np.ndarray):
        return from_array(source, labels, classes)
    if type(source).__module__.startswith("scipy.sparse"):
        return from_sparse(source, labels, classes)
    if isinstance(source, list) or "__array__" in dir(type(source)):
        return from_array(_as_array(source), labels, classes)
    raise VariedError(
        f"An object of type {type(source).__name__} cannot be read; pass a path, a DataFrame, an "
        "array, a tensor or a Dataset."
    )


def _is_text(source: Any) -> bool:
    """Return whether the source is a list or an array of strings."""
    is_vector = isinstance(source, list) or (isinstance(source, np.ndarray) and source.ndim == 1)
    return is_vector and len(source) > 0 and all(isinstance(text, str) for text in source)


def _from_texts(source: Any, labels: Any, classes: Classes) -> RawData:
    """Return strings as a table with a column of SMILES, the only texts that can be modeled."""
    import pandas as pd

    frame = pd.DataFrame({"smiles": pd.Series(list(source), dtype=object)})
    return _with_labels(RawData(frame, "table"), labels, classes)


def _as_array(source: Any) -> np.ndarray[Any, np.dtype[Any]]:
    try:
        return np.asarray(source)
    except ValueError as error:
        raise VariedError(
            "The rows have different shapes; all rows must have the same shape."
        ) from error


def _from_path(source: str, labels: Any, classes: Classes, options: dict[str, Any]) -> RawData:
    """Read a dataset by name, or data from a path; the name of a dataset takes precedence."""
    if source in CATALOG:
        return _with_classes(CATALOG[source].load(labels), classes).replace(source=source)
    path = Path(source).expanduser()
    try:
        if not path.exists():
            raise VariedError(_missing(path))
        data = _read_path(path, labels, classes, options)
    except OSError as error:
        raise read_error(path, error) from error
    return data.replace(source=str(path.resolve()))


def _with_classes(data: RawData, classes: Classes) -> RawData:
    if classes is None:
        return data
    labels, names = parse_labels(data.labels, len(data), classes)
    return data.replace(labels=labels, classes=names)


def _summarize(data: RawData) -> str:
    """Return a one-line summary of the data."""
    parts = [
        codec_of(data).summarize(data),
        f"{len(data.problems):,} unreadable" if data.problems else "",
        f"{len(data.classes):,} classes" if data.classes else "",
        f"covariates {_list_covariates(data)}" if any(data.label_classes) else "",
        f"{len(data.test):,} official test rows" if data.test is not None else "",
    ]
    return "; ".join(part for part in parts if part) + "."


def _list_covariates(data: RawData) -> str:
    kinds = {
        name: f"{len(classes):,} classes" if classes else "numbers"
        for name, (_, classes) in data.covariates.items()
    }
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items())


def _read_path(path: Path, labels: Any, classes: Classes, options: dict[str, Any]) -> RawData:
    if path.is_dir():
        if is_idx_folder(path):
            return read_idx_folder(path, labels, classes)
        return read_folder(path, labels, classes, **options)
    if not path.is_file():
        raise VariedError(f"{path.name} is neither a file nor a folder; pass one of them.")
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return read_zip(path, labels, classes, **options)
    if suffix in _READERS:
        data = _READERS[suffix](path, labels, classes)
        check_rows(data, path.name)
        return data
    codec = _codec_of_file(path)
    if codec is not None and codec.reads_folders:
        return read_single(path, codec, labels, classes, **options)
    if codec is not None:
        return _with_labels(codec.read_file(path), labels, classes)
    if is_idx(path):
        return read_idx(path, labels, classes)
    raise VariedError(_unknown_format(path))


def _codec_of_file(path: Path) -> type[Codec] | None:
    """Return the codec that reads files with the extension of the path, or None."""
    name = path.name.lower()
    codecs = [codec for codec in CODECS.values() if name.endswith(codec.endings)]
    if not codecs:
        load_entry_points()
        codecs = [codec for codec in CODECS.values() if name.endswith(codec.endings)]
    return codecs[0] if codecs else None


def _with_labels(data: RawData, labels: Any, classes: Classes) -> RawData:
    """Return data with labels, which may be the names of the columns that contain them."""
    if labels is None:
        return data
    columns = parse_names(labels, len(data), data.columns)
    if not columns:
        values, names = parse_labels(labels, len(data), classes)
        return data.replace(labels=values, classes=names)
    for name in columns:
        if name not in data.columns:
            raise VariedError(
                f"The table has no column '{name}': {suggest(name, list(data.columns))}"
            )
    cells = {name: _label_values(data.x[name]) for name in columns}
    return data.with_labels(parse_covariates(cells, len(data), classes))


def _label_values(cells: Any) -> Any:
    """Return a column as labels: numbers (NaN if missing) or names (None if missing)."""
    if cells.dtype.kind == "M":
        raise VariedError(
            f"The column '{cells.name}' contains dates; labels must be names or numbers."
        )
    if cells.dtype.kind == "f" or (cells.dtype.kind in "iu" and cells.isna().any()):
        return cells.to_numpy(dtype=np.float64, na_value=np.nan)
    return cells.to_numpy(dtype=np.int64) if cells.dtype.kind in "iu" else cells.to_numpy(object)


def _missing(path: Path) -> str:
    if str(path) == path.name and not path.suffix:
        hint = suggest(path.name, [*CATALOG, *_siblings(path)], limit=len(CATALOG))
        return f"There is no dataset and no file named '{path}': {hint}"
    if not path.parent.is_dir():
        return f"There is no '{path}': the folder '{path.parent}' does not exist."
    siblings = _siblings(path)
    hint = suggest(path.name, siblings, limit=20) if siblings else f"'{path.parent}' is empty."
    return f"There is no '{path}': {hint}"


def _siblings(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir() if not p.name.startswith("."))


def _unknown_format(path: Path) -> str:
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix in _SPREADSHEETS:
        return f"{path.name} cannot be read; save it as .csv, or pass a pandas DataFrame."
    if suffix in _SOUNDS:
        return f"{path.name} cannot be read; convert the recording to .wav, .flac or .ogg."
    if suffix in _PICKLES:
        return (
            f"{path.name} is a pickle, which can run arbitrary code when it is opened; save the "
            "arrays with numpy.savez."
        )
    return (
        f"The format of {path.name} is not supported; use a folder or zip file of images or "
        "recordings, a .csv, .tsv, .parquet or .feather table, or an .npy, .npz or idx file."
    )


def _too_few(data: RawData, min_rows: int) -> str:
    rows = "is 1 row" if len(data) == 1 else f"are {len(data)} rows"
    unreadable = f" ({len(data.problems):,} more cannot be read)" if data.problems else ""
    codec = codec_of(data)
    remedy = f"; use a folder with more {codec.noun}" if codec.reads_folders else ""
    return (
        f"There {rows}{unreadable}, but at least {min_rows} are required for training and "
        f"evaluation{remedy}."
    )
