"""Probes, which measure how well simple models predict labels from codes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from varied.data.labels import parse_labels
from varied.errors import VariedError
from varied.evaluate._checks import as_array, as_table, as_tensor, check_same_length
from varied.evaluate._types import Array, Bools, Data, Floats, Ints
from varied.evaluate.estimate import Estimate
from varied.seeding import permutation

#: The default maximum number of training rows of a probe, and the number of neighbors.
MAX_ROWS, NEIGHBORS = 10_000, 10
#: Inverse regularization strengths of a logistic regression, from strong to weak.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
#: Regularization strengths of a ridge regression.
ALPHAS = tuple(10.0**power for power in range(-3, 6))
#: The maximum number of iterations of a logistic regression, which usually takes a few hundred.
MAX_ITERATIONS = 100_000
#: Standardized units are clipped at this number of standard deviations.
CLIP = 10.0
#: The number of folds for choosing the regularization strength; with `ONE_FOLD` or more rows, only
#: the first fold is used.
FOLDS, ONE_FOLD = 5, 2000


@dataclass(frozen=True)
class Probe:
    """The score of a probe, with reference values.

    Arguments:
        score: The accuracy or R2 on test rows; its standard error is computed over test rows.
        metric: "accuracy" for classes, "R2" for numbers.
        chance: The score of always predicting the most frequent class, or the mean, of the training
            rows.
        raw: The score of the same probe on the raw data, or None if no raw data were passed.
        kind: "linear" or "neighbors".
        n_train: The number of training rows.
        n_unlabeled: The number of rows without a label, which are not used.
        n_classes: The number of classes in the training rows; 0 for numbers.
    """

    score: Estimate
    metric: str
    chance: float
    raw: Estimate | None
    kind: str
    n_train: int
    n_unlabeled: int
    n_classes: int

    def __str__(self) -> str:
        notes = [f"chance level {self.chance:.3f}"]
        if self.raw is not None:
            notes.append(f"raw data {self.raw}")
        notes.append(f"{self.kind}, {self.n_train:,} training and {self.score.n:,} test rows")
        if self.n_unlabeled:
            notes.append(f"{self.n_unlabeled:,} rows without a label are not used")
        return f"{self.metric} {self.score} ({'; '.join(notes)})"


def probe(
    codes: Data,
    labels: Data | Sequence[Any],
    *,
    test: Data | None = None,
    kind: str = "linear",
    raw: Data | None = None,
    labels_per_class: int | None = None,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
) -> Probe:
    r"""Measure how well a simple model predicts labels from codes, on held-out rows.

    The score is the accuracy for classes and
    :math:`R^2 = 1 - \sum (y - \hat y)^2 / \sum (y - \bar y)^2` for numbers. "linear" is a logistic
    or ridge regression on standardized units (clipped at 10 standard deviations). "neighbors"
    predicts the majority class or the mean of the 10 nearest rows, by the distance between the
    unscaled codes. The regularization strength is chosen on rows held out from the training rows,
    never on test rows.

    References:
        Understanding intermediate layers using linear classifier probes (Alain & Bengio, 2016),
        https://arxiv.org/abs/1610.01644

    Warning:
        A score shows what this probe can extract, not what the codes contain. Compare it with
        ``raw``: on images of digits, the accuracy from the pixels alone is 0.9. Standard errors are
        computed over test rows. With few labels, the choice of labeled rows matters more, so use
        several seeds and `mean_over_seeds`.

    Arguments:
        codes: The codes, with shape (N, D), for instance posterior means.
        labels: The label of each row, with shape (N). Strings, booleans and integers are classes,
            and "" or -1 marks a missing label. Floats are numbers, and NaN marks a missing label;
            integers are also treated as numbers if they have more than 50 distinct values and more
            than half of them are distinct. Convert floats that represent classes to integers.
        test: The test rows, as a boolean mask with shape (N) or as indices; by default, a random
            fifth of the labeled rows. Use the test rows of the model if it has any.
        kind: The type of probe: "linear" or "neighbors".
        raw: The data that were encoded, N rows of any shape, on which the same probe is evaluated.
        labels_per_class: The number of labeled training rows for each class; all by default. With
            the same seed, smaller sets are subsets of larger sets, and the test rows are the same.
        max_rows: The maximum number of training rows, chosen at random.
        seed: The seed for sampling rows.

    Raises:
        VariedError: If the shapes do not match, a value is not finite, there are too few labels, or
            the kind is unknown.

    Example:
        >>> codes = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
        >>> result = probe(codes, codes[:, 0] * 3 - codes[:, 1] + 7)
        >>> result.metric, round(result.score.value, 3)
        ('R2', 1.0)
        >>> curve = {n: probe(codes, codes[:, 0] > 0, labels_per_class=n) for n in (10, 100)}
        >>> curve[10].score.value < curve[100].score.value
        True
    """
    if kind not in ("linear", "neighbors"):
        raise VariedError(f"kind='{kind}' must be 'linear' or 'neighbors'.")
    y, known = _known_labels(labels, len(codes))
    has_classes = y.dtype.kind == "i"
    order = permutation(len(y), seed, "probe").numpy()
    is_test = _test_rows(test, known, order)
    train, test_rows = order[(known & ~is_test)[order]], np.flatnonzero(is_test & known)
    if has_classes and len(np.unique(y[train])) > max(len(train) / 2, 2):
        raise VariedError(
            "There are fewer than two training rows per class on average; use more rows for each "
            "class, or convert labels that are numbers to floats."
        )
    if labels_per_class is not None:
        if not has_classes:
            raise VariedError(
                "labels_per_class requires classes, but the labels are numbers; omit it, or "
                "convert the labels to classes."
            )
        _check_minimum("labels_per_class", labels_per_class, 1)
        train = train[_rank_in_class(y[train]) < labels_per_class]
    _check_minimum("max_rows", max_rows, 2)
    train = train[:max_rows]
    _check_enough(y[train], y[test_rows], has_classes)
    classes, targets = np.unique(y[train], return_inverse=True) if has_classes else (None, y[train])

    def score(table: Data, name: str) -> Estimate:
        rows = as_tensor(table)[np.concatenate([train, test_rows])]
        x = as_table(rows, name, flatten=name == "raw data").numpy()
        model = _fit(kind, x[: len(train)], targets, has_classes)
        predicted = model.predict(x[len(train) :])
        if classes is None:
            return r2(predicted, y[test_rows])
        return Estimate.of(
            torch.from_numpy((classes[predicted] == y[test_rows]).astype(np.float64))
        )

    if raw is not None:
        check_same_length(codes, raw, ("codes", "rows of raw data"))
    return Probe(
        score=score(codes, "codes"),
        metric="accuracy" if has_classes else "R2",
        chance=_chance(y[train], y[test_rows], has_classes),
        raw=None if raw is None else score(raw, "raw data"),
        kind=kind,
        n_train=len(train),
        n_unlabeled=int((~known).sum()),
        n_classes=0 if classes is None else len(classes),
    )


# Rows


def _known_labels(labels: Any, n: int) -> tuple[Array, Bools]:
    """Return labels, int64 for classes and float64 for numbers, and whether each is known."""
    y, _ = parse_labels(labels, n)
    if y.ndim > 1:
        raise VariedError(
            f"The labels have shape {y.shape}; pass a single column, such as `labels[:, 0]`."
        )
    return (y, y >= 0) if y.dtype.kind == "i" else (y.astype(np.float64), ~np.isnan(y))


def _test_rows(test: Data | None, known: Bools, order: Ints) -> Bools:
    """Return whether each row is a test row; by default, a fifth of the labeled rows are."""
    is_test = np.zeros(len(known), bool)
    if test is None:
        labeled = order[known[order]]
        is_test[labeled[: len(labeled) // 5]] = True
        return is_test
    rows = as_array(test)
    if rows.dtype == bool and rows.shape == is_test.shape:
        return rows
    is_index = rows.dtype.kind in "iu" and rows.ndim == 1 and rows.size
    if not is_index or rows.min() < 0 or rows.max() >= len(is_test):
        raise VariedError(
            f"`test` has shape {rows.shape} and type {rows.dtype}; pass a boolean mask with shape "
            f"({len(is_test)},), or indices between 0 and {len(is_test) - 1}."
        )
    is_test[rows] = True
    return is_test


def _rank_in_class(y: Array) -> Ints:
    """Return, for each row, the number of earlier rows of the same class."""
    order = np.argsort(y, kind="stable")
    _, first, size = np.unique(y[order], return_index=True, return_counts=True)
    rank = np.empty(len(y), np.int64)
    rank[order] = np.arange(len(y)) - np.repeat(first, size)
    return rank


def _check_minimum(name: str, value: int, least: int) -> None:
    if value < least:
        raise VariedError(f"{name}={value} must be at least {least}.")


def _check_enough(train: Array, test: Array, has_classes: bool) -> None:
    if len(train) < 2 or len(test) < 2:
        raise VariedError(
            f"Only {len(train)} training and {len(test)} test rows have a label; at least 2 of "
            "each are required, and preferably hundreds."
        )
    for name, values in (("training", train), ("test", test)):
        if len(np.unique(values)) < 2 and not (has_classes and name == "test"):
            raise VariedError(
                f"All labels of the {name} rows are equal, so there is nothing to predict; use "
                "more rows, or labels that vary."
            )


# Models


def _fit(kind: str, x: Floats, y: Array, has_classes: bool) -> Any:
    from sklearn.linear_model import RidgeCV
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.pipeline import make_pipeline

    if kind == "neighbors":
        model = KNeighborsClassifier if has_classes else KNeighborsRegressor
        return model(min(NEIGHBORS, len(x))).fit(x, y)
    if has_classes:
        return _logistic_regression(x, y)
    # RidgeCV computes the leave-one-out errors for all strengths from one decomposition.
    return make_pipeline(_scaler(), RidgeCV(ALPHAS)).fit(x, y)


def _scaler() -> Any:
    """Return a transformer that standardizes columns and clips them.

    A pixel that is bright in one of ten thousand rows deviates from its mean by 100 standard
    deviations in that row, and would dominate the score of the raw data.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    clip = FunctionTransformer(np.clip, kw_args={"a_min": -CLIP, "a_max": CLIP})
    return make_pipeline(StandardScaler(), clip)


def _logistic_regression(x: Floats, y: Ints) -> Any:
    """Return a logistic regression, with the regularization chosen by the held-out log loss."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    def regression(tolerance: float) -> Any:
        # A warm start continues from the fit with the next stronger regularization.
        return LogisticRegression(tol=tolerance, max_iter=MAX_ITERATIONS, warm_start=True)

    scaler = _scaler().fit(x)
    x = scaler.transform(x)
    best, least = 1.0, math.inf
    folds = [(regression(1e-4), *rows) for rows in _folds(y)]
    for strength in STRENGTHS if folds else ():
        loss = 0.0
        for model, train, held_out in folds:
            model.set_params(C=strength).fit(x[train], y[train])
            loss += _log_loss(model.decision_function(x[held_out]), y[held_out])
        # The loss first decreases and then increases; fits with weak regularization are slowest.
        if loss > least:
            break
        best, least = strength, loss
    return make_pipeline(scaler, regression(1e-5).set_params(C=best).fit(x, y))


def _log_loss(logits: Floats, y: Ints) -> float:
    """Return the sum of -log p(class) over rows; with logits, it is always finite."""
    from scipy.special import log_softmax

    both = logits if logits.ndim == 2 else np.stack([0 * logits, logits], axis=1)
    return float(-log_softmax(both, axis=1)[np.arange(len(y)), y].sum())


def _folds(y: Ints) -> Iterator[tuple[Bools, Bools]]:
    """Yield whether each row is a training row, and whether it is held out.

    Each class occurs in the training rows of each fold. There are no folds if no class has at least
    two rows.
    """
    rank, has_others = _rank_in_class(y), np.bincount(y)[y] > 1
    for fold in range(FOLDS if len(y) < ONE_FOLD else 1):
        held_out = has_others & (rank % FOLDS == fold)
        if held_out.any():
            yield ~held_out, held_out


# Scores


def r2(predicted: Floats, y: Floats) -> Estimate:
    """Return R2, with a standard error computed from the influence of each row."""
    residual, total = (y - predicted) ** 2, (y - y.mean()) ** 2
    value = 1 - residual.sum() / total.sum()
    influence = ((1 - value) * total - residual) / total.mean()
    return Estimate(float(value), float(influence.std(ddof=1)) / math.sqrt(len(y)), len(y))


def _chance(train: Array, test: Array, has_classes: bool) -> float:
    if not has_classes:
        return r2(np.full(len(test), train.mean()), test).value
    classes, counts = np.unique(train, return_counts=True)
    return float(np.mean(test == classes[counts.argmax()]))
