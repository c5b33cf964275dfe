"""A cache of decoded images, so that the images of a large folder are decoded only once."""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from varied import atomic_io
from varied.data.archive import Member
from varied.data.disk_rows import MAX_IN_MEMORY, DiskRows
from varied.data.download import cache_folder
from varied.data.image_files import Size, read_images
from varied.data.raw_data import Problem
from varied.errors import VariedError

#: The smallest number of files whose images are stored.
MIN_FILES = 10_000
#: The version of the format and of the decoding, which is part of the name of the files.
_FORMAT = 1

#: The images, the unreadable files by index, and notes.
Images = tuple[Any, dict[int, Problem], tuple[str, ...]]


def read_images_cached(members: Sequence[Member], size: Size | None = None) -> Images:
    """Return the same as `read_images`, from the cache if the files have not changed.

    A file counts as unchanged if its name, its size and the time of its last change are the same.
    More than 256 MB of images stay on disk. If the cache cannot be written, or would take more than
    a quarter of the free disk space, the images are decoded each time.

    Arguments:
        members: The files.
        size: The height and width; by default, they are chosen by `choose_size`.
    """
    if len(members) < MIN_FILES or any(member.version is None for member in members):
        return read_images(members, size)
    key = json.dumps([_FORMAT, size, [(member.name, member.version) for member in members]])
    digest = hashlib.blake2b(key.encode(), digest_size=12).hexdigest()
    path = image_folder() / f"{digest}.json"
    with suppress(VariedError, KeyError, TypeError, ValueError, OSError):
        return _read(path)
    x, problems, notes = read_images(members, size)
    with suppress(VariedError, OSError):
        _write(path, x, problems, notes)
        return _read(path)
    return x, problems, notes


def image_folder() -> Path:
    """Return the folder of the cache."""
    return cache_folder() / "images"


def clear_images() -> int:
    """Remove all stored images, and return the number of files that were removed."""
    files = [path for path in image_folder().glob("*") if path.suffix in (".json", ".pixels")]
    for file in files:
        atomic_io.remove(file)
    return len(files)


def _read(path: Path) -> Images:
    notes = atomic_io.read_json(path)
    pixels, shape = path.with_suffix(".pixels"), tuple(map(int, notes["shape"]))
    rows = DiskRows(pixels, 0, shape, np.dtype(np.uint8))
    if _checksum(rows.blocks()) != notes["checksum"]:
        raise VariedError(f"{pixels} is damaged.")
    x = rows if rows.nbytes > MAX_IN_MEMORY else rows[:]
    problems = {int(i): Problem(*problem) for i, problem in notes["problems"].items()}
    return x, problems, tuple(notes["notes"])


def _write(
    path: Path,
    x: npt.NDArray[np.uint8],
    problems: dict[int, Problem],
    notes: tuple[str, ...],
) -> None:
    pixels = path.with_suffix(".pixels")
    atomic_io.make_folder(path.parent)
    if 4 * x.nbytes > shutil.disk_usage(path.parent).free:
        raise VariedError("The disk has too little space for the cache.")
    atomic_io.atomic_write(pixels, lambda file: file.write(np.ascontiguousarray(x).data))
    listed = {str(i): [problem.name, problem.reason] for i, problem in problems.items()}
    values = {"shape": x.shape, "checksum": _checksum([x]), "problems": listed, "notes": notes}
    atomic_io.write_json(path, values)


def _checksum(blocks: Iterable[npt.NDArray[np.uint8]]) -> int:
    checksum = 0
    for block in blocks:
        checksum = zlib.crc32(np.ascontiguousarray(block).data, checksum)
    return checksum
