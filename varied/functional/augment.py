"""Data augmentation with a model or with classical methods, and the resulting gain in accuracy."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from varied.errors import VariedError
from varied.evaluate.estimate import Estimate
from varied.functional.generate import sample
from varied.models import M1, LatentModel
from varied.models.classifier import add_dropout
from varied.nets import NETS
from varied.nets.random_affine import RandomAffine
from varied.seeding import derive_seed, generator, seeded

#: The number of rows that are sampled or classified together.
CHUNK = 500
#: The maximum random shift, as a fraction of the image size, and the maximum rotation in degrees.
MAX_SHIFT, MAX_DEGREES = 0.08, 10.0
#: The number of nearest neighbors of the same class among which SMOTE chooses.
NEIGHBORS = 5
#: The settings of the convolutional image classifier and of its training.
NET = {"width": 16, "depth": 2, "dense_width": 64, "activation": "relu"}
DROPOUT = 0.3
STEPS, BATCH_SIZE, LEARNING_RATE = 400, 64, 2e-3

LabeledData = tuple[Tensor, Tensor]


def class_counts(
    counts: Sequence[int], per_class: int | None = None, *, balance: bool = False
) -> list[int]:
    """Return the number of examples to generate for each class.

    Arguments:
        counts: The number of real examples of each class. No examples are generated for a class
            without real examples, since the model has not learned it.
        per_class: The number of examples to generate for each class; if ``balance`` is set, the
            total number of real and generated examples of each class.
        balance: Whether to generate only as many examples as each class needs to reach
            ``per_class`` or, if it is None, the size of the largest class.

    Raises:
        VariedError: If nothing would be generated.

    Example:
        >>> class_counts([5, 2], 3), class_counts([5, 2], balance=True)
        ([3, 3], [0, 3])
        >>> class_counts([5, 2], 4, balance=True)
        [0, 2]
    """
    if per_class is None and not balance:
        raise VariedError(
            "The number of examples to generate is missing; use, for example, per_class=500 or "
            "balance=True."
        )
    target = max(counts) if per_class is None else per_class
    missing = [max(target - count * balance, 0) if count else 0 for count in counts]
    if sum(missing) < 1:
        raise VariedError(f"No class has fewer than {target} examples; use a larger per_class.")
    return missing


def sample_classes(
    model: LatentModel,
    labels: Tensor,
    n_classes: int,
    *,
    temperature: float = 1.0,
    sample_x: bool = False,
    seed: int = 0,
) -> Tensor:
    """Return samples from the given classes, with shape (N, *event).

    Arguments:
        model: A model that is conditioned on the class, or that infers it (M2, M1+M2).
        labels: The class of each sample, int64 with shape (N).
        n_classes: The number of classes.
        temperature: The sampling temperature; values below 1 result in more typical samples.
        sample_x: Whether to sample from p(x | z) instead of returning its mean.
        seed: The random seed.

    Raises:
        VariedError: If the model is M1, which has a classifier but no p(x | class).
    """
    if isinstance(model, M1):
        raise VariedError(
            "M1 can classify examples but cannot generate examples of a given class; train with "
            "model='m2' or model='conditional-vae'."
        )
    chunks = []
    for i, c in enumerate(torch.eye(n_classes)[labels].split(CHUNK)):
        draw = derive_seed(seed, "made", i)
        x = sample(model, len(c), c, temperature=temperature, sample_x=sample_x, seed=draw)
        chunks.append(x)
    return torch.cat(chunks)


def random_shift(x: Tensor, *, seed: int = 0) -> Tensor:
    """Return randomly shifted and rotated images, as a classical augmentation.

    Shifts are at most 8% of the image size, and rotations are at most 10 degrees. Pixels outside
    the image are filled with the nearest border pixels.

    Arguments:
        x: The images, uint8 with shape (N, C, H, W).
        seed: The random seed.
    """
    shifted = RandomAffine(MAX_SHIFT, MAX_DEGREES)(x.float(), generator(seed, "moved"))
    return shifted.round().clamp(0, 255).to(torch.uint8)


def smote(x: Tensor, labels: Tensor, index: Tensor, *, seed: int = 0) -> Tensor:
    r"""Return interpolations between rows and their neighbors of the same class (SMOTE).

    .. math:: x_i + u \, (x_j - x_i), \qquad u \sim U(0, 1)

    where j is one of the 5 nearest neighbors of i, chosen at random.

    References:
        SMOTE: Synthetic Minority Over-sampling Technique (Chawla et al., 2002),
        https://arxiv.org/abs/1106.1813

    Arguments:
        x: The numeric rows, with shape (N, D).
        labels: The class of each row, int64 with shape (N).
        index: The indices i, int64 with shape (M); a row without neighbors is returned unchanged.
        seed: The random seed.
    """
    from sklearn.neighbors import NearestNeighbors

    rng = generator(seed, "between")
    rank, u = torch.rand(len(index), generator=rng), torch.rand(len(index), generator=rng)
    rows = x[index].clone()
    for label in labels[index].unique():
        members, starts = torch.nonzero(labels == label)[:, 0], labels[index] == label
        n_neighbors = min(NEIGHBORS, len(members) - 1)
        if not n_neighbors:
            continue
        search = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(x[members].numpy())
        nearest = torch.from_numpy(search.kneighbors(rows[starts].numpy(), return_distance=False))
        selected = 1 + (rank[starts] * n_neighbors).long()  # the nearest row is the row itself
        neighbors = x[members[nearest.gather(1, selected[:, None])[:, 0]]]
        rows[starts] += u[starts, None] * (neighbors - rows[starts])
    return rows


@dataclass(frozen=True)
class Gain:
    """The accuracy of a classifier on test data, and its gain from additional training data.

    Arguments:
        classifier: The name of the classifier.
        training_data: The name of the training data.
        rows: The number of training rows.
        accuracy: The balanced test accuracy, averaged over seeds; its error is the standard
            deviation over seeds.
        gain: The increase in accuracy compared with real data alone and the same seeds, with its
            standard error.
    """

    classifier: str
    training_data: str
    rows: int
    accuracy: Estimate
    gain: Estimate


def gains(
    real: LabeledData,
    generated: Mapping[str, LabeledData],
    test: LabeledData,
    *,
    seeds: int = 3,
) -> list[Gain]:
    """Return the gain in test accuracy from generated data and from classical augmentation.

    Images are classified by a small convolutional network that is trained for the same number of
    steps for each set of training data; numeric rows are classified by logistic regression and a
    random forest. For classical augmentation, `random_shift` or `smote` adds as many examples of
    each class as the data of the first generator contain.

    Warning:
        The errors include the randomness of the classifiers and of the classical augmentation, but
        not the randomness of the real data or of the model; to include these, repeat the entire
        experiment with different data.

    Arguments:
        real: The training data of the model: uint8 images (N, C, H, W) or numeric rows (N, D), and
            their classes, int64 with shape (N).
        generated: Maps the name of each generator to its data and their classes.
        test: The held-out data and their classes.
        seeds: The number of times that each classifier is trained.
    """
    x, y = real
    labels = next(iter(generated.values()))[1]
    classifiers: dict[str, Callable[[Tensor, Tensor, Tensor, int], Tensor]] = (
        {"conv net": _fit_conv_net}
        if x.dtype == torch.uint8
        else {name: partial(_fit_sklearn, name) for name in ("logistic", "forest")}
    )
    accuracies: dict[tuple[str, str], list[float]] = defaultdict(list)
    sizes = {}
    for seed in range(seeds):
        index = _rows_with_labels(y, labels, seed)
        shifted = (
            random_shift(x[index], seed=seed) if x.ndim == 4 else smote(x, y, index, seed=seed)
        )
        additions = {"real": (x[:0], y[:0]), "real + plain": (shifted, y[index])}
        additions |= {f"real + {name}": data for name, data in generated.items()}
        for name, (more_x, more_y) in additions.items():
            rows, targets = torch.cat([x, more_x]), torch.cat([y, more_y])
            sizes[name] = len(rows)
            for classifier, fit in classifiers.items():
                predicted = fit(rows, targets, test[0], seed)
                accuracies[classifier, name].append(_balanced_accuracy(predicted, test[1]))
    results = []
    for classifier in classifiers:
        baseline = np.array(accuracies[classifier, "real"])
        for name, size in sizes.items():
            values = np.array(accuracies[classifier, name])
            accuracy = Estimate(float(values.mean()), _std(values), len(test[1]))
            error = _std(values - baseline) / math.sqrt(seeds)
            gain = Estimate(float((values - baseline).mean()), error, len(test[1]))
            results.append(Gain(classifier, name, size, accuracy, gain))
    return results


def _rows_with_labels(labels: Tensor, targets: Tensor, seed: int) -> Tensor:
    """For each target label, draw the index of a row with that label, with replacement."""
    rng, index = generator(seed, "alike"), torch.zeros(len(targets), dtype=torch.int64)
    for label in targets.unique():
        rows = torch.nonzero(labels == label)[:, 0]
        positions = torch.nonzero(targets == label)[:, 0]
        index[positions] = rows[torch.randint(len(rows), (len(positions),), generator=rng)]
    return index


def _fit_conv_net(x: Tensor, y: Tensor, test: Tensor, seed: int) -> Tensor:
    """Train a small convolutional network, and return its predictions on test images."""
    with seeded(seed, "gains"):
        net = NETS["conv"](tuple(x.shape[1:]), (int(y.max()) + 1,), **NET)
        net = add_dropout(net, DROPOUT).train()
        optimizer = torch.optim.Adam(net.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
        for _ in range(STEPS):
            rows = torch.randint(len(x), (BATCH_SIZE,))
            optimizer.zero_grad()
            cross_entropy(net(x[rows].float() / 255), y[rows]).backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        return torch.cat([net(images.float() / 255).argmax(1) for images in test.split(CHUNK)])


def _fit_sklearn(name: str, x: Tensor, y: Tensor, test: Tensor, seed: int) -> Tensor:
    from varied.evaluate.learners import CLASSIFIERS

    classifier = CLASSIFIERS[name](seed).fit(x.numpy(), y.numpy())
    return torch.from_numpy(classifier.predict(test.numpy()))


def _balanced_accuracy(predicted: Tensor, truth: Tensor) -> float:
    from sklearn.metrics import recall_score

    return float(recall_score(truth, predicted, labels=truth.unique(), average="macro"))


def _std(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan
