"""The networks of the tasks in plain PyTorch, identical for all systems that accept modules."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from torch import nn

from benchmarks.peers.tasks import Task

HIDDEN = 400


def num_features(task: Task) -> int:
    """Return the number of features of the output of `trunk`."""
    return prod(map_shape(task)) if task.channels else HIDDEN


def trunk(task: Task) -> nn.Sequential:
    """Return the encoder up to its last hidden layer, from `(B, C, H, W)` to `(B, features)`."""
    if not task.channels:
        return nn.Sequential(nn.Flatten(), nn.Linear(prod(task.shape), HIDDEN), nn.ReLU())
    channels = (task.shape[0], *task.channels)
    layers = [
        layer
        for i, o in pairwise(channels)
        for layer in (nn.Conv2d(i, o, 4, stride=2, padding=1), nn.ReLU())
    ]
    return nn.Sequential(*layers, nn.Flatten())


def decoder(task: Task) -> nn.Sequential:
    """Return the decoder, from `(B, latent)` to `(B, C, H, W)`, with outputs between 0 and 1."""
    hidden = nn.Sequential(nn.Linear(task.latent, num_features(task)), nn.ReLU())
    if not task.channels:
        out = [nn.Linear(HIDDEN, prod(task.shape)), nn.Sigmoid(), nn.Unflatten(1, task.shape)]
        return nn.Sequential(*hidden, *out)
    return nn.Sequential(*hidden, nn.Unflatten(1, map_shape(task)), *upsampling(task), nn.Sigmoid())


def upsampling(task: Task) -> list[nn.Module]:
    channels = (*reversed(task.channels), task.shape[0])
    layers: list[nn.Module] = []
    for i, o in pairwise(channels):
        layers += [nn.ConvTranspose2d(i, o, 4, stride=2, padding=1), nn.ReLU()]
    return layers[:-1]


def map_shape(task: Task) -> tuple[int, int, int]:
    """Return the shape of the smallest feature map."""
    _, height, width = task.shape
    factor = 2 ** len(task.channels)
    return task.channels[-1], height // factor, width // factor
