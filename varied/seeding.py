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

__all__ = ["derive_seed", "generator", "permutation", "seed_torch", "seeded"]


def derive_seed(seed: int, purpose: str, index: int = 0) -> int:
    """Return a 63-bit number that depends on all three arguments.

    Example:
        >>> derive_seed(0, "rows", 1) == derive_seed(0, "rows", 1) != derive_seed(0, "rows", 2)
        True
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, purpose: str, index: int = 0) -> torch.Generator:
    """Return a fresh CPU generator seeded by the three."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose, index))


def permutation(n: int, seed: int, purpose: str, index: int = 0) -> Tensor:
    """Return a random order of ``n`` rows, int64 with shape (n)."""
    return torch.randperm(n, generator=generator(seed, purpose, index))


def seed_torch(seed: int, purpose: str, index: int = 0) -> None:
    """Reseed torch's default generators, those of a compiled step among them.

    Seeding the default CPU generator itself costs a microsecond; ``torch.manual_seed`` costs 84,
    since it visits every kind of device.
    """
    number = derive_seed(seed, purpose, index)
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)


@contextmanager
def seeded(seed: int, purpose: str, index: int = 0) -> Iterator[None]:
    """Draw from torch's default generators as the three say, and put them back afterwards.

    Example:
        >>> with seeded(0, "look"): a = torch.rand(1)
        >>> with seeded(0, "look"): b = torch.rand(1)
        >>> bool(a == b)
        True
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        seed_torch(seed, purpose, index)
        yield
