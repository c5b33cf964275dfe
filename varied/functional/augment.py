"""More labeled data: made by a model of classes, or by plain means, and what they are worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from varied.errors import VariedError
from varied.evaluate.estimate import Estimate
from varied.functional.sample import sample
from varied.models import LatentModel
from varied.models.m1m2 import LatentClassifier
from varied.models.m2 import add_dropout
from varied.nets import NETS
from varied.nets.random_affine import RandomAffine
from varied.seeding import derive_seed, generator, seeded

__all__ = ["Gain", "class_counts", "gains", "random_shift", "sample_classes", "smote"]

#: Rows that pass through a model at once.
ROWS = 500
#: How far plain augmentation moves a picture: parts of its side, and degrees.
SHIFT, TURN = 0.08, 10.0
#: Neighbors of its class towards which a row is moved.
CLOSEST = 5
#: The net that learns to classify pictures, and how it does.
NET, DROPOUT = {"width": 16, "depth": 2, "dense_width": 64}, 0.3
STEPS, BATCH, RATE = 400, 64, 2e-3


def class_counts(
    counts: Sequence[int], per_class: int | None = None, *, balance: bool = False
) -> list[int]:
    """Return how many of each class to make.

    Arguments:
        counts: How many real ones there are; of a class that has none, none is made.
        per_class: How many to make of each; where ``balance`` is set, how many of each there are to
            be in the end.
        balance: Whether classes are filled up, to ``per_class`` or to the largest of them.

    Raises:
        VariedError: If nothing would be made.

    Example:
        >>> class_counts([5, 2], 3), class_counts([5, 2], balance=True), class_counts([5, 2], 4, balance=True)
        ([3, 3], [0, 3], [0, 2])
    """
    if per_class is None and not balance:
        raise VariedError("Say how many to make: per_class=500 of each, or balance=True.")
    goal = max(counts) if per_class is None else per_class
    # Of a class that was never seen a model can only make something else.
    found = [max(goal - count * balance, 0) if count else 0 for count in counts]
    if sum(found) < 1:
        raise VariedError(
            "There is nothing to make: all classes are as large as that; give per_class."
        )
    return found


def sample_classes(
    model: LatentModel,
    labels: Tensor,
    classes: int,
    *,
    temperature: float = 1.0,
    sample_x: bool = False,
    seed: int = 0,
) -> Tensor:
    """Return new data of given classes, with shape (N, *event).

    Arguments:
        model: A model whose context is the class, or that has classes of its own (M2, M1+M2).
        labels: The class of each datum to make, int64 with shape (N).
        classes: How many classes there are.
        temperature: Below 1 is more typical.
        sample_x: Whether to draw from p(x given z) rather than take its mean.
        seed: Which draws.

    Raises:
        VariedError: If the model has a classifier upon its codes and no model of the classes.
    """
    if isinstance(getattr(model, "above", None), LatentClassifier):
        raise VariedError(
            "M1 tells classes apart and makes none; train with model='m2' or 'conditional-vae'."
        )
    c = torch.eye(classes)[labels]
    parts = [
        sample(
            model,
            len(some),
            some,
            temperature=temperature,
            sample_x=sample_x,
            seed=derive_seed(seed, "made", i),
        )
        for i, some in enumerate(c.split(ROWS))
    ]
    return torch.cat(parts)


def random_shift(x: Tensor, *, seed: int = 0) -> Tensor:
    """Return pictures, each shifted and turned a little: plain augmentation.

    They are shifted by up to 8 % of their sides and turned by up to 10 degrees, and what comes in
    from outside is what stands at the edge.

    Arguments:
        x: Pictures as uint8, with shape (N, C, H, W).
        seed: Which moves.
    """
    found = RandomAffine(SHIFT, TURN)(x.float(), generator(seed, "moved"))
    return found.round().clamp(0, 255).to(torch.uint8)


def smote(x: Tensor, labels: Tensor, which: Tensor, *, seed: int = 0) -> Tensor:
    r"""Return rows between others and neighbors of their class: plain augmentation.

    .. math:: x_i + u \, (x_j - x_i), \qquad u \sim U(0, 1), \quad j \text{ one of the 5 nearest}

    References:
        SMOTE: Synthetic Minority Over-sampling Technique (Chawla et al., 2002),
        https://arxiv.org/abs/1106.1813

    Arguments:
        x: Rows of numbers, with shape (N, D).
        labels: Their classes, int64 with shape (N).
        which: The rows to begin from, int64 with shape (M).
        seed: Which neighbors, and how far.
    """
    from sklearn.neighbors import NearestNeighbors

    dice = generator(seed, "between")
    place, share = torch.rand(len(which), generator=dice), torch.rand(len(which), generator=dice)
    made = x[which].clone()
    for one in labels[which].unique():
        rows, some = torch.nonzero(labels == one)[:, 0], labels[which] == one
        near = min(CLOSEST, len(rows) - 1)
        if not near:
            continue  # a row that is alone has no neighbor, and is repeated
        search = NearestNeighbors(n_neighbors=near + 1).fit(x[rows].numpy())
        found = search.kneighbors(x[which[some]].numpy(), return_distance=False)
        chosen = 1 + (place[some] * near).long()
        other = x[rows[torch.from_numpy(found).gather(1, chosen[:, None])[:, 0]]]
        made[some] += share[some, None] * (other - made[some])
    return made


@dataclass(frozen=True)
class Gain:
    """How well a learner does on real data that neither it nor the model has seen.

    Arguments:
        learner: Its name.
        taught: What it learned from.
        rows: How many.
        accuracy: The balanced accuracy on the test rows, and its spread over the seeds.
        gain: That less what real rows alone taught with the same seed, and its standard error.
    """

    learner: str
    taught: str
    rows: int
    accuracy: Estimate
    gain: Estimate


def gains(
    real: tuple[Tensor, Tensor],
    made: Mapping[str, tuple[Tensor, Tensor]],
    test: tuple[Tensor, Tensor],
    *,
    seeds: int = 3,
) -> list[Gain]:
    """Return what made rows add to real ones, beside what plain augmentation adds.

    Of pictures a small convolutional net learns, with as many steps whatever it learns from; of
    rows of numbers a logistic regression and a forest. Plain rows are as many of each class as made
    ones: pictures are shifted and turned, rows stand between neighbors of their class.

    Warning:
        The errors hold the luck of the learners and of the plain moves, and not that of the real
        rows or of the model; for these repeat the whole with other rows.

    Arguments:
        real: Rows that the model was trained on, uint8 pictures (N, C, H, W) or numbers (N, D), and
            their classes, int64 with shape (N).
        made: Rows that it, or several, made, and their classes, by a name for each.
        test: Rows that nothing has seen, and their classes.
        seeds: How often each learner is trained.
    """
    (x, y), classes = real, next(iter(made.values()))[1]
    learners = {"conv net": _pictures} if x.dtype == torch.uint8 else _learners()
    scores: dict[tuple[str, str], list[float]] = {}
    sizes = {"real": len(x)}
    for seed in range(seeds):
        which = _alike(y, classes, seed)
        plain = random_shift(x[which], seed=seed) if x.ndim == 4 else smote(x, y, which, seed=seed)
        taught = {
            "real": (x, y),
            "real + plain": (torch.cat([x, plain]), torch.cat([y, y[which]])),
        }
        for name, (rows, targets) in made.items():
            taught[f"real + {name}"] = torch.cat([x, rows]), torch.cat([y, targets])
        sizes = {name: len(rows) for name, (rows, _) in taught.items()}
        for learner, learn in learners.items():
            for name, (rows, targets) in taught.items():
                said = learn(rows, targets, test[0], seed)
                scores.setdefault((learner, name), []).append(_balanced(said, test[1]))
    found = []
    for (learner, name), each in scores.items():
        values, base = np.array(each), np.array(scores[learner, "real"])
        told = Estimate(float(values.mean()), _error(values) * math.sqrt(seeds), len(test[1]))
        gain = Estimate(float((values - base).mean()), _error(values - base), len(test[1]))
        found.append(Gain(learner, name, sizes[name], told, gain))
    return found


def _alike(labels: Tensor, made: Tensor, seed: int) -> Tensor:
    """Return real rows, drawn with repeats, that have the classes of the made ones in turn."""
    dice, which = generator(seed, "alike"), torch.zeros(len(made), dtype=torch.int64)
    for one in made.unique():
        rows, places = (torch.nonzero(some == one)[:, 0] for some in (labels, made))
        which[places] = rows[torch.randint(len(rows), (len(places),), generator=dice)]
    return which


def _pictures(x: Tensor, y: Tensor, test: Tensor, seed: int) -> Tensor:
    """Return what a small convolutional net says of test pictures."""
    with seeded(seed, "gains"):
        net = NETS["conv"](tuple(x.shape[1:]), (int(y.max()) + 1,), **NET)
        net = add_dropout(net, DROPOUT).train()
        optimizer = torch.optim.Adam(net.parameters(), RATE)
        rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
        for _ in range(STEPS):
            rows = torch.randint(len(x), (BATCH,))
            optimizer.zero_grad()
            cross_entropy(net(x[rows].float() / 255), y[rows]).backward()
            optimizer.step()
            rates.step()
    net.eval()
    with torch.no_grad():
        return torch.cat([net(some.float() / 255).argmax(1) for some in test.split(ROWS)])


def _learners() -> Mapping[str, Callable[[Tensor, Tensor, Tensor, int], Tensor]]:
    from varied.evaluate.learners import CLASSIFIERS

    def learner(name: str) -> Callable[[Tensor, Tensor, Tensor, int], Tensor]:
        def learn(x: Tensor, y: Tensor, test: Tensor, seed: int) -> Tensor:
            one = CLASSIFIERS[name](seed).fit(x.numpy(), y.numpy())
            return torch.from_numpy(one.predict(test.numpy()))

        return learn

    return {name: learner(name) for name in ("logistic", "forest")}


def _balanced(said: Tensor, truth: Tensor) -> float:
    """Return the mean over classes of the share that was told rightly."""
    shares = [(said[truth == one] == one).double().mean() for one in truth.unique()]
    return float(torch.stack(shares).mean())


def _error(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
