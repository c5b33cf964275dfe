"""The three works that every system does: the same data, batch, sizes and loss."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

__all__ = ["LEARNING_RATE", "WORKS", "Work", "pictures", "test_pictures"]

LEARNING_RATE = 1e-3
COLOUR_PICTURES = 4_000


@dataclass(frozen=True)
class Work:
    """One training task: a VAE with a diagonal Gaussian posterior and a standard normal prior.

    Arguments:
        name: The letter that names it.
        says: What it is, in words for the table.
        shape: The shape of a picture, channels first.
        channels: The width of each convolution; empty for an MLP of one hidden layer of 400.
        latent: The number of latent dimensions.
        batch: The number of pictures in a batch.
        loss: Bernoulli (`bce`) or Gaussian of scale 1 without its constant (`mse`), in nats.
    """

    name: str
    says: str
    shape: tuple[int, int, int]
    channels: tuple[int, ...]
    latent: int
    batch: int
    loss: Literal["bce", "mse"]


def pictures(work: Work, data: Path) -> Tensor:
    """Return the training pictures as uint8 with shape `(N, C, H, W)`."""
    if work.shape == (1, 28, 28):
        return digits(data, "x_train")
    seeded = torch.Generator().manual_seed(0)
    return torch.randint(256, (COLOUR_PICTURES, *work.shape), dtype=torch.uint8, generator=seeded)


def test_pictures(work: Work, data: Path) -> Tensor:
    """Return the test digits as uint8 with shape `(10000, 1, 28, 28)`."""
    if work.shape != (1, 28, 28):
        raise SystemExit(f"Work {work.name} is made of noise and has no test set: use A or B.")
    return digits(data, "x_test")


def digits(data: Path, part: str) -> Tensor:
    with np.load(data) as archive:
        return torch.from_numpy(archive[part]).unsqueeze(1)


WORKS = {
    "A": Work("A", "MLP 784-400-20, MNIST", (1, 28, 28), (), 20, 128, "bce"),
    "B": Work("B", "conv 28x28 (32, 64), MNIST", (1, 28, 28), (32, 64), 20, 128, "bce"),
    "C": Work(
        "C", "conv 3x64x64 (32..512), noise", (3, 64, 64), (32, 64, 128, 256, 512), 128, 64, "mse"
    ),
}
