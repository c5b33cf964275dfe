"""Networks trained on the given images to extract features."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from varied.errors import VariedError
from varied.evaluate._checks import as_array, to_unit_range
from varied.evaluate._types import Data
from varied.evaluate.estimate import Estimate
from varied.evaluate.feature_extractors import fingerprint_of
from varied.nets.conv import conv
from varied.seeding import generator, permutation, seeded

#: A task: maps row indices and the epoch to images and their classes.
Task = Callable[[Tensor, int], tuple[Tensor, Tensor]]

#: The number of features of a `FeatureNet`.
WIDTH = 128
BATCH_SIZE, LEARNING_RATE = 128, 2e-3
CHUNK = 500
HELD_OUT = 0.1
#: The minimum number of images for self-supervised training.
MIN_IMAGES = 100
ROTATIONS = 4


class FeatureNet(nn.Module):
    """An image classifier whose last hidden layer provides features.

    Arguments:
        shape: The shape of an image, channels first.
        classes: The number of classes.
        name: A description of the training data and the accuracy, reported with each metric.

    Attributes:
        accuracy: The accuracy on held-out images; None before training.
    """

    def __init__(self, shape: tuple[int, ...], classes: int, name: str = "untrained") -> None:
        super().__init__()
        self.shape, self.classes, self.name = tuple(shape), classes, name
        self.accuracy: Estimate | None = None
        body = conv(self.shape, (WIDTH,), width=32, dense_width=0, activation="relu")
        self.body = nn.Sequential(body, nn.ReLU())
        self.last = nn.Linear(WIDTH, classes)

    @property
    def fingerprint(self) -> str:
        """A hash of the layers and weights, as twelve hexadecimal digits."""
        return fingerprint_of("features", self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of images in [0, 1], with shape (N, classes)."""
        logits: Tensor = self.last(self.body(x))
        return logits

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Return the activations of the last hidden layer.

        Arguments:
            x: The images, uint8 or floating point in [0, 1], with shape (N, C, H, W).

        Returns:
            The non-negative features, float32 with shape (N, 128).

        Raises:
            VariedError: If the images do not have the shape of the training images.
        """
        return torch.cat([self.body(part) for part in self._chunks(x)])

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return the predicted class of each image, int64 with shape (N).

        Arguments:
            x: The images, uint8 or floating point in [0, 1], with shape (N, C, H, W).

        Raises:
            VariedError: If the images do not have the shape of the training images.
        """
        return torch.cat([self(part).argmax(1) for part in self._chunks(x)])

    def _chunks(self, x: Tensor) -> Iterator[Tensor]:
        if tuple(x.shape[1:]) != self.shape or not len(x):
            raise VariedError(
                f"The images have shape {tuple(x.shape)}, but must have the shape of the training "
                f"images, (N, {', '.join(str(size) for size in self.shape)})."
            )
        device = self.last.weight.device
        return (to_unit_range(part.to(device), torch.float32) for part in x.split(CHUNK))


def train_classifier(
    x: Tensor,
    labels: Data | None,
    *,
    data_name: str = "these images",
    test: tuple[Tensor, Data] | None = None,
    seed: int = 0,
    epochs: int = 3,
) -> FeatureNet:
    """Train a classifier that provides features; this takes about a minute on MNIST.

    References:
        A Note on the Evaluation of Generative Models (Theis et al., 2016),
        https://arxiv.org/abs/1511.01844, on why no single metric is sufficient.

    Arguments:
        x: The images, uint8 or floating point in [0, 1], with shape (N, C, H, W).
        labels: The class of each image; images with class -1 are not used.
        data_name: A description of the images, used in the name of the features.
        test: The test images with their classes, on which the accuracy is measured; if None, a
            random tenth of the images is held out.
        seed: The seed for the initial weights, the batches, and the held-out images.
        epochs: The number of epochs.

    Returns:
        The trained classifier, which is reproducible on the same machine.

    Raises:
        VariedError: If the labels are not classes, or there are fewer than two classes.
    """
    images, y = _select_labeled(x, labels)
    if test is None:
        held_out, rows = _split(len(y), seed)
        (test_x, test_y), (images, y) = (images[held_out], y[held_out]), (images[rows], y[rows])
    else:
        test_x, test_y = _select_labeled(*test)
    with seeded(seed, "features"):
        net = FeatureNet(tuple(x.shape[1:]), int(max(y.max(), test_y.max())) + 1)
    _train(net, len(y), lambda rows, epoch: (images[rows], y[rows]), seed, epochs)
    net.accuracy = Estimate.of((net.predict(test_x) == test_y).double())
    accuracy = f"{100 * net.accuracy.value:.1f}% test accuracy"
    net.name = f"classifier trained on {data_name}, {accuracy}"
    return net


def train_encoder(
    x: Tensor,
    labels: Data | None = None,
    *,
    data_name: str = "these images",
    test: tuple[Tensor, Data] | None = None,
    seed: int = 0,
    epochs: int = 3,
) -> FeatureNet:
    """Train a network that provides features, with labels or by predicting rotations.

    With labels, this is equivalent to `train_classifier`. Without labels, the same network learns
    to predict by which multiple of 90 degrees an image was rotated: each epoch contains each image
    once, with a random rotation.

    References:
        Unsupervised Representation Learning by Predicting Image Rotations (Gidaris et al., 2018),
        https://arxiv.org/abs/1803.07728, where each step contains all four rotations of an image.

    Warning:
        Check the accuracy in the name. If it is near 25%, the rotations cannot be predicted, as is
        the case for textures and disks, and the network has learned almost nothing. Metrics based
        on networks trained with and without labels, or with different seeds, are not comparable.

    Arguments:
        x: The images, uint8 or floating point in [0, 1], with shape (N, C, H, W). They must be
            square if there are no labels.
        labels: The class of each image, -1 if unknown, or None.
        data_name: A description of the images, used in the name of the features.
        test: The test images with their classes, on which the accuracy is measured; used only with
            ``labels``.
        seed: The seed for the initial weights, the batches, the rotations, and the held-out images.
        epochs: The number of epochs.

    Returns:
        The trained network; without labels, its classes are the four rotations.

    Raises:
        VariedError: If the labels are not classes, or there are fewer than two classes; without
            labels, if the images are not square, or there are fewer than 100.
    """
    if labels is not None:
        return train_classifier(x, labels, data_name=data_name, test=test, seed=seed, epochs=epochs)
    _check_rotatable(x)
    held_out, rows = _split(len(x), seed)
    with seeded(seed, "features"):
        net = FeatureNet(tuple(x.shape[1:]), ROTATIONS)

    def task(indices: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        noise = generator(seed, "turns", epoch)
        rotations = torch.randint(ROTATIONS, (len(x),), generator=noise)[indices]
        return _rotate(x[rows[indices]], rotations), rotations

    _train(net, len(rows), task, seed, epochs)
    images = x[held_out]
    correct = [net.predict(torch.rot90(images, k, (2, 3))) == k for k in range(ROTATIONS)]
    net.accuracy = Estimate.of(torch.stack(correct).double().mean(0))
    accuracy = f"{100 * net.accuracy.value:.1f}% test accuracy (chance level 25%)"
    net.name = f"network trained to predict rotations of {data_name}, {accuracy}"
    return net


def _split(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return held-out and training rows."""
    rows, size = permutation(n, seed, "held out"), max(1, round(HELD_OUT * n))
    return rows[:size], rows[size:]


def _check_rotatable(x: Tensor) -> None:
    remedy = "pass `labels`, or use your own network: extractor_from(net, name)."
    if x.ndim != 4 or x.shape[2] != x.shape[3]:
        raise VariedError(
            "Without labels, features are learned by predicting rotations of square images, but "
            f"these have shape {tuple(x.shape)}; {remedy}"
        )
    if len(x) < MIN_IMAGES:
        raise VariedError(
            f"{len(x)} images without labels are too few to learn features; use at least "
            f"{MIN_IMAGES}, {remedy}"
        )


def _rotate(x: Tensor, rotations: Tensor) -> Tensor:
    """Return square images, each rotated by a multiple of 90 degrees."""
    images = x.clone()
    for k in range(1, ROTATIONS):
        images[rotations == k] = torch.rot90(x[rotations == k], k, (2, 3))
    return images


def _train(net: FeatureNet, n: int, task: Task, seed: int, epochs: int) -> None:
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
    # OneCycleLR requires a few steps, even if there are no epochs.
    steps = max(epochs * math.ceil(n / BATCH_SIZE), 4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for epoch in range(epochs):
        for rows in permutation(n, seed, "rows", epoch).split(BATCH_SIZE):
            x, y = task(rows, epoch)
            loss = cross_entropy(net(to_unit_range(x, torch.float32)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _select_labeled(x: Tensor, labels: Data | None) -> tuple[Tensor, Tensor]:
    """Return the images that have a label, and their classes.

    Raises:
        VariedError: If the labels are not classes, or there are fewer than two classes.
    """
    if labels is None:
        raise VariedError("A classifier requires labels; pass `labels`.")
    y = torch.as_tensor(as_array(labels))
    if y.ndim != 1 or y.is_floating_point() or len(y) != len(x):
        raise VariedError(
            f"The labels have dtype {y.dtype} and shape {tuple(y.shape)}, but one integer class "
            f"index is required for each of the {len(x):,} images (for sprites, choose a factor, "
            "such as labels='shape')."
        )
    known = y >= 0
    if len(y[known].unique()) < 2:
        raise VariedError(
            "A classifier requires images of at least two classes; add images of other classes."
        )
    return (x, y.long()) if known.all() else (x[known], y[known].long())
