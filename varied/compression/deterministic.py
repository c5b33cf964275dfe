"""The same numbers when a file is written and when it is read."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.models import VAE
from varied.runtime import eval_float32

__all__ = ["SHARE", "checksum", "deterministic", "fingerprint", "quantize_params", "stream"]

#: The entropy coder keeps probabilities as multiples of 2 ** -24; what is told to it is rounded
#: before, more coarsely, so that the last bits of an arithmetic rarely matter.
SHARE = 2.0**20


def stream() -> Any:
    """Return the entropy coders of the library ``constriction``.

    Raises:
        VariedError: If it is not installed.
    """
    try:
        return import_module("constriction").stream
    except ImportError:
        raise VariedError(
            "Compression needs the entropy coder constriction: run "
            "`pip install 'varied[compress]'`, or `pip install constriction`."
        ) from None


@contextmanager
def deterministic(model: VAE) -> Iterator[VAE]:
    """Give a copy of a model that computes in float64, on one thread of the processor.

    A file can be read only by the very probabilities that it was written by.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        twin = copy.deepcopy(model).cpu().double()
        with eval_float32(twin):
            yield twin
    finally:
        torch.set_num_threads(threads)


def quantize_params(values: Tensor, fine: float) -> Tensor:
    """Return numbers as whole multiples of 1 / fine: float64, times ``fine``.

    Raises:
        VariedError: If one is not finite.
    """
    if not values.isfinite().all():
        raise VariedError(
            "The model gives what is no number for these data; train it again with a smaller lr."
        )
    return (values.double() * fine).round().contiguous()


def checksum(rows: Tensor) -> str:
    """Return 16 hexadecimal digits over whole numbers and their shape."""
    told = f"{tuple(rows.shape)}".encode() + rows.contiguous().numpy().tobytes()
    return hashlib.blake2b(told, digest_size=8).hexdigest()


def fingerprint(model: nn.Module) -> str:
    """Return 16 hexadecimal digits over the weights of a model, by their names."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
