"""Files of NumPy, `.npy` and `.npz`: read without pickle, and measured before they are read."""

from __future__ import annotations

import dataclasses
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from varied.data.arrays import from_array
from varied.data.memory import check_memory
from varied.data.raw_data import RawData
from varied.errors import VariedError, suggest

__all__ = ["Npz", "read_npy", "read_npz"]

Array = npt.NDArray[Any]

X = ("x", "X", "data", "images", "inputs", "features", "arr_0")
Y = ("y", "Y", "labels", "label", "targets", "target")
CLASSES = ("classes", "class_names", "label_names", "target_names")


def read_npy(path: Path, labels: Any = None, classes: Sequence[str] | None = None) -> RawData:
    """Return the rows of a `.npy` file.

    Raises:
        VariedError: If it is damaged, holds Python objects, or does not fit in memory.
    """
    with path.open("rb") as file:
        x = _read(file, path.name, path.stat().st_size)
    return from_array(x, labels, classes, what=path.name)


def read_npz(path: Path, labels: Any = None, classes: Sequence[str] | None = None) -> RawData:
    """Return the rows of a `.npz` file, with labels and an official test part where it has them.

    The rows are `x`, `X`, `data`, `images` ..., or `x_train` and `x_test`, or the one array that
    there is; the labels are `y`, `labels`, `target` ..., or those that `labels` names.

    Raises:
        VariedError: If no array is the rows: the message lists what is there.
    """
    with Npz(path) as npz:
        names = npz.rows()
        x = npz.joined(names)
        if labels is None or isinstance(labels, str):
            found = npz.labels(names, (labels,) if labels else Y)
            if labels and not found:
                raise VariedError(f"{path.name} has no labels '{labels}': {npz.listing()}.")
            labels = npz.joined(found) if found else None
            classes = classes or npz.class_names(labels)
        held = len(npz[names[1]]) if len(names) > 1 else 0
    items = from_array(x, labels, classes, what=path.name)
    test = np.arange(len(x) - held, len(x)) if held else None
    return dataclasses.replace(items, test=test)


class Npz:
    """The arrays of a `.npz` file, each read when it is asked for.

    Arguments:
        path: The file.

    Raises:
        VariedError: If it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise VariedError(f"{path.name} is damaged: make or fetch it again.") from error
        files = [i for i in self._zip.infolist() if i.filename.endswith(".npy")]
        self.members = {i.filename.removesuffix(".npy"): i for i in files}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def __getitem__(self, name: str) -> Array:
        if name not in self.members:
            raise VariedError(f"{self.path.name} has no '{name}': {suggest(name, self.members)}")
        info, what = self.members[name], f"{self.path.name}[{name}]"
        try:
            with self._zip.open(info) as file:
                return _read(file, what, info.file_size)
        except DAMAGE as error:
            raise VariedError(f"{what} is damaged: make or fetch it again.") from error

    def listing(self) -> str:
        """Return what is there, in words."""
        return f"it holds {', '.join(list(self.members)[:12]) or 'no arrays'}"

    def rows(self) -> tuple[str, ...]:
        """Return the name of the rows, or the names of the training and the test rows.

        Raises:
            VariedError: If no array has a name that says so, and there are several.
        """
        for name in X:
            for parts in PARTS:
                found = [n for n in _named(name, parts) if n in self.members]
                if found and found[0] == parts[0].format(name):
                    return tuple(found)
        if len(self.members) == 1:
            return tuple(self.members)
        raise VariedError(
            f"{self.path.name} has no array called x, data or images, and no x_train: "
            f"{self.listing()}; save the rows as x."
        )

    def labels(self, rows: tuple[str, ...], names: Sequence[str]) -> tuple[str, ...] | None:
        """Return the names of the labels that go with the rows, where there are some."""
        for name in names:
            for parts in PARTS:
                found = _named(name, parts)[: len(rows)]
                alike = len(found) == len(rows) and all(n in self.members for n in found)
                if alike and (len(rows) == 1 or len(found) == 2):
                    return found
        return None

    def class_names(self, labels: Array | None) -> tuple[str, ...] | None:
        """Return the class names that the file holds, if they can be those of the labels."""
        if labels is None or labels.dtype.kind not in "iu" or not labels.size:
            return None
        for name in CLASSES:
            if name in self.members and self[name].dtype.kind == "U":
                found = self[name].ravel().tolist()
                return tuple(found) if len(found) > labels.max() else None
        return None

    def joined(self, names: Sequence[str]) -> Array:
        """Return the arrays of those names, one after the other.

        Raises:
            VariedError: If they have rows of different shapes.
        """
        arrays = [self[name] for name in names]
        if len({(a.shape[1:], a.ndim > 0) for a in arrays}) > 1:
            shapes = " and ".join(f"{n} {a.shape}" for n, a in zip(names, arrays, strict=True))
            raise VariedError(f"{self.path.name}: {shapes} do not go together: save one shape.")
        return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]


def _named(name: str, parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.format(name) for part in parts)


def _read(file: IO[bytes], what: str, size: int) -> Array:
    """Read the header first: what it claims must be in the file, and must fit in memory."""
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = HEADERS[version](file)
    except Exception as error:  # the header is parsed as Python text, which fails in many ways
        raise VariedError(f"{what} is no array of NumPy, or damaged: save it again.") from error
    if dtype.hasobject:
        raise VariedError(
            f"{what} is ragged or holds Python objects, which could run code when read: "
            "make all rows the same shape and save them as numbers."
        )
    count = math.prod(shape)
    if count * dtype.itemsize > size:
        raise VariedError(f"{what} is cut short: make or fetch it again.")
    check_memory(count * dtype.itemsize, what, "save fewer rows, or smaller ones")
    contents = file.read(count * dtype.itemsize)
    if len(contents) != count * dtype.itemsize:
        raise VariedError(f"{what} is cut short: make or fetch it again.")
    x: Array = np.frombuffer(contents, dtype, count=count) if count else np.empty(shape, dtype)
    return x.reshape(shape[::-1]).T if fortran else x.reshape(shape)


PARTS = (("{}",), ("{}_train", "{}_test"), ("train_{}", "test_{}"))
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
DAMAGE = (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, EOFError, OSError)
