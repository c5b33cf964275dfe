"""Whether data fit in memory: asked before they are read."""

from __future__ import annotations

from pathlib import Path

from varied.errors import VariedError

__all__ = ["check_memory", "free_memory"]

CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Return the bytes of memory that are free, or None where the system does not say."""
    known = [n for n in (_system(), _container()) if n is not None]
    return min(known, default=None)


def check_memory(wanted: int, what: str, way_out: str) -> None:
    """Refuse what would take more than half of the free memory.

    Raises:
        VariedError: If it would; the message ends with the way out.
    """
    free = free_memory()
    if free is not None and wanted > free / 2:
        raise VariedError(
            f"{what} would take {wanted / 2**30:,.1f} GiB and {free / 2**30:,.1f} GiB of memory "
            f"are free (half of it may be used): {way_out}."
        )


def _system() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(s.split()[1]) * 1024 for s in lines if s.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None


def _container() -> int | None:
    """Read a container's own limit, which the system's figure does not show."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = (CGROUP / "memory.current").read_text()
        return max(0, int(limit) - int(used)) if limit != "max" else None
    except (OSError, ValueError):
        return None
