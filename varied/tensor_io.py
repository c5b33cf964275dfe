"""Tensors on disk: safetensors with plain notes, and a digest that finds damage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from varied.atomic_io import atomic_write, nan_to_none
from varied.errors import VariedError

__all__ = ["read_tensors", "write_tensors"]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], **notes: object) -> Path:
    """Write tensors as safetensors, with plain notes in its header."""
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(nan_to_none(notes))
    # One entry: the order of several is random, and equal weights would make unequal files.
    sealed = json.dumps({"notes": text, "digest": _digest(flat, text)})
    return atomic_write(path, safetensors.torch.save(flat, {"varied": sealed}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and notes.

    Raises:
        VariedError: If the file is missing, cut short or damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            sealed = json.loads((file.metadata() or {})["varied"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if sealed["digest"] != _digest(tensors, sealed["notes"]):
            raise ValueError("its contents have changed")
        return tensors, json.loads(sealed["notes"])
    except FileNotFoundError:
        raise VariedError(f"{path} is missing; is this the folder of a run?") from None
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise VariedError(f"{path} is damaged ({error}); restore it or train again.") from None


def _digest(tensors: Mapping[str, Tensor], notes: str) -> str:
    digest = hashlib.blake2b(notes.encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].reshape(-1)
        digest.update(f"{name} {tensor.dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensor.view(torch.uint8).numpy().data)
    return digest.hexdigest()
