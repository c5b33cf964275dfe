"""Checks that data fit in memory before they are read."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from varied.errors import VariedError

_CGROUP = Path("/sys/fs/cgroup")
#: The maximum ratio of the unpacked to the packed size of large files.
MAX_RATIO = 200
#: The unpacked size up to which an array may exceed the ratio, such as labels that are all zero.
_SMALL_ARRAY = 64 * 2**20
_BLOCK = 2**22


def free_memory() -> int | None:
    """Return the available memory in bytes, or None if the system does not report it."""
    values = [n for n in (_system_memory(), _container_memory()) if n is not None]
    return min(values, default=None)


def check_memory(n_bytes: int, what: str, remedy: str) -> None:
    """Check that an array would take at most half of the available memory.

    Arguments:
        n_bytes: The size of the array.
        what: The name of the array in the message.
        remedy: The end of the message, which says what the user can do.

    Raises:
        VariedError: If the array would take more than half.
    """
    if not fits_in_memory(n_bytes):
        free = free_memory() or 0
        raise VariedError(
            f"{what} would take {n_bytes / 2**30:,.1f} GiB, more than half of the "
            f"{free / 2**30:,.1f} GiB of available memory; {remedy}."
        )


def fits_in_memory(n_bytes: int) -> bool:
    """Return whether an array would take at most half of the available memory, if it is known."""
    free = free_memory()
    return free is None or n_bytes <= free / 2


def is_bomb(n_bytes: int, n_packed: int, n_small: int = _SMALL_ARRAY) -> bool:
    """Return whether a file unpacks to so many bytes that it may be a zip bomb.

    Arguments:
        n_bytes: The unpacked size.
        n_packed: The packed size.
        n_small: The unpacked size up to which any ratio is accepted.

    Example:
        >>> is_bomb(2**30, 2**20), is_bomb(2**20, 2**10)
        (True, False)
    """
    return n_bytes > n_small and n_bytes > MAX_RATIO * n_packed


def check_ratio(
    n_bytes: int, n_packed: int, what: str, remedy: str, n_small: int = _SMALL_ARRAY
) -> None:
    """Check that a file is not a zip bomb, as determined by `is_bomb`.

    Arguments:
        n_bytes: The unpacked size.
        n_packed: The packed size.
        what: The name of the file in the message.
        remedy: The end of the message, which says what the user can do.
        n_small: The unpacked size up to which any ratio is accepted.

    Raises:
        VariedError: If the file may be a zip bomb.
    """
    if is_bomb(n_bytes, n_packed, n_small):
        raise VariedError(
            f"{what} unpacks to more than {MAX_RATIO} times its size, like a zip bomb; if you "
            f"trust it, {remedy}."
        )


def read_array(
    file: IO[bytes],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    order: Literal["C", "F"] = "C",
) -> npt.NDArray[Any]:
    """Read an array in blocks, so that memory is used only for bytes that the file contains.

    Raises:
        ValueError: If there is no array with this shape, or the file contains too few bytes.
    """
    x = np.empty(shape, dtype, order)
    rest = x.reshape(-1, order="A").view(np.uint8).data
    while rest:
        block = file.read(min(len(rest), _BLOCK))
        if not block:
            raise ValueError(f"{len(rest)} bytes are missing")
        rest[: len(block)] = block
        rest = rest[len(block) :]
    return x


def _system_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(s.split()[1]) * 1024 for s in lines if s.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None


def _container_memory() -> int | None:
    """Return the available memory of a container, which /proc/meminfo does not show."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = (_CGROUP / "memory.current").read_text()
        return max(0, int(limit) - int(used)) if limit != "max" else None
    except (OSError, ValueError):
        return None
