"""All noise is a function of (seed, purpose, index): there is no state to save.

A step of training draws what ``(seed, "step", step)`` says, whatever was drawn before it, with any
number of workers, and after any interruption. Looking at a run never changes it: what evaluation
and pictures draw has purposes of its own and leaves torch's generator as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["generator", "key", "noise", "permutation", "reseed"]


def key(seed: int, purpose: str, index: int = 0) -> int:
    """Return a 63-bit number that depends on all three arguments.

    Example:
        >>> key(0, "rows", 1) == key(0, "rows", 1) != key(0, "rows", 2)
        True
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, purpose: str, index: int = 0) -> torch.Generator:
    """Return a fresh CPU generator seeded by the three."""
    return torch.Generator().manual_seed(key(seed, purpose, index))


def permutation(n: int, seed: int, purpose: str, index: int = 0) -> Tensor:
    """Return a random order of ``n`` rows, int64 with shape (n)."""
    return torch.randperm(n, generator=generator(seed, purpose, index))


def reseed(seed: int, purpose: str, index: int = 0) -> None:
    """Reseed torch's default generators, those of a compiled step among them.

    Seeding the default CPU generator itself costs a microsecond; ``torch.manual_seed`` costs 84,
    since it visits every kind of device.
    """
    number = key(seed, purpose, index)
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)


@contextmanager
def noise(seed: int, purpose: str, index: int = 0) -> Iterator[None]:
    """Draw from torch's default generators as the three say, and put them back afterwards.

    Example:
        >>> with noise(0, "look"): a = torch.rand(1)
        >>> with noise(0, "look"): b = torch.rand(1)
        >>> bool(a == b)
        True
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        reseed(seed, purpose, index)
        yield
