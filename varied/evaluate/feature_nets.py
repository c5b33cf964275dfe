"""Features of pictures: what a small net, trained on the spot, sees in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from varied.errors import VariedError
from varied.evaluate.estimate import Estimate
from varied.evaluate.feature_extractors import (
    Extractor,
    NetExtractor,
    StandardizedExtractor,
    extractor_from,
    fingerprint_of,
    standardized,
)
from varied.nets.conv import conv
from varied.seeding import generator, permutation, seeded

__all__ = [
    "WIDTH",
    "Extractor",
    "FeatureNet",
    "NetExtractor",
    "StandardizedExtractor",
    "extractor_from",
    "standardized",
    "train_classifier",
    "train_encoder",
]

Array = npt.NDArray[Any]

#: How many features a picture has.
WIDTH = 128
BATCH, RATE = 128, 2e-3
CHUNK = 500
HELD_OUT = 0.1
#: Fewer pictures than these teach a net nothing of pictures.
LEAST = 100
#: By how many quarters a picture may be turned.
TURNS = 4
#: A task: from rows and the epoch to pictures and their classes.
Task = Callable[[Tensor, int], tuple[Tensor, Tensor]]


class FeatureNet(nn.Module):
    """A classifier of pictures, whose last hidden layer gives their features.

    It is a module, so `state_dict` and `load_state_dict` keep it and bring it back.

    Arguments:
        shape: The shape of a picture, channels first.
        classes: How many classes there are.
        name: What it was trained on and how good it is: it goes beside each figure.

    Attributes:
        accuracy: The share of pictures, not trained on, that it classifies rightly; None before.
    """

    def __init__(self, shape: tuple[int, ...], classes: int, name: str = "untrained") -> None:
        super().__init__()
        self.shape, self.classes, self.name = tuple(shape), classes, name
        self.accuracy: Estimate | None = None
        self.body = nn.Sequential(conv(self.shape, (WIDTH,), dense_width=0), nn.ReLU())
        self.last = nn.Linear(WIDTH, classes)

    @property
    def fingerprint(self) -> str:
        """Twelve digits that follow from the weights: figures compare where they are the same."""
        return fingerprint_of("features", self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of the classes for pictures in [0, 1], with shape (N, classes)."""
        scores: Tensor = self.last(self.body(x))
        return scores

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Return what the last hidden layer sees.

        Arguments:
            x: Pictures as uint8, or as floats in [0, 1], with shape (N, C, H, W).

        Returns:
            float32 with shape (N, 128), from 0 up.

        Raises:
            VariedError: If the pictures have another shape than it knows.
        """
        return torch.cat([self.body(some) for some in self._loaded(x)])

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return the class of each picture, int64 with shape (N).

        Arguments:
            x: Pictures as uint8, or as floats in [0, 1], with shape (N, C, H, W).

        Raises:
            VariedError: If the pictures have another shape than it knows.
        """
        return torch.cat([self(some).argmax(1) for some in self._loaded(x)])

    def _loaded(self, x: Tensor) -> Iterator[Tensor]:
        if tuple(x.shape[1:]) != self.shape or not len(x):
            raise VariedError(
                f"These pictures have shape {tuple(x.shape)} and the classifier knows "
                f"(N, {', '.join(str(s) for s in self.shape)}): give pictures of that shape."
            )
        device = self.last.weight.device
        return (_unit(some.to(device)) for some in x.split(CHUNK))


def train_classifier(
    x: Tensor,
    labels: Array | Tensor | None,
    *,
    of: str = "these pictures",
    test: tuple[Tensor, Array | Tensor] | None = None,
    seed: int = 0,
    epochs: int = 3,
) -> FeatureNet:
    """Train a classifier whose features serve the Fréchet distance; a minute or so for MNIST.

    References:
        A Note on the Evaluation of Generative Models (Theis et al., 2016),
        https://arxiv.org/abs/1511.01844: why no one figure, this one least, says all.

    Arguments:
        x: Pictures as uint8, or as floats in [0, 1], with shape (N, C, H, W).
        labels: The class of each, -1 where it has none; those pictures are left out.
        of: What the pictures are, for the name of the features.
        test: Other pictures with their classes, for the accuracy; a tenth of the rows, drawn by
            the seed and then not trained on, if None.
        seed: Which weights it begins with, which rows it sees when, and which are held out.
        epochs: How many times it sees each row.

    Returns:
        The trained classifier; the same arguments give the same one on the same machine.

    Raises:
        VariedError: If there are no labels, or they are no classes, or fewer than two.
    """
    y = _classes(labels, len(x))
    pictures, y = _labeled(x, y)
    if test is None:
        rows = permutation(len(y), seed, "held out")
        held = rows[: max(1, round(HELD_OUT * len(y)))]
        rows = rows[len(held) :]
        (test_x, test_y), (pictures, y) = (pictures[held], y[held]), (pictures[rows], y[rows])
    else:
        test_x, test_y = _labeled(test[0], _classes(test[1], len(test[0])))
    with seeded(seed, "features"):
        net = FeatureNet(tuple(x.shape[1:]), int(max(y.max(), test_y.max())) + 1)
    _train(net, len(y), lambda rows, epoch: (pictures[rows], y[rows]), seed, epochs)
    net.accuracy = Estimate.of((net.predict(test_x) == test_y).double())
    net.name = f"classifier trained on {of}, {100 * net.accuracy.value:.1f} % test accuracy"
    return net


def train_encoder(
    x: Tensor,
    labels: Array | Tensor | None = None,
    *,
    of: str = "these pictures",
    test: tuple[Tensor, Array | Tensor] | None = None,
    seed: int = 0,
    epochs: int = 3,
) -> FeatureNet:
    """Train features of pictures: by their labels, or by turns of 90 degrees where there are none.

    With labels it is `classifier`. Without, the same net is trained as long to tell by how many
    quarters a picture was turned: each epoch sees each picture once, turned as the seed says.

    References:
        Unsupervised Representation Learning by Predicting Image Rotations (Gidaris et al., 2018),
        https://arxiv.org/abs/1803.07728: there each step sees all four turns of a picture.

    Warning:
        The accuracy in the name says what the features are worth: near 25 % the turns cannot be
        told, as of textures and discs, and the net saw next to nothing to learn from. Figures by
        turns and figures by labels do not compare; nor do those of two seeds.

    Arguments:
        x: Pictures as uint8, or as floats in [0, 1], with shape (N, C, H, W); square ones if there
            are no labels.
        labels: The class of each, -1 where it has none, or None.
        of: What the pictures are, for the name of the features.
        test: Other pictures with their classes, for the accuracy of a classifier.
        seed: Which weights it begins with, which rows it sees when, which turns, and which rows
            are held out.
        epochs: How many times it sees each row.

    Returns:
        The trained net, whose `classes` are the four turns if there were no labels.

    Raises:
        VariedError: If the labels are no classes, or there are none and the pictures are not
            square, or fewer than 100.
    """
    if labels is not None:
        return train_classifier(x, labels, of=of, test=test, seed=seed, epochs=epochs)
    _turnable(x)
    rows = permutation(len(x), seed, "held out")
    held, rows = rows.split([size := max(1, round(HELD_OUT * len(x))), len(x) - size])
    with seeded(seed, "features"):
        net = FeatureNet(tuple(x.shape[1:]), TURNS)

    def task(some: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        turns = torch.randint(TURNS, (len(x),), generator=generator(seed, "turns", epoch))
        return _turned(x[rows[some]], turns[some]), turns[some]

    _train(net, len(rows), task, seed, epochs)
    right = [net.predict(torch.rot90(x[held], k, (2, 3))) == k for k in range(TURNS)]
    net.accuracy = Estimate.of(torch.stack(right).double().mean(0))
    told = f"{100 * net.accuracy.value:.1f} % of turns told (25 % by chance)"
    net.name = f"net trained to tell turns of {of}, without labels, {told}"
    return net


def _turnable(x: Tensor) -> None:
    """Complain of pictures that cannot be turned, or are too few to learn from."""
    way_out = "give labels, or a net of your own: features_by(net, name)."
    if x.ndim != 4 or x.shape[2] != x.shape[3]:
        raise VariedError(
            f"Without labels features are learnt from turned pictures, which must be square, not "
            f"of shape {tuple(x.shape)}: {way_out}"
        )
    if len(x) < LEAST:
        raise VariedError(
            f"{len(x)} pictures without labels are too few to learn features from, which takes "
            f"{LEAST} at least: {way_out}"
        )


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    """Return square pictures, each turned by so many quarters."""
    found = x.clone()
    for k in range(1, TURNS):
        found[turns == k] = torch.rot90(x[turns == k], k, (2, 3))
    return found


def _train(net: FeatureNet, n: int, task: Task, seed: int, epochs: int) -> None:
    steps = epochs * math.ceil(n / BATCH)
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    # The schedule needs a few steps to rise and fall in, even where there are none.
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=max(steps, 4))
    for epoch in range(epochs):
        for rows in permutation(n, seed, "rows", epoch).split(BATCH):
            x, y = task(rows, epoch)
            loss = functional.cross_entropy(net(_unit(x)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()


def _unit(x: Tensor) -> Tensor:
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()


def _classes(labels: Array | Tensor | None, n: int) -> Tensor:
    if labels is None:
        raise VariedError(
            "The pictures have no labels, and the features are those of a classifier: give labels, "
            "or a classifier that was trained on other pictures of this shape."
        )
    y = torch.as_tensor(np.asarray(labels))
    if y.ndim != 1 or y.is_floating_point() or len(y) != n:
        raise VariedError(
            f"Labels of type {y.dtype} and shape {tuple(y.shape)} are no classes of {n:,} "
            "pictures: give one index for each (of sprites, name a factor: labels='shape')."
        )
    return y.long()


def _labeled(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    known = y >= 0
    if len(y[known].unique()) < 2:
        raise VariedError("A classifier needs pictures of at least two classes: give more of them.")
    return (x, y) if known.all() else (x[known], y[known])
