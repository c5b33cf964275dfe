"""Reading NumPy files (.npy and .npz) without pickle, after checking their size."""

from __future__ import annotations

import io
import lzma
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from varied.data.arrays import from_array, from_sparse
from varied.data.disk_rows import MAX_IN_MEMORY, DiskRows
from varied.data.labels import parse_covariates, parse_labels, parse_names
from varied.data.memory import check_memory, check_ratio, read_array
from varied.data.raw_data import RawData
from varied.errors import VariedError, read_error, suggest

Array = npt.NDArray[Any]

#: The names by which arrays in .npz files are identified.
_X_NAMES = ("x", "X", "data", "images", "inputs", "features", "arr_0")
_LABEL_NAMES = ("y", "Y", "labels", "label", "targets", "target")
_CLASS_NAMES = ("classes", "class_names", "label_names", "target_names")
#: The name of the array that contains the kind of data, in files written by `Codec.save_labeled`.
KIND_NAME = "varied_kind"
#: Patterns for the names of one array, or of training and test arrays.
_PATTERNS = (("{}",), ("{}_train", "{}_test"), ("train_{}", "test_{}"))
#: For each version of the format, the size of the length of the header, and the reader.
_HEADER_READERS = {
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
}
#: The maximum length of a header, as in `numpy.load`.
_MAX_HEADER = 10_000
#: The largest character in Unicode, and the range of the surrogates, which are not characters.
_LAST_CHARACTER, _SURROGATES = 0x10FFFF, (0xD800, 0xDFFF)
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, UnicodeDecodeError),
)


def read_npy(path: Path, labels: Any = None, classes: Sequence[str] | None = None) -> RawData:
    """Read the rows of an ``.npy`` file.

    Raises:
        VariedError: If the file is corrupted, contains Python objects, or does not fit in memory.
    """
    with path.open("rb") as file:
        n_file = path.stat().st_size
        data = _large_images(file, path, n_file)
        if data is None:
            x = _read(file, path.name, n_file, n_file)
            return from_array(x, labels, classes, what=path.name)
    if labels is None:
        return data
    values, names = parse_labels(labels, len(data), classes)
    return data.replace(labels=values, classes=names)


def _large_images(file: IO[bytes], path: Path, n_file: int) -> RawData | None:
    """Return large 8-bit images, which are read from disk on demand, or None for other arrays."""
    try:
        shape, fortran_order, dtype = _read_header(file)
    except Exception:  # the error is raised when the array is read
        file.seek(0)
        return None
    offset = file.tell()
    file.seek(0)
    n_bytes = math.prod(shape) * dtype.itemsize
    is_image = dtype == np.uint8 and (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3))
    if not is_image or fortran_order or not MAX_IN_MEMORY < n_bytes <= n_file - offset:
        return None
    rows = DiskRows(path, offset, shape, dtype)
    if all(block.max(initial=0) <= 1 for block in rows.blocks()):
        return None
    return RawData(rows, "image")


def read_npz(path: Path, labels: Any = None, classes: Sequence[str] | None = None) -> RawData:
    """Read the rows, the labels and the official test rows of an ``.npz`` file.

    The rows are the array with a name such as ``x``, ``X``, ``data`` or ``images``, the arrays with
    names such as ``x_train`` and ``x_test``, or the only array in the file. The labels are the
    array with a name such as ``y``, ``labels`` or ``target``, or the arrays named by ``labels``.
    Matrices saved with `scipy.sparse.save_npz` are converted to dense rows.

    Raises:
        VariedError: If the file is corrupted, an array does not fit in memory, or no array can be
            identified as the rows or the labels; in the last case, the message lists the arrays.
    """
    with Npz(path) as npz:
        if npz.is_sparse:
            return from_sparse(npz.sparse_matrix(), labels, classes, what=path.name)
        names = npz.row_names()
        x = npz.concatenate(names)
        columns = {
            name: npz.concatenate(npz.find_labels(names, name))
            for name in parse_names(labels, len(x), npz.members)
        }
        if labels is None and (label_names := npz.label_names(names, _LABEL_NAMES)):
            labels = npz.concatenate(label_names)
            classes = classes or npz.class_names(labels)
        elif len(columns) == 1:
            classes = classes or npz.class_names(*columns.values())
        n_test = len(npz[names[1]]) if len(names) > 1 else 0
        kind = npz.kind
    data = RawData(x, kind) if kind else from_array(x, what=path.name)
    if columns:
        data = data.with_labels(parse_covariates(columns, len(x), classes))
    elif labels is not None:
        values, class_names = parse_labels(labels, len(x), classes)
        data = data.replace(labels=values, classes=class_names)
    is_split = n_test and not kind
    return data.replace(test=np.arange(len(x) - n_test, len(x)) if is_split else None)


class Npz:
    """The arrays of an ``.npz`` file, each of which is read when it is accessed.

    Arguments:
        path: The file.

    Raises:
        VariedError: If the file is corrupted or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except PermissionError as error:
            raise read_error(path, error) from error
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
            raise VariedError(f"{path.name} is corrupted; create or download it again.") from error
        files = [i for i in self._zip.infolist() if i.filename.endswith(".npy")]
        self.members = {i.filename.removesuffix(".npy"): i for i in files}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def __getitem__(self, name: str) -> Array:
        if name not in self.members:
            raise VariedError(
                f"{self.path.name} has no array '{name}': {suggest(name, self.members)}"
            )
        info, what = self.members[name], f"{self.path.name}[{name}]"
        try:
            with self._zip.open(info) as file:
                return _read(file, what, info.file_size, info.compress_size)
        except _ZIP_ERRORS as error:
            raise VariedError(f"{what} is corrupted; create or download it again.") from error

    @property
    def is_sparse(self) -> bool:
        """Whether the file was written by `scipy.sparse.save_npz`."""
        return {"format", "shape", "data"} <= self.members.keys()

    def sparse_matrix(self) -> Any:
        """Return the matrix of a file written by `scipy.sparse.save_npz`.

        Raises:
            VariedError: If the file is corrupted.
        """
        from scipy import sparse

        try:
            form, shape, data = self["format"].item().decode(), self["shape"], self["data"]
            if form == "coo":
                return sparse.coo_matrix((data, (self["row"], self["col"])), shape)
            if form == "dia":
                return sparse.dia_matrix((data, self["offsets"]), shape)
            classes = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "bsr": sparse.bsr_matrix}
            matrix = classes[form]((data, self["indices"], self["indptr"]), shape)
            matrix.check_format(full_check=True)  # an index outside the matrix crashes SciPy
            return matrix
        except VariedError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise VariedError(
                f"{self.path.name} is not a valid sparse matrix; save it again."
            ) from error

    @property
    def kind(self) -> str:
        """The kind of data, or "" if the file does not contain it."""
        if KIND_NAME not in self.members:
            return ""
        return str(self[KIND_NAME])[:40]

    def summary(self) -> str:
        """Return a phrase that lists the names of the arrays."""
        return f"the file contains {', '.join(list(self.members)[:12]) or 'no arrays'}"

    def row_names(self) -> tuple[str, ...]:
        """Return the name of the array of rows, or the names of the training and test arrays.

        Raises:
            VariedError: If there are several arrays, and none has a known name.
        """
        for name in _X_NAMES:
            for patterns in _PATTERNS:
                names = [n for n in _apply(patterns, name) if n in self.members]
                if names and names[0] == patterns[0].format(name):
                    return tuple(names)
        if len(self.members) == 1:
            return tuple(self.members)
        raise VariedError(
            f"{self.path.name} has no array named x, data, images or x_train; {self.summary()}. "
            "Save the rows as x."
        )

    def label_names(
        self, row_names: tuple[str, ...], names: Sequence[str]
    ) -> tuple[str, ...] | None:
        """Return the names of the arrays with the labels of the rows, or None if there are none."""
        for name in names:
            for patterns in _PATTERNS:
                candidates = _apply(patterns, name)[: len(row_names)]
                is_complete = len(candidates) == len(row_names) and all(
                    n in self.members and n not in row_names for n in candidates
                )
                if is_complete and (len(row_names) == 1 or len(candidates) == 2):
                    return candidates
        return None

    def find_labels(self, row_names: tuple[str, ...], name: str) -> tuple[str, ...]:
        """Return the names of the arrays that contain the labels with a given name.

        Raises:
            VariedError: If there are none, or they contain the rows.
        """
        if any(n in row_names for patterns in _PATTERNS for n in _apply(patterns, name)):
            raise VariedError(
                f"In {self.path.name}, '{name}' contains the rows, not labels; choose another "
                f"array ({self.summary()})."
            )
        label_names = self.label_names(row_names, (name,))
        if not label_names:
            raise VariedError(
                f"{self.path.name} has no array of labels named '{name}'; choose another array "
                f"({self.summary()})."
            )
        return label_names

    def class_names(self, labels: Array | None) -> tuple[str, ...] | None:
        """Return the class names in the file if they match the labels, or None."""
        if labels is None or labels.dtype.kind not in "iu" or not labels.size:
            return None
        for name in _CLASS_NAMES:
            if name in self.members and self[name].dtype.kind == "U":
                classes = self[name].ravel().tolist()
                return tuple(classes) if len(classes) > labels.max() else None
        return None

    def concatenate(self, names: Sequence[str]) -> Array:
        """Return the concatenation of arrays.

        Raises:
            VariedError: If the rows have different shapes, or an array has no axes.
        """
        arrays = [self[name] for name in names]
        if not all(array.ndim for array in arrays):
            raise VariedError(
                f"{self.path.name}[{names[0]}] is a single value; save an array with a value for "
                "each row."
            )
        if len({a.shape[1:] for a in arrays}) > 1:
            shapes = " and ".join(f"{n} {a.shape}" for n, a in zip(names, arrays, strict=True))
            raise VariedError(
                f"In {self.path.name}, the rows of {shapes} have different shapes; save rows of "
                "the same shape."
            )
        return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]


def _apply(patterns: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(pattern.format(name) for pattern in patterns)


def _read(file: IO[bytes], what: str, n_file: int, n_packed: int) -> Array:
    """Read an array after checking that its header matches the file and that it fits in memory.

    Arguments:
        file: The file.
        what: The name of the array in messages.
        n_file: The size of the file.
        n_packed: The size of the file when compressed.
    """
    try:
        shape, fortran_order, dtype = _read_header(file)
    except Exception as error:  # the header is parsed as Python text, which can fail in many ways
        raise VariedError(f"{what} is corrupted or not a NumPy array; save it again.") from error
    if dtype.hasobject:
        raise VariedError(
            f"{what} contains rows of different shapes, or Python objects, which can run code when "
            "they are read; convert all rows to the same shape and save them as a numeric array."
        )
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes > n_file:
        raise VariedError(f"{what} is truncated; create or download it again.")
    check_ratio(n_bytes, n_packed, what, "save it with numpy.savez, which does not compress it")
    check_memory(n_bytes, what, "save fewer or smaller rows")
    try:
        x = read_array(file, shape, dtype, "F" if fortran_order else "C")
    except ValueError as error:
        raise VariedError(f"{what} is truncated; create or download it again.") from error
    if dtype.kind == "U" and not _is_text(x):
        raise VariedError(f"{what} is corrupted; create or download it again.")
    return x


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape, whether the array is in Fortran order, and the dtype.

    Raises:
        ValueError: If the header is not valid; malformed headers may also raise other errors.
    """
    n, read = _HEADER_READERS[np.lib.format.read_magic(file)]
    length = file.read(n)
    if int.from_bytes(length, "little") > _MAX_HEADER:
        raise ValueError("the header is too long")
    header = file.read(int.from_bytes(length, "little"))
    shape, fortran_order, dtype = read(io.BytesIO(length + header))
    if dtype.itemsize == 0 or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError("the array is not valid")
    return shape, fortran_order, dtype


def _is_text(x: Array) -> bool:
    """Return whether an array of strings contains only characters of Unicode."""
    codes = x.reshape(-1, order="A").view(x.dtype.str[0] + "u4")
    first, last = _SURROGATES
    return not ((codes > _LAST_CHARACTER) | (codes >= first) & (codes <= last)).any()
