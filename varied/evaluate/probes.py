"""What a simple reader learns from codes: classes or numbers, on rows it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax
from torch import Tensor

from varied.data.labels import parse_labels
from varied.errors import VariedError
from varied.evaluate.estimate import Estimate
from varied.seeding import permutation

__all__ = ["ROWS", "Probe", "probe"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Rows that a probe is trained on at most.
ROWS = 10_000
NEIGHBOURS = 10
#: Strengths of a logistic regression (`C` of scikit-learn), from a stiff one to a loose one.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
#: Strengths of a ridge regression (`alpha`).
RIDGES = tuple(10.0**power for power in range(-3, 6))
#: More iterations than it ever takes: some hundreds do.
ITERATIONS = 100_000
#: Spreads from the mean at which a standardized unit is cut off.
FAR = 10.0
FOLDS = 5
#: Rows from which one fold in place of all is held out to choose the strength.
PLENTY = 2000


@dataclass(frozen=True)
class Probe:
    """What a probe read from codes, with what it must be held against.

    Arguments:
        score: The share of test rows told rightly ("accuracy"), or of their variance ("R2"); the
            error is over test rows.
        measure: "accuracy" for classes, "R2" for numbers.
        chance: The score of a reader who sees no code: who says the class most common in
            training, or the mean.
        raw: The score of the same probe on the data themselves, where they were given.
        kind: "linear" or "neighbors".
        rows: How many rows it was trained on.
        left_out: How many rows had no label.
        classes: How many classes there were in training; 0 for numbers.
    """

    score: Estimate
    measure: str
    chance: float
    raw: Estimate | None
    kind: str
    rows: int
    left_out: int
    classes: int

    def __str__(self) -> str:
        beside = [f"chance {self.chance:.3f}"]
        beside += [] if self.raw is None else [f"the data themselves {_said(self.raw)}"]
        beside += [f"{self.kind}, {self.rows:,} training and {self.score.n:,} test rows"]
        beside += [f"{self.left_out:,} rows without a label left out"] if self.left_out else []
        return f"{self.measure} {_said(self.score)} ({'; '.join(beside)})"


def _said(score: Estimate) -> str:
    return f"{score.value:.3f} ± {score.error:.3f}"


def probe(
    codes: Tensor | Array,
    labels: Tensor | Array | Sequence[Any],
    *,
    test: Tensor | Array | None = None,
    kind: str = "linear",
    raw: Tensor | Array | None = None,
    labels_per_class: int | None = None,
    rows: int = ROWS,
    seed: int = 0,
) -> Probe:
    r"""Return how well labels are read off codes, on rows that the probe was not trained on.

    Classes are scored by the accuracy, numbers by
    :math:`R^2 = 1 - \sum (y - \hat y)^2 / \sum (y - \bar y)^2`. "linear" is a logistic or a ridge
    regression on standardized units (cut off at 10 spreads), "neighbors" the vote or the mean of
    the 10 nearest rows, by the distance of the codes as they are. The strength of a regression is
    the one that suits rows held out of the training rows best; the test rows choose nothing.

    References:
        Understanding intermediate layers using linear classifier probes (Alain & Bengio, 2016),
        https://arxiv.org/abs/1610.01644

    Warning:
        A score says what this probe can read, not what the codes hold. It means little without
        `raw`: on pictures of digits the pixels themselves give nine of ten. Errors are over test
        rows: with few labels the choice of them matters more, so take several seeds and
        `spread_over_seeds`.

    Arguments:
        codes: With shape (N, D), for instance the means of the posteriors.
        labels: One for each row, with shape (N). Words, booleans and integers are classes, "" or
            -1 where missing; floats are numbers, NaN where missing, and so are integers of which
            more than half differ. Floats that stand for classes must be made integers.
        test: The rows to test on, as bool with shape (N) or as their numbers; by default a fifth,
            chosen at random. The rows of the model's own test set are right where it has one.
        kind: "linear" or "neighbors".
        raw: The data that the codes stand for, N of them of any shape, for the same probe.
        labels_per_class: How many training rows of each class keep their label; all by default.
            Of the same seed, fewer are among the more, and the test rows stay.
        rows: How many rows are trained on at most, chosen at random; the same of `raw`.
        seed: Which rows.

    Raises:
        VariedError: If the shapes do not fit, a number is not finite, or too little is labeled.

    Example:
        >>> codes = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
        >>> found = probe(codes, codes[:, 0] * 3 - codes[:, 1] + 7)
        >>> found.measure, round(found.score.value, 3)
        ('R2', 1.0)
        >>> curve = {n: probe(codes, codes[:, 0] > 0, labels_per_class=n) for n in (10, 100)}
        >>> curve[10].score.value < curve[100].score.value
        True
    """
    if kind not in ("linear", "neighbors"):
        raise VariedError(f"kind='{kind}': choose from linear, neighbors.")
    y, known, classed = _labels(labels, len(codes))
    order = permutation(len(y), seed, "probe").numpy()
    tested = _tested(test, known, order)
    learn = order[(known & ~tested)[order]]
    if classed:
        _repeated(y[learn])
    learn = _few(learn, y, labels_per_class, classed)[: _at_least(rows, "rows", 2)]
    judge = np.flatnonzero(tested & known)
    _enough(y, learn, judge, classed)
    values, stands = np.unique(y[learn], return_inverse=True) if classed else (None, y[learn])
    x = _table(codes, learn, judge, "codes")
    score = _score(_fitted(kind, x[0], stands, classed), x[1], y[judge], values)
    beside = None
    if raw is not None:
        if len(raw) != len(y):
            raise VariedError(f"There are {len(y):,} codes and {len(raw):,} raw data: give both.")
        x = _table(raw, learn, judge, "raw data")
        beside = _score(_fitted(kind, x[0], stands, classed), x[1], y[judge], values)
    return Probe(
        score=score,
        measure="accuracy" if classed else "R2",
        chance=_chance(y[learn], y[judge], classed),
        raw=beside,
        kind=kind,
        rows=len(learn),
        left_out=int((~known).sum()),
        classes=0 if values is None else len(values),
    )


# Which rows


def _labels(given: Any, n: int) -> tuple[Array, Mask, bool]:
    """Return labels, which of them are known, and whether they are classes."""
    y, _ = parse_labels(given, n)
    if y.ndim > 1:
        raise VariedError(
            f"The labels have shape {y.shape}: probe one column at a time, `labels[:, 0]`."
        )
    return (y, y >= 0, True) if y.dtype.kind == "i" else (y.astype(np.float64), ~np.isnan(y), False)


def _tested(test: Tensor | Array | None, known: Mask, order: Whole) -> Mask:
    """Return which rows are tested on: as asked, or a fifth of those with a label."""
    found = np.zeros(len(known), bool)
    if test is None:
        labeled = order[known[order]]
        found[labeled[: len(labeled) // 5]] = True
        return found
    rows = np.asarray(test.detach().cpu() if isinstance(test, Tensor) else test)
    whole = rows.dtype.kind in "iu" and rows.ndim == 1 and rows.size
    if rows.dtype == bool and rows.shape == found.shape:
        return rows
    if not whole or rows.min() < 0 or rows.max() >= len(found):
        raise VariedError(
            f"test has shape {rows.shape} and type {rows.dtype}: give bool of shape "
            f"({len(found)},), or row numbers from 0 to {len(found) - 1}."
        )
    found[rows] = True
    return found


def _few(learn: Whole, y: Array, each: int | None, classed: bool) -> Whole:
    if each is None:
        return learn
    if not classed:
        raise VariedError("labels_per_class wants classes, and these labels are numbers: set rows.")
    return learn[_place(y[learn]) < _at_least(each, "labels_per_class", 1)]


def _place(y: Array) -> Whole:
    """Return how many rows of the same class stand before each row."""
    order = np.argsort(y, kind="stable")
    _, first, size = np.unique(y[order], return_index=True, return_counts=True)
    place = np.empty(len(y), np.int64)
    place[order] = np.arange(len(y)) - np.repeat(first, size)
    return place


def _at_least(number: int, name: str, least: int) -> int:
    if number < least:
        raise VariedError(f"{name}={number} is too few: give {least} or more.")
    return number


def _enough(y: Array, learn: Whole, judge: Whole, classed: bool) -> None:
    if len(learn) < 2 or len(judge) < 2:
        raise VariedError(
            f"{len(learn)} training and {len(judge)} test rows have a label: give 2 of each at "
            "least, and better hundreds."
        )
    if len(np.unique(y[learn])) < 2 or (not classed and np.ptp(y[judge]) == 0):
        raise VariedError("The labels are all the same, so nothing tells them: give others.")


def _repeated(y: Array) -> None:
    if len(np.unique(y)) > max(len(y) / 2, 2):
        raise VariedError(
            "The classes are nearly as many as the rows, so none can be learned: give more rows."
        )


def _table(given: Tensor | Array, learn: Whole, judge: Whole, what: str) -> tuple[Floats, Floats]:
    rows = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    if rows.ndim < 2 or (rows.ndim > 2 and what == "codes") or not rows.size:
        raise VariedError(f"The {what} have shape {rows.shape}: give a row for each datum.")
    flat = rows.reshape(len(rows), -1)
    found = flat[learn].astype(np.float64), flat[judge].astype(np.float64)
    if not all(np.isfinite(part).all() for part in found):
        raise VariedError(f"The {what} hold NaN or infinity: leave those rows out, or fill them.")
    return found


# The probes


def _fitted(kind: str, x: Floats, y: Array, classed: bool) -> Any:
    # 0.5 s to import, for those alone who probe.
    from sklearn.linear_model import RidgeCV
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.pipeline import make_pipeline

    if kind == "neighbors":
        near = KNeighborsClassifier if classed else KNeighborsRegressor
        return near(min(NEIGHBOURS, len(x))).fit(x, y)
    if classed:
        return _logistic(x, y)
    # Each training row in turn is told by the others; all of that takes one decomposition.
    return make_pipeline(_scaler(), RidgeCV(RIDGES)).fit(x, y)


def _scaler() -> Any:
    """Return a step to units of mean 0 and spread 1, cut off at `FAR` spreads.

    A pixel that is bright in one row of ten thousand lies 100 spreads out there, and would sway
    the figure of the data themselves more than all others do.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    cut = FunctionTransformer(np.clip, kw_args={"a_min": -FAR, "a_max": FAR})
    return make_pipeline(StandardScaler(), cut)


def _logistic(x: Floats, y: Whole) -> Any:
    """Return a regression of the strength that told rows held out of these best."""
    from sklearn.pipeline import make_pipeline

    scale = _scaler().fit(x)
    x = scale.transform(x)
    best, least = 1.0, np.inf
    folds = [(_regression(1e-4), learn, held) for learn, held in _folds(y)]
    for strength in STRENGTHS if folds else ():
        surprise = 0.0
        for model, learn, held in folds:
            model.set_params(C=strength).fit(x[learn], y[learn])
            surprise += _surprise(model.decision_function(x[held]), y[held])
        if surprise > least:  # it falls and then rises; looser ones take longest, and are worse
            break
        best, least = strength, surprise
    return make_pipeline(scale, _regression(1e-5).set_params(C=best).fit(x, y))


def _surprise(decision: Floats, y: Whole) -> float:
    """Return -log p(class), summed over rows: finite however sure the regression is."""
    both = decision if decision.ndim == 2 else np.stack([0 * decision, decision], axis=1)
    return float(-log_softmax(both, axis=1)[np.arange(len(y)), y].sum())


def _regression(tolerance: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    # A fit starts where the stiffer one ended.
    return LogisticRegression(tol=tolerance, max_iter=ITERATIONS, warm_start=True)


def _folds(y: Whole) -> Iterator[tuple[Mask, Mask]]:
    """Yield rows to learn from and rows held out; a class that has rows is always among the first.

    There is none where no class has two rows.
    """
    place, several = _place(y), np.bincount(y)[y] > 1
    for fold in range(FOLDS if len(y) < PLENTY else 1):
        held = several & (place % FOLDS == fold)
        if held.any():
            yield ~held, held


# The scores


def _score(model: Any, x: Floats, y: Array, values: Array | None) -> Estimate:
    told = model.predict(x)
    if values is not None:
        return Estimate.of(torch.from_numpy((values[told] == y).astype(np.float64)))
    return _determined(told, y)


def _determined(told: Floats, y: Floats) -> Estimate:
    """Return R2, with the error by which its rows sway it."""
    missed, apart = (y - told) ** 2, (y - y.mean()) ** 2
    value = 1 - missed.sum() / apart.sum()
    sway = ((1 - value) * apart - missed) / apart.mean()
    return Estimate(float(value), float(sway.std(ddof=1)) / len(y) ** 0.5, len(y))


def _chance(learn: Array, judge: Array, classed: bool) -> float:
    if not classed:
        return _determined(np.full(len(judge), learn.mean()), judge).value
    values, size = np.unique(learn, return_counts=True)
    return float(np.mean(judge == values[size.argmax()]))
