"""The training tasks of the throughput benchmark: data, network sizes, batch size and loss."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

LEARNING_RATE = 1e-3
N_COLOR_IMAGES = 4_000


@dataclass(frozen=True)
class Task:
    """A VAE with a diagonal Gaussian posterior and a standard normal prior.

    Arguments:
        name: The letter of the task.
        description: A description for the table.
        shape: The shape of an image, channels first.
        channels: The output channels of each convolution; empty for an MLP with 400 hidden units.
        latent: The latent dimension.
        batch_size: The number of images per batch.
        loss: Bernoulli (`bce`) or Gaussian with scale 1 without its constant (`mse`), in nats.
    """

    name: str
    description: str
    shape: tuple[int, int, int]
    channels: tuple[int, ...]
    latent: int
    batch_size: int
    loss: Literal["bce", "mse"]


def train_images(task: Task, data: Path) -> Tensor:
    """Return the training images as uint8 with shape `(N, C, H, W)`."""
    if task.shape == (1, 28, 28):
        return digits(data, "x_train")
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (N_COLOR_IMAGES, *task.shape), dtype=torch.uint8, generator=generator)


def test_images(task: Task, data: Path) -> Tensor:
    """Return the test digits as uint8 with shape `(10000, 1, 28, 28)`."""
    if task.shape != (1, 28, 28):
        raise SystemExit(f"Task {task.name} uses random noise and has no test set: use A or B.")
    return digits(data, "x_test")


def digits(data: Path, part: str) -> Tensor:
    with np.load(data) as archive:
        return torch.from_numpy(archive[part]).unsqueeze(1)


TASKS = {
    "A": Task("A", "MLP 784-400-20, MNIST", (1, 28, 28), (), 20, 128, "bce"),
    "B": Task("B", "conv 28x28 (32, 64), MNIST", (1, 28, 28), (32, 64), 20, 128, "bce"),
    "C": Task(
        "C", "conv 3x64x64 (32..512), noise", (3, 64, 64), (32, 64, 128, 256, 512), 128, 64, "mse"
    ),
}
