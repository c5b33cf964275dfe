"""The idx files of MNIST and its kin, packed with gzip or not."""

from __future__ import annotations

import dataclasses
import gzip
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from varied.data.arrays import from_array
from varied.data.memory import check_memory
from varied.data.raw_data import RawData
from varied.errors import VariedError

__all__ = ["is_idx_folder", "is_idx", "load_idx", "read_idx", "read_idx_folder"]

Array = npt.NDArray[Any]

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IMAGES = {"train": ("train-images*",), "test": ("t10k-images*", "test-images*")}


def is_idx(path: Path) -> bool:
    """Return whether a file begins as an idx file does."""
    try:
        with _open(path) as file:
            start = file.read(4)
    except (OSError, EOFError, zlib.error):
        return False
    return len(start) == 4 and start[:2] == b"\0\0" and start[2] in TYPES and 0 < start[3] < 6


def load_idx(path: Path) -> Array:
    """Return the array of an idx file.

    Raises:
        VariedError: If it is damaged, or does not fit in memory.
    """
    try:
        with _open(path) as file:
            return _load(file, path.name)
    except (OSError, EOFError, zlib.error) as error:
        raise VariedError(f"{path.name} is damaged: fetch it again.") from error


def read_idx(path: Path, labels: Any = None, classes: Sequence[str] | None = None) -> RawData:
    """Return the pictures of an idx file, with the labels of the file beside it if it is there.

    Raises:
        VariedError: If a file is damaged, or the labels do not go with the pictures.
    """
    if labels is None and (beside := _labels_beside(path)) is not None:
        labels = load_idx(beside)
    return from_array(load_idx(path), labels, classes, what=path.name)


def is_idx_folder(path: Path) -> bool:
    """Return whether a folder holds the training pictures of such a set."""
    return _find(path, "train") is not None


def read_idx_folder(
    path: Path, labels: Any = None, classes: Sequence[str] | None = None
) -> RawData:
    """Return the training and the test pictures of a folder, the latter as official test rows.

    Raises:
        VariedError: If a file is damaged or missing.
    """
    found = [f for f in (_find(path, "train"), _find(path, "test")) if f is not None]
    beside = [f for f in map(_labels_beside, found) if f is not None]
    pictures = [load_idx(f) for f in found]
    if len({p.shape[1:] for p in pictures}) > 1:
        raise VariedError(f"{path.name}: the training and test pictures differ in size.")
    if labels is None and len(beside) == len(found):
        labels = np.concatenate([load_idx(f) for f in beside])
    items = from_array(np.concatenate(pictures), labels, classes, what=path.name)
    held = np.arange(len(pictures[0]), len(items))
    return dataclasses.replace(items, test=held if len(held) else None)


def _open(path: Path) -> IO[bytes]:
    unpack: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    return unpack(path, "rb")  # type: ignore[no-any-return]


def _load(file: IO[bytes], name: str) -> Array:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in TYPES:
        raise VariedError(f"{name} is no idx file: its first bytes say so.")
    axes = file.read(4 * start[3])
    shape = tuple(int(n) for n in np.frombuffer(axes[: len(axes) // 4 * 4], ">u4"))
    dtype = np.dtype(TYPES[start[2]])
    wanted = math.prod(shape) * dtype.itemsize
    check_memory(wanted, name, "give fewer rows")
    contents = file.read(wanted + 1)  # one more, to see that the file ends there
    if len(contents) != wanted or len(shape) != start[3]:
        raise VariedError(f"{name} is cut short or damaged: fetch it again.")
    return np.frombuffer(contents, dtype).reshape(shape)


def _labels_beside(path: Path) -> Path | None:
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    stem = name.removesuffix(".gz")
    beside = (path.with_name(n) for n in (name, stem, f"{stem}.gz") if n != path.name)
    return next((p for p in beside if p.is_file()), None)


def _find(path: Path, part: str) -> Path | None:
    found = (f for pattern in IMAGES[part] for f in sorted(path.glob(pattern)) if is_idx(f))
    return next(found, None)
