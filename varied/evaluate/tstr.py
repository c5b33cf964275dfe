"""Train on synthetic, test on real (TSTR): the usefulness of generated rows as training data.

Test rows are used only for testing: neither a scale nor a threshold is fitted to them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from varied.errors import VariedError, lookup
from varied.evaluate._checks import as_array, as_table, check_same_length
from varied.evaluate._resampling import resample_strata, sample_std
from varied.evaluate._types import Array, Data, Floats, Ints
from varied.evaluate.detection import binary_auroc
from varied.evaluate.estimate import Estimate
from varied.seeding import derive_seed, permutation

if TYPE_CHECKING:
    from varied.evaluate.learners import LearnerFactory

#: The minimum number of real, generated and test rows.
MIN_ROWS = 10
NAMES = ("real", "generated", "test")
#: The weights of the scores after training on real rows, generated rows and both, by result.
CONTRASTS = {
    "real": (1, 0, 0),
    "generated": (0, 1, 0),
    "both": (0, 0, 1),
    "gap": (-1, 1, 0),
    "gain": (-1, 0, 1),
}


@dataclass(frozen=True)
class TSTRScore:
    """A metric of one learner for different training rows, evaluated on the same test rows.

    Arguments:
        learner: The name of the learner.
        metric: "balanced accuracy", "macro F1", "AUROC" or "R2"; higher is better.
        chance: The chance level: 1 / K for K classes in the test rows, and 0 for numbers.
        real: The metric after training on the real rows.
        generated: The metric after training on the same number of generated rows.
        both: The metric after training on the real rows and the same number of generated rows.
        gap: ``generated - real``; negative if generated rows are less useful than real rows.
        gain: ``both - real``; positive if adding generated rows is useful.
    """

    learner: str
    metric: str
    chance: float
    real: Estimate
    generated: Estimate
    both: Estimate
    gap: Estimate
    gain: Estimate

    def __str__(self) -> str:
        return (
            f"{self.learner}, {self.metric} (chance level {self.chance:.2f}): real {self.real}, "
            f"generated {self.generated} ({self.gap}), both {self.both} ({self.gain})"
        )


@dataclass(frozen=True)
class TSTRResult:
    """The usefulness of generated rows, by learner and metric.

    Arguments:
        scores: One score for each learner and metric.
        n_train: The number of real rows, and of generated rows, on which learners were trained.
        n_test: The number of real test rows.
        repeats: The number of times that each learner was trained.
        warnings: Caveats about the reliability of the scores.
    """

    scores: tuple[TSTRScore, ...]
    n_train: int
    n_test: int
    repeats: int
    warnings: tuple[str, ...] = ()

    def score(self, learner: str, metric: str) -> TSTRScore:
        """Return the score of a learner for a metric."""
        scores = {f"{score.metric} of {score.learner}": score for score in self.scores}
        return lookup(scores, f"{metric} of {learner}", "score")

    def __str__(self) -> str:
        return "\n".join([*map(str, self.scores), *self.warnings])


def tstr(
    real_x: Data,
    real_y: Data,
    generated_x: Data,
    generated_y: Data,
    test_x: Data,
    test_y: Data,
    *,
    learners: Mapping[str, LearnerFactory] | None = None,
    repeats: int = 3,
    resamples: int = 200,
    seed: int = 0,
) -> TSTRResult:
    r"""Train learners on generated rows, real rows, and both, and test them on real rows.

    Each learner is trained ``repeats`` times, with different seeds, and with different generated
    rows if there are more generated than real rows. Standard errors are paired: all three variants
    are evaluated on the same bootstrap resamples of the test rows, drawn within classes, so the
    differences have smaller errors. The variance of the mean over the R repeats is added:

    .. math:: \sqrt{\mathrm{Var}_\text{test rows} + \mathrm{Var}_\text{repeats} / R}

    References:
        Real-valued (Medical) Time Series Generation with Recurrent Conditional GANs (Esteban et
        al., 2017), https://arxiv.org/abs/1706.02633

    Warning:
        The standard errors do not include the variation due to the real rows and the generator
        trained on them; to include it, repeat everything with different splits. The generator must
        not have been trained on the test rows. Generated rows that are copies of real rows have
        high scores, so test for copies too. A gain over real rows alone is not a gain over ordinary
        augmentation, such as small shifts of images.

    Arguments:
        real_x: The real rows on which the generator was trained, with shape (N, D) or (N, ...).
        real_y: The targets of the real rows, with shape (N); floats are numbers, and other types
            are classes.
        generated_x: The generated rows, N or more.
        generated_y: The targets of the generated rows.
        test_x: The real rows for testing, on which the generator was not trained.
        test_y: The targets of the test rows.
        learners: The learners by name, as functions that map a seed to a scikit-learn estimator;
            the defaults are a linear model, a random forest, and nearest neighbors.
        repeats: The number of times that each learner is trained.
        resamples: The number of bootstrap resamples of the test rows.
        seed: The seed for training learners, sampling rows and resampling.

    Raises:
        VariedError: If the shapes do not match, a value is not finite, there are too few rows, a
            class has no real rows, or ``repeats`` is below 1.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(size=(900, 2)), np.arange(900) % 2
        >>> x[:, 0] += 9 * y
        >>> result = tstr(x[:300], y[:300], x[300:600], y[300:600], x[600:], y[600:], repeats=1)
        >>> result.score("logistic", "balanced accuracy").generated.value
        1.0
    """
    from varied.evaluate.learners import CLASSIFIERS, REGRESSORS

    if repeats < 1:
        raise VariedError(f"repeats={repeats} must be at least 1; the default is 3.")
    rows = zip((real_x, generated_x, test_x), NAMES, strict=True)
    x = [as_table(table, f"{name} rows", flatten=True).numpy() for table, name in rows]
    targets = zip((real_y, generated_y, test_y), NAMES, strict=True)
    y, n_classes = _number_classes(x, [_targets(column, name) for column, name in targets])
    default = CLASSIFIERS if n_classes else REGRESSORS
    scores: list[TSTRScore] = []
    for name, build in (learners or default).items():
        predictions = [
            _predictions(x, y, n_classes, build, name, index, seed) for index in range(repeats)
        ]
        scores += _scores(name, predictions, y[2], n_classes, resamples, seed)
    return TSTRResult(tuple(scores), len(x[0]), len(x[2]), repeats, _warnings(x, y, n_classes))


@dataclass(frozen=True)
class _Prediction:
    """The predictions of a learner for the test rows, and the probability of class 1 if known."""

    labels: Array
    probability: Floats | None

    def metrics(self, truth: Array, rows: Ints, n_classes: int) -> dict[str, float]:
        """Return the metrics on the given test rows."""
        y, labels = truth[rows], self.labels[rows]
        if not n_classes:
            total = ((y - y.mean()) ** 2).sum()
            return {"R2": float(1 - ((y - labels) ** 2).sum() / total)}
        cells = np.bincount(y * n_classes + labels, minlength=n_classes**2)
        confusion = cells.reshape(n_classes, n_classes)
        correct, actual, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
        # As in scikit-learn, whose functions are much slower, absent classes are excluded.
        recall = (correct[actual > 0] / actual[actual > 0]).mean()
        both = actual + predicted
        f1 = (2 * correct[both > 0] / both[both > 0]).mean()
        metrics = {"balanced accuracy": float(recall), "macro F1": float(f1)}
        if self.probability is not None:
            metrics["AUROC"] = binary_auroc(self.probability[rows], y == 1)
        return metrics


def _predictions(
    x: list[Floats],
    y: list[Array],
    n_classes: int,
    build: LearnerFactory,
    name: str,
    index: int,
    seed: int,
) -> list[_Prediction]:
    """Train on real rows, on generated rows, and on both; return predictions for the test rows."""
    from sklearn.dummy import DummyClassifier

    from varied.evaluate.learners import positive_probability

    rows = permutation(len(x[1]), seed, "made rows", index)[: len(x[0])].numpy()
    real, generated = (x[0], y[0]), (x[1][rows], y[1][rows])
    both = np.concatenate([x[0], generated[0]]), np.concatenate([y[0], generated[1]])
    predictions = []
    for train_x, train_y in (real, generated, both):
        # Most classifiers raise an error if there is only one class.
        is_constant = n_classes and len(np.unique(train_y)) == 1
        learner: Any = (
            DummyClassifier() if is_constant else build(derive_seed(seed, name, index) % 2**32)
        )
        learner.fit(train_x, train_y)
        probability = positive_probability(learner, x[2]) if n_classes == 2 else None
        predictions.append(_Prediction(np.asarray(learner.predict(x[2])), probability))
    return predictions


def _scores(
    learner: str,
    predictions: Sequence[Sequence[_Prediction]],
    truth: Array,
    n_classes: int,
    resamples: int,
    seed: int,
) -> list[TSTRScore]:
    """Return the scores for the metrics that are available in all repeats."""
    strata = truth if n_classes else np.zeros(len(truth))
    draws = resample_strata(strata, resamples, seed, "downstream")
    metrics = [
        [[p.metrics(truth, rows, n_classes) for p in three] for three in predictions]
        for rows in (np.arange(len(truth)), *draws)
    ]
    chance = 1 / len(np.unique(truth)) if n_classes else 0.0
    scores = []
    for metric in metrics[0][0][0]:
        if all(metric in values for three in metrics[0] for values in three):
            values = np.array([[[v[metric] for v in three] for three in row] for row in metrics])
            estimates = {
                name: _estimate(values @ np.array(weights, np.float64), len(truth))
                for name, weights in CONTRASTS.items()
            }
            scores.append(TSTRScore(learner, metric, chance, **estimates))
    return scores


def _estimate(values: Floats, n: int) -> Estimate:
    """Return an estimate from values with shape (1 + resamples, repeats).

    The first row is computed on all test rows, and the others on bootstrap resamples.
    """
    repeats, resampled = values[0], values[1:].mean(1)
    of_repeats = sample_std(repeats) / math.sqrt(len(repeats)) if len(repeats) > 1 else 0.0
    return Estimate(float(repeats.mean()), math.hypot(sample_std(resampled), of_repeats), n)


def _number_classes(x: list[Floats], y: list[Array]) -> tuple[list[Array], int]:
    """Return validated targets, with classes numbered from 0, and the number of classes.

    The number of classes is 0 if the targets are numbers.
    """
    for rows, targets, name in zip(x, y, NAMES, strict=True):
        check_same_length(rows, targets, (f"{name} rows", "targets"))
        if rows.shape[1] != x[0].shape[1]:
            raise VariedError(
                f"The {name} rows have {rows.shape[1]:,} columns, but the real rows have "
                f"{x[0].shape[1]:,}; pass the same columns."
            )
        if (targets.dtype.kind == "f") != (y[0].dtype.kind == "f"):
            raise VariedError(
                f"Either both the real targets and the {name} targets must be floats, or neither."
            )
    if min(len(x[0]), len(x[2])) < MIN_ROWS or len(x[1]) < len(x[0]):
        sizes = ", ".join(f"{len(rows):,} {name}" for rows, name in zip(x, NAMES, strict=True))
        raise VariedError(
            f"At least {MIN_ROWS} real rows, {MIN_ROWS} test rows, and as many generated rows as "
            f"real rows are required, got {sizes} rows."
        )
    if min(len(np.unique(targets)) for targets in (y[0], y[2])) < 2:
        raise VariedError(
            "All real or all test rows have the same target; at least two distinct targets are "
            "required."
        )
    if y[0].dtype.kind == "f":
        return y, 0
    classes = np.unique(y[0])
    for targets, name in zip(y[1:], NAMES[1:], strict=True):
        unknown = np.setdiff1d(targets, classes)
        if len(unknown):
            raise VariedError(
                f"Class {unknown[0]} has {name} rows but no real rows; remove these rows."
            )
    return [np.searchsorted(classes, targets) for targets in y], len(classes)


def _warnings(x: list[Floats], y: list[Array], n_classes: int) -> tuple[str, ...]:
    warnings = []
    for rows, name in zip(x[:2], ("real training", "generated"), strict=True):
        known = {row.tobytes() for row in rows}
        if copies := sum(row.tobytes() in known for row in x[2]):
            warnings.append(f"{copies:,} test rows equal {name} rows; check for test set leakage.")
    if n_classes and (missing := n_classes - len(np.unique(y[1]))):
        warnings.append(f"{missing} of the {n_classes} classes have no generated rows.")
    if not n_classes and (n := len(np.unique(y[0]))) < MIN_ROWS:
        warnings.append(
            f"The targets have only {n} distinct values; pass integers if they are classes."
        )
    return tuple(warnings)


def _targets(values: Data, name: str) -> Array:
    targets = as_array(values)
    if targets.ndim != 1:
        raise VariedError(
            f"The {name} targets have shape {targets.shape}; pass one target for each row."
        )
    if targets.dtype.kind == "f" and not np.isfinite(targets).all():
        raise VariedError(f"The {name} targets contain NaN or infinity; remove these rows.")
    return targets.astype(np.float64) if targets.dtype.kind == "f" else targets
