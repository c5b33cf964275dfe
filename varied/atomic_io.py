"""Atomic file writes: a reader sees either the old or the new file, never a partial one.

The content is written to a temporary file in the same folder, which is synced to disk and then
renamed over the old file; the folder is synced as well. After a crash or a power failure, either
the old or the new file remains. A failed write raises an error.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from varied.errors import VariedError, read_error


def atomic_write(path: Path, content: bytes | str | Callable[[BinaryIO], object]) -> Path:
    """Write a file atomically and durably.

    Arguments:
        path: The file to write; its folder is created if it does not exist.
        content: Bytes, text, or a function that writes to an open binary file.

    Raises:
        VariedError: If the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise VariedError(
            f"{path} could not be written ({error.strerror}); free some disk space, or choose "
            "another folder with --out. Existing files are unchanged."
        ) from error
    return path


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_is_file(path: Path) -> None:
    """Check that a path is not that of a folder, a pipe or a device, whose content may never end.

    Raises:
        VariedError: If it is.
    """
    if path.exists() and not path.is_file():
        raise VariedError(f"{path} is a folder, a pipe or a device; pass the path of a file.")


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        VariedError: If the path is not that of a file, or the file cannot be read.
    """
    try:
        check_is_file(path)
        return path.read_bytes()
    except OSError as error:
        raise read_error(path, error) from None


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        VariedError: If the path is not that of a file, or the file cannot be read or is not UTF-8.
    """
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise VariedError(
            f"{path} is not text in UTF-8 (byte {error.start:,} is not valid); save it in UTF-8."
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
        raise VariedError(f"{path} is missing; is this a run folder?")
    text = read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VariedError(f"{path} is not valid JSON ({error}); restore the file.") from None
    if not isinstance(value, dict):
        raise VariedError(f"{path} does not contain a JSON object; restore the file.")
    return value


def append_jsonl(path: Path, rows: list[dict[str, object]]) -> None:
    """Append rows to a JSON Lines file.

    Raises:
        VariedError: If the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(nan_to_none(row)) + "\n" for row in rows)
    except OSError as error:
        raise VariedError(
            f"{path} could not be written ({error.strerror}); free some disk space, or check the "
            "permissions of the file."
        ) from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a JSON Lines file up to the first line that is not valid JSON.

    Raises:
        VariedError: If the file cannot be read.
    """
    rows = []
    for line in read_text(path).splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):
            break
    return rows


def nan_to_none(value: object) -> object:
    """Replace NaN and infinities, which JSON does not support, with None in nested values."""
    if isinstance(value, Mapping):
        return {key: nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [nan_to_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
