"""A stand-in for ``os`` in `varied.atomic_io` that lets one operation fail.

Each operation that changes files, and each wait until data are stored, is counted. One of them
fails in one of the ways of `FAULTS`: the process dies before or within it, the power fails, or the
system reports an error.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from varied import atomic_io

#: The operations that can fail.
OPERATIONS = ("open", "write", "fsync", "replace", "rename", "unlink", "mkdir", "ftruncate")
ERRORS = {name: getattr(errno, name) for name in ("ENOSPC", "EIO", "EACCES", "EINTR")}
FAULTS = ("death before", "death within", "power failure", *ERRORS)


class Killed(BaseException):
    """Raised instead of the end of the process, by the operation and by all later ones."""


class FaultyDisk:
    """Counts the operations on files, and lets one of them fail.

    Arguments:
        index: The number of successful operations before the failure; None lets none fail.
        fault: One of `FAULTS`.
    """

    def __init__(self, index: int | None = None, fault: str = "death before") -> None:
        self.index, self.fault = index, fault
        self.count, self.is_dead = 0, False
        #: The file or folder whose operation failed.
        self.failed = Path()
        self.paths: dict[int, Path] = {}
        #: The number of bytes that are stored on disk, by the path of the file.
        self.stored: dict[Path, int] = {}
        #: Copies of replaced files whose folders have not been synced, by path.
        self.replaced: dict[Path, bytes | None] = {}

    def __getattr__(self, name: str) -> Any:
        if name not in OPERATIONS:
            return getattr(os, name)
        return lambda *args: self._call(name, *args)

    def _call(self, name: str, *args: Any) -> Any:
        if self.is_dead:
            raise Killed
        is_counted = name != "open" or bool(args[1] & (os.O_WRONLY | os.O_RDWR))
        if is_counted:
            self.count += 1
        if is_counted and self.count - 1 == self.index:
            self.failed = self.paths[args[0]] if isinstance(args[0], int) else Path(args[0])
            if self.fault in ERRORS:
                raise OSError(ERRORS[self.fault], os.strerror(ERRORS[self.fault]))
            self.is_dead = True
            if self.fault == "death within":
                self._start(name, *args)
            raise Killed
        return self._perform(name, *args)

    def _start(self, name: str, *args: Any) -> None:
        """Perform half of a write, or a complete other operation."""
        if name == "write":
            os.write(args[0], bytes(args[1])[: len(args[1]) // 2])
        else:
            self._perform(name, *args)

    def _perform(self, name: str, *args: Any) -> Any:
        if name == "replace":
            source, target = map(Path, args)
            previous = target.read_bytes() if target.is_file() else None
            self.replaced.setdefault(target, previous)
            self.stored[target] = self.stored.pop(source, 0)
        result = getattr(os, name)(*args)
        if name == "open":
            path = Path(args[0])
            self.paths[result] = path
            if path.is_file():
                self.stored.setdefault(path, 0 if args[1] & os.O_EXCL else path.stat().st_size)
        elif name == "fsync":
            self._sync(self.paths[args[0]])
        elif name == "unlink":
            self.stored.pop(Path(args[0]), None)
        return result

    def _sync(self, path: Path) -> None:
        if path.is_dir():
            for target in [target for target in self.replaced if target.parent == path]:
                del self.replaced[target]
        else:
            self.stored[path] = path.stat().st_size

    def close(self, descriptor: int) -> None:
        """Close a file, also after the death of the process."""
        del self.paths[descriptor]
        os.close(descriptor)

    def shut_down(self) -> None:
        """Close the files of a process that died, and lose what was not stored on disk."""
        for descriptor in self.paths:
            with suppress(OSError):
                os.close(descriptor)
        if self.is_dead and self.fault == "power failure":
            self._lose()

    def _lose(self) -> None:
        for path, content in self.replaced.items():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content)
        for path, size in self.stored.items():
            if path.is_file() and path not in self.replaced and path.stat().st_size > size:
                os.truncate(path, size)


@contextmanager
def faulty_disk(index: int | None = None, fault: str = "death before") -> Iterator[FaultyDisk]:
    """Let one operation of `varied.atomic_io` fail; end with the state of the disk after it."""
    disk = FaultyDisk(index, fault)
    with mock.patch.object(atomic_io, "os", disk):
        try:
            yield disk
        finally:
            disk.shut_down()


def remove_folder(folder: Path) -> None:
    """Remove a folder, if it exists."""
    shutil.rmtree(folder, ignore_errors=True)
