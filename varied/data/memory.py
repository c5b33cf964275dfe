"""Checks that data fit in memory before they are read."""

from __future__ import annotations

from pathlib import Path

from varied.errors import VariedError

_CGROUP = Path("/sys/fs/cgroup")


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
