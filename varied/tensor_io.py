"""Read and write tensors as safetensors files, with metadata and a checksum."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from varied.atomic_io import atomic_write, check_is_file, nan_to_none
from varied.errors import VariedError, read_error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], **notes: object) -> Path:
    """Write tensors to a safetensors file, with JSON-serializable metadata in its header."""
    return atomic_write(path, to_bytes(tensors, **notes))


def to_bytes(tensors: Mapping[str, Tensor], **notes: object) -> bytes:
    """Return the contents of the file that `write_tensors` writes; they are reproducible."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(nan_to_none(notes))
    # The header has a single entry, since safetensors writes several entries in random order.
    header = json.dumps({"notes": text, "digest": _digest(on_cpu, text)})
    return safetensors.torch.save(on_cpu, {"varied": header})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the metadata of a file written by `write_tensors`.

    Raises:
        VariedError: If the file is missing, cannot be read, or is truncated or corrupted.
    """
    check_is_file(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["varied"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header["digest"] != _digest(tensors, header["notes"]):
            raise ValueError("its checksum does not match")
        return tensors, json.loads(header["notes"])
    except FileNotFoundError:
        if path.exists():  # safetensors also raises this error if permission is denied
            denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            raise read_error(path, denied) from None
        raise VariedError(
            f"{path} is missing; restore it, or pass a different run folder."
        ) from None
    except OSError as error:
        raise read_error(path, error) from None
    except (KeyError, RecursionError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise VariedError(f"{path} is corrupted ({error}); restore it or train again.") from None


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return a digest of the names, dtypes, shapes and values of tensors."""
    return _digest({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def _digest(tensors: Mapping[str, Tensor], notes: str = "") -> str:
    digest = hashlib.blake2b(notes.encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].reshape(-1)
        digest.update(f"{name} {tensor.dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensor.view(torch.uint8).numpy().data)
    return digest.hexdigest()
