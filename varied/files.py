"""Every write that a run makes: whole or not at all.

A file is written beside its place, forced to the disk, renamed over the old one, and the folder is
forced too, so that a crash or a power cut leaves the old file or the new one. What cannot be
written raises; it is never reported as done.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from varied.errors import VariedError

__all__ = [
    "append_rows",
    "read_json",
    "read_tensors",
    "rows",
    "write",
    "write_json",
    "write_tensors",
]


def write(path: Path, content: bytes | str) -> Path:
    """Write a file atomically and durably.

    Raises:
        VariedError: If the folder cannot be written, with the reason.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
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
    return write(path, json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n")


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


def write_tensors(path: Path, tensors: Mapping[str, Tensor], **notes: object) -> Path:
    """Write tensors as safetensors, with plain notes in its header."""
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(_finite(notes))
    return write(
        path, safetensors.torch.save(flat, {"varied": text, "digest": _digest(flat, text)})
    )


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and notes.

    Raises:
        VariedError: If the file is missing, cut short or damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header["digest"] != _digest(tensors, header["varied"]):
            raise ValueError("its contents have changed")
        return tensors, json.loads(header["varied"])
    except FileNotFoundError:
        raise VariedError(f"{path} is missing; is this the folder of a run?") from None
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise VariedError(f"{path} is damaged ({error}); restore it or train again.") from None


def _digest(tensors: Mapping[str, Tensor], notes: str) -> str:
    digest = hashlib.blake2b(notes.encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].reshape(-1)
        digest.update(f"{name} {tensor.dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(memoryview(tensor.view(torch.uint8).numpy()))
    return digest.hexdigest()


def append_rows(path: Path, new: list[dict[str, object]]) -> None:
    """Add rows to a JSON-lines file."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(_finite(row)) + "\n" for row in new)
    except OSError as error:
        raise VariedError(f"{path} could not be written ({error.strerror}).") from error


def rows(path: Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file; a last line that was cut short is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
