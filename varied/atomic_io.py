"""All changes to files and folders: atomic writes, appends, removals and locks.

A reader sees either the old or the new file, never a partial one. The content is written to a
temporary file in the same folder, which is synced to disk and then renamed over the old file; the
folder is synced as well. After a crash or a power failure, either the old or the new file remains.
A failed operation raises an error.

Other modules do not change files or folders themselves, so that the tests can make every single
operation fail.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from varied.errors import VariedError, read_error

try:
    import fcntl
except ImportError:  # not available on Windows
    fcntl = None  # type: ignore[assignment]

#: The extension of unfinished files, whose names begin with a period.
TEMPORARY = ".tmp"
_NUMBERS = itertools.count()
_BUFFER_BYTES = 2**20
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class _DescriptorWriter(io.RawIOBase):
    """A file object that writes to a file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        return os.write(self.descriptor, content)


def atomic_write(
    path: Path, content: bytes | str | Callable[[BinaryIO], object], *, sync: bool = True
) -> Path:
    """Write a file atomically and, unless ``sync`` is False, durably.

    Arguments:
        path: The file to write; its folder is created if it does not exist.
        content: Bytes, text, or a function that writes to an open binary file.
        sync: Whether to wait until the file is stored on disk. Without it, a power failure may
            leave an empty file, but thousands of files are written much faster.

    Raises:
        VariedError: If the file cannot be written.
    """
    temporary = _temporary(path)
    try:
        _make_folder(path.parent, sync)
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # left by a process that had the same number
        descriptor = os.open(temporary, _NEW_FILE, 0o666)
        try:
            try:
                _write(descriptor, content)
                if sync:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        if sync:
            _sync_folder(path.parent)
    except OSError as error:
        _raise_write_error(path, error)
    return path


def _temporary(path: Path) -> Path:
    return path.with_name(f".{os.getpid()}-{next(_NUMBERS)}{TEMPORARY}")


def _write(descriptor: int, content: bytes | str | Callable[[BinaryIO], object]) -> None:
    with io.BufferedWriter(_DescriptorWriter(descriptor), _BUFFER_BYTES) as file:
        if callable(content):
            content(file)
        else:
            file.write(content.encode() if isinstance(content, str) else content)


def _raise_write_error(path: Path, error: OSError) -> NoReturn:
    raise VariedError(
        f"{path} could not be written ({error.strerror}); free some disk space, or choose another "
        "folder with --out. Existing files are unchanged."
    ) from error


def make_folder(path: Path) -> Path:
    """Create a folder and its parents, unless they exist.

    Raises:
        VariedError: If the folder cannot be created.
    """
    try:
        _make_folder(path, sync=True)
    except OSError as error:
        _raise_write_error(path, error)
    return path


def _make_folder(path: Path, sync: bool) -> None:
    if path.is_dir():
        return
    _make_folder(path.parent, sync)
    with suppress(FileExistsError):  # created by another process
        os.mkdir(path)
    if not path.is_dir():
        raise NotADirectoryError(20, "it exists, but is not a folder", str(path))
    if sync:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_folder(source: Path, target: Path) -> Path:
    """Copy a folder, which appears under its new name when the copy is complete.

    Raises:
        VariedError: If the folder exists, or cannot be written.
    """
    temporary = _temporary(target)
    try:
        make_folder(target.parent)
        shutil.copytree(source, temporary)
        os.rename(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if target.exists():
            raise VariedError(f"{target} already exists; choose a new name.") from None
        _raise_write_error(target, error)
    return target


def write_folder(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write a new folder with files, which appears under its name when all files are complete.

    Arguments:
        folder: The folder.
        files: The contents of the files by name.

    Raises:
        VariedError: If the folder exists, or cannot be written.
    """
    temporary = _temporary(folder)
    try:
        make_folder(temporary)
        for name, content in files.items():
            atomic_write(temporary / name, content)
        os.rename(temporary, folder)
        _sync_folder(folder.parent)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and folder.exists():
            raise VariedError(f"{folder} already exists; choose a new name.") from None
        if isinstance(error, OSError):
            _raise_write_error(folder, error)
        raise
    return folder


def remove(path: Path) -> None:
    """Remove a file, if it exists.

    Raises:
        VariedError: If the file cannot be removed.
    """
    try:
        with suppress(FileNotFoundError):
            os.unlink(path)
    except OSError as error:
        raise VariedError(
            f"{path} could not be removed ({error.strerror}); check the permissions of its folder."
        ) from error


def remove_folder(folder: Path) -> None:
    """Remove a folder with its content, if it exists.

    Raises:
        VariedError: If it cannot be removed.
    """
    try:
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
    except OSError as error:
        raise VariedError(
            f"{folder} could not be removed ({error.strerror}); check its permissions."
        ) from error


def remove_temporary_files(folder: Path) -> None:
    """Remove the unfinished files that killed processes left in a folder and its subfolders."""
    for path in folder.rglob(f".*{TEMPORARY}"):
        remove(path)


@contextmanager
def lock_file(path: Path, what: str) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is created on entry and removed on exit.

    The system releases the lock of a process that ends, even if the file remains. On systems
    without file locks (Windows, some network drives), the file is only created.

    Arguments:
        path: The file.
        what: What another process does while it holds the lock, for the error message.

    Raises:
        VariedError: If another process holds the lock, or the file cannot be created.
    """
    make_folder(path.parent)
    try:
        descriptor = _open_locked(path)
    except BlockingIOError:
        holder = path.read_text(encoding="utf-8", errors="replace").strip()
        raise VariedError(
            f"{what} ({holder}); wait until it ends, or choose another folder with --out."
        ) from None
    except OSError as error:
        _raise_write_error(path, error)
    try:
        with suppress(OSError):  # a full disk, which does not affect the lock
            os.ftruncate(descriptor, 0)
            started = time.strftime("%Y-%m-%d %H:%M:%S")
            _write(descriptor, f"process {os.getpid()} on {platform.node()}, since {started}")
        yield
    finally:
        with suppress(OSError):  # the file may remain, since it is no longer locked
            os.unlink(path)
        os.close(descriptor)


def _open_locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:  # the drive does not support locks
            return descriptor
        # Another process may have removed the file after it was opened here.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Return whether another process holds the lock on an existing file; see `lock_file`.

    If the lock is free, it is taken for a moment. On systems without file locks, the result is
    True.
    """
    if fcntl is None:
        return path.exists()
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def check_is_file(path: Path) -> None:
    """Check that a path is not a folder, nor a pipe or a device, which may never end.

    Raises:
        VariedError: If the path is a folder, a pipe or a device.
    """
    if path.exists() and not path.is_file():
        raise VariedError(f"{path} is a folder, a pipe or a device; pass the path of a file.")


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        VariedError: If the path is a folder, a pipe or a device, or the file cannot be read.
    """
    try:
        check_is_file(path)
        return path.read_bytes()
    except OSError as error:
        raise read_error(path, error) from None


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        VariedError: As in `read_bytes`, or if the file is not UTF-8.
    """
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise VariedError(
            f"{path} is not valid UTF-8 (first invalid byte: {error.start:,}); save it as UTF-8."
        ) from None


def write_json(path: Path, value: object) -> Path:
    """Write a JSON-serializable value as indented JSON, with null for NaN and infinities."""
    return atomic_write(path, json.dumps(nan_to_none(value), indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        VariedError: If the file is missing, cannot be read, is not valid JSON, or does not contain
            an object.
    """
    if not path.exists():
        raise VariedError(f"{path} is missing; restore it, or pass a different run folder.")
    text = read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VariedError(f"{path} is not valid JSON ({error}); restore the file.") from None
    if not isinstance(value, dict):
        raise VariedError(f"{path} does not contain a JSON object; restore the file.")
    return value


def append_jsonl(path: Path, row: Mapping[str, object]) -> None:
    """Append a row to a JSON Lines file; see also `sync_file`.

    Raises:
        VariedError: If the file cannot be written.
    """
    line = (json.dumps(nan_to_none(row)) + "\n").encode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            _write(descriptor, line)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise VariedError(
            f"{path} could not be written ({error.strerror}); free some disk space, or check the "
            "permissions of the file."
        ) from error


def sync_file(path: Path) -> None:
    """Wait until the contents of a file, if it exists, are stored on disk.

    Raises:
        VariedError: If the contents cannot be stored.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        pass
    except OSError as error:
        _raise_write_error(path, error)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a JSON Lines file up to the first line that is not a JSON object.

    Raises:
        VariedError: If the file cannot be read.
    """
    try:
        check_is_file(path)
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    except OSError as error:
        raise read_error(path, error) from None
    rows = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(row, dict):
            break
        rows.append(row)
    return rows


def nan_to_none(value: object) -> object:
    """Replace NaN and infinities, which JSON does not support, with None in nested values."""
    if isinstance(value, Mapping):
        return {key: nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [nan_to_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
