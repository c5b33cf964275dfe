"""The networks of the works in plain PyTorch, the very same for every system that takes modules."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from torch import nn

from benchmarks.peers.works import Work

__all__ = ["decoder", "features", "trunk"]

HIDDEN = 400


def features(work: Work) -> int:
    """Return the number of features that `trunk` gives."""
    return prod(grid(work)) if work.channels else HIDDEN


def trunk(work: Work) -> nn.Sequential:
    """Return the encoder up to its last hidden layer: `(B, C, H, W)` to `(B, features)`."""
    if not work.channels:
        return nn.Sequential(nn.Flatten(), nn.Linear(prod(work.shape), HIDDEN), nn.ReLU())
    widths = (work.shape[0], *work.channels)
    halvings = [
        layer
        for i, o in pairwise(widths)
        for layer in (nn.Conv2d(i, o, 4, stride=2, padding=1), nn.ReLU())
    ]
    return nn.Sequential(*halvings, nn.Flatten())


def decoder(work: Work) -> nn.Sequential:
    """Return the decoder: `(B, latent)` to `(B, C, H, W)`, between 0 and 1."""
    hidden = nn.Sequential(nn.Linear(work.latent, features(work)), nn.ReLU())
    if not work.channels:
        out = [nn.Linear(HIDDEN, prod(work.shape)), nn.Sigmoid(), nn.Unflatten(1, work.shape)]
        return nn.Sequential(*hidden, *out)
    return nn.Sequential(*hidden, nn.Unflatten(1, grid(work)), *doublings(work), nn.Sigmoid())


def doublings(work: Work) -> list[nn.Module]:
    widths = (*reversed(work.channels), work.shape[0])
    layers: list[nn.Module] = []
    for i, o in pairwise(widths):
        layers += [nn.ConvTranspose2d(i, o, 4, stride=2, padding=1), nn.ReLU()]
    return layers[:-1]


def grid(work: Work) -> tuple[int, int, int]:
    _, height, width = work.shape
    halved = 2 ** len(work.channels)
    return work.channels[-1], height // halved, width // halved
