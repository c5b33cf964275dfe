"""Every write that a run makes: whole or not at all.

A file is written beside its place, forced to the disk, renamed over the old one, and the folder is
forced too, so that a crash or a power cut leaves the old file or the new one. What cannot be
written raises; it is never reported as done.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from varied.errors import VariedError

__all__ = ["append_jsonl", "atomic_write", "nan_to_none", "read_json", "read_jsonl", "write_json"]


def atomic_write(path: Path, content: bytes | str | Callable[[BinaryIO], object]) -> Path:
    """Write a file atomically and durably.

    Arguments:
        path: Where; its folder is made where it is missing.
        content: Bytes, text, or a function that writes to the open file.

    Raises:
        VariedError: If the folder cannot be written, with the reason.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                _fill(file, content)
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
            f"{path} could not be written ({error.strerror}); free some space or choose another "
            "folder with --out. What was saved before is untouched."
        ) from error
    return path


def _fill(file: BinaryIO, content: bytes | str | Callable[[BinaryIO], object]) -> None:
    if callable(content):
        content(file)
    else:
        file.write(content.encode() if isinstance(content, str) else content)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: object) -> Path:
    """Write plain values as indented JSON; a number that is not finite becomes null."""
    return atomic_write(path, json.dumps(nan_to_none(value), indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        VariedError: If the file is missing, damaged, or no object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VariedError(f"{path} is missing; is this the folder of a run?") from None
    except (OSError, ValueError) as error:
        raise VariedError(f"{path} cannot be read as JSON ({error}); restore it.") from None
    if not isinstance(value, dict):
        raise VariedError(f"{path} holds no JSON object; restore it.")
    return value


def append_jsonl(path: Path, new: list[dict[str, object]]) -> None:
    """Add rows to a JSON-lines file."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(nan_to_none(row)) + "\n" for row in new)
    except OSError as error:
        raise VariedError(f"{path} could not be written ({error.strerror}).") from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file; a last line that was cut short is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def nan_to_none(value: object) -> object:
    """Return plain values with None for each number that is not finite: JSON has none."""
    if isinstance(value, Mapping):
        return {key: nan_to_none(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [nan_to_none(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
