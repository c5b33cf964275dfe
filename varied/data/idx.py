"""Reading idx files, the format of MNIST and similar datasets, with or without gzip compression."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from varied.data.arrays import from_array
from varied.data.memory import check_memory, check_ratio, read_array
from varied.data.raw_data import RawData
from varied.errors import VariedError, read_error

Array = npt.NDArray[Any]

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PATTERNS = {"train": ("train-images*",), "test": ("t10k-images*", "test-images*")}


def is_idx(path: Path) -> bool:
    """Return whether a file has the header of an idx file."""
    try:
        with _open(path) as file:
            start = file.read(4)
    except PermissionError:
        raise
    except (OSError, EOFError, zlib.error):
        return False
    return len(start) == 4 and start[:2] == b"\0\0" and start[2] in _TYPES and 0 < start[3] < 6


def load_idx(path: Path) -> Array:
    """Read the array of an idx file.

    Raises:
        VariedError: If the file cannot be read, is corrupted, or does not fit in memory.
    """
    try:
        with _open(path) as file:
            return _load(file, path.name, path.stat().st_size)
    except PermissionError as error:
        raise read_error(path, error) from error
    except (OSError, EOFError, zlib.error) as error:
        raise VariedError(f"{path.name} is corrupted; download it again.") from error


def read_idx(path: Path, labels: Any = None, classes: Sequence[str] | None = None) -> RawData:
    """Read the images of an idx file, and the labels of the matching label file if it exists.

    Raises:
        VariedError: If a file is corrupted, or the numbers of images and labels differ.
    """
    if labels is None and (label_path := _label_file(path)) is not None:
        labels = load_idx(label_path)
    return from_array(load_idx(path), labels, classes, what=path.name)


def is_idx_folder(path: Path) -> bool:
    """Return whether a folder contains the training images of an idx dataset."""
    return _find(path, "train") is not None


def read_idx_folder(
    path: Path, labels: Any = None, classes: Sequence[str] | None = None
) -> RawData:
    """Read the training and test images of a folder; the test images are the official test rows.

    Raises:
        VariedError: If a file is corrupted, or the images differ in size.
    """
    files = [file for file in (_find(path, "train"), _find(path, "test")) if file is not None]
    label_files = [file for file in map(_label_file, files) if file is not None]
    images = [load_idx(file) for file in files]
    if len({part.shape[1:] for part in images}) > 1:
        raise VariedError(
            f"The training and test images in {path.name} differ in size; resize them to the same "
            "size."
        )
    if labels is None and len(label_files) == len(files):
        labels = np.concatenate([load_idx(file) for file in label_files])
    data = from_array(np.concatenate(images), labels, classes, what=path.name)
    test = np.arange(len(images[0]), len(data))
    return data.replace(test=test if len(test) else None)


def _open(path: Path) -> IO[bytes]:
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    return opener(path, "rb")  # type: ignore[no-any-return]


def _load(file: IO[bytes], name: str, n_packed: int) -> Array:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES:
        raise VariedError(f"{name} is not an idx file; download it again.")
    axes = file.read(4 * start[3])
    shape = tuple(int(n) for n in np.frombuffer(axes[: len(axes) // 4 * 4], ">u4"))
    dtype = np.dtype(_TYPES[start[2]])
    n_bytes = math.prod(shape) * dtype.itemsize
    is_packed = name.endswith(".gz")
    if is_packed:
        check_ratio(n_bytes, n_packed, name, "unpack it with gunzip")
    check_memory(n_bytes, name, "use fewer rows")
    try:
        if len(shape) != start[3] or (n_bytes > n_packed and not is_packed):
            raise ValueError("the header does not match the file")
        x = read_array(file, shape, dtype)
        if file.read(1):
            raise ValueError("the file is too long")
    except ValueError as error:
        raise VariedError(f"{name} is truncated or corrupted; download it again.") from error
    return x


def _label_file(path: Path) -> Path | None:
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    stem = name.removesuffix(".gz")
    candidates = (path.with_name(n) for n in (name, stem, f"{stem}.gz") if n != path.name)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _find(path: Path, split: str) -> Path | None:
    files = (
        file
        for pattern in _PATTERNS[split]
        for file in sorted(path.glob(pattern))
        if file.is_file() and is_idx(file)  # reading a pipe could block
    )
    return next(files, None)
