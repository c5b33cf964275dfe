"""Classifier two-sample tests."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from varied.errors import VariedError, check_at_least
from varied.evaluate._checks import as_table_pair
from varied.evaluate._resampling import resample_strata, sample_std
from varied.evaluate._types import Data
from varied.evaluate.detection import binary_auroc
from varied.evaluate.estimate import Estimate
from varied.seeding import derive_seed, permutation

if TYPE_CHECKING:
    from varied.evaluate.learners import LearnerFactory

#: The maximum number of rows that `c2st` uses from each sample.
MAX_ROWS = 5000
#: The maximum number of units for which `c2st` uses products of units as features.
MAX_QUADRATIC = 64
#: The number of folds of `c2st`.
FOLDS = 5
#: The minimum number of rows from each sample in a fold of `c2st_auroc`.
MIN_FOLD = 10


def c2st(a: Data, b: Data, *, kind: str = "quadratic", seed: int = 0) -> Estimate:
    """Return the cross-validated accuracy of a classifier that distinguishes two samples.

    The accuracy is 0.5 if the classifier cannot distinguish the samples, and 1 if the samples do
    not overlap. To compare the aggregate posterior with the prior, pass the same number of samples
    from each. At most 5,000 rows of each sample are used, the same number from both, in five folds.

    References:
        Revisiting Classifier Two-Sample Tests (Lopez-Paz & Oquab, 2017),
        https://arxiv.org/abs/1610.06545

    Warning:
        An accuracy of 0.5 means that this classifier finds no difference. "linear" detects only
        different means, "quadratic" also detects different scales and correlations, and
        "neighbors" detects any difference, if there are few dimensions. With "neighbors", the
        accuracy can be 0.5 or less even for very different samples, if the neighbors of all rows
        belong to the more concentrated sample.

    Arguments:
        a: The first sample, with shape (N, D).
        b: The second sample, with shape (M, D).
        kind: The classifier: "quadratic" or "linear" for logistic regression, or "neighbors" for k
            nearest neighbors, where k is about the square root of the number of training rows.
        seed: The seed for sampling rows and assigning folds.

    Returns:
        The accuracy, with a standard error over rows.

    Raises:
        VariedError: If the numbers of columns differ, there are too few rows, or the kind is
            unknown.

    Example:
        >>> codes = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> c2st(codes, codes + 100).value
        1.0
    """
    samples = as_table_pair(a, b, ("rows of the first sample", "rows of the second sample"))
    n = min(*map(len, samples), MAX_ROWS)
    if n < 2 * FOLDS:
        raise VariedError(f"{n} rows per sample are too few; at least {2 * FOLDS} are required.")
    x = torch.cat(
        [rows[permutation(len(rows), seed, "shown", i)[:n]] for i, rows in enumerate(samples)]
    ).numpy()
    sample, fold = np.repeat([0, 1], n), np.tile(np.arange(n) % FOLDS, 2)
    correct = np.empty(2 * n)
    for k in range(FOLDS):
        train, test = fold != k, fold == k
        classifier = _classifier(kind, int(train.sum()), x.shape[1])
        classifier.fit(x[train], sample[train])
        correct[test] = classifier.predict(x[test]) == sample[test]
    return Estimate.of(torch.from_numpy(correct))


def _classifier(kind: str, rows: int, units: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    regression = LogisticRegression(C=0.1, max_iter=10_000)  # a few dozen iterations suffice
    if kind == "linear":
        return make_pipeline(StandardScaler(), regression)
    if kind == "neighbors":
        return make_pipeline(StandardScaler(), KNeighborsClassifier(math.isqrt(rows) | 1))
    if kind != "quadratic":
        raise VariedError(f"kind='{kind}' must be 'linear', 'quadratic' or 'neighbors'.")
    if units > MAX_QUADRATIC:
        raise VariedError(
            f"{units} units have too many pairwise products for kind='quadratic'; use at most "
            f"{MAX_QUADRATIC}, or choose kind='linear' or kind='neighbors'."
        )
    products = PolynomialFeatures(2, include_bias=False)
    return make_pipeline(StandardScaler(), products, StandardScaler(), regression)


def c2st_auroc(
    real: Data,
    generated: Data,
    *,
    learner: LearnerFactory | None = None,
    folds: int = 5,
    resamples: int = 200,
    seed: int = 0,
) -> Estimate:
    """Return the AUROC of a classifier that distinguishes generated from real rows.

    The AUROC is computed on the held-out rows of each fold and averaged over folds. The same number
    of real and generated rows is used. The standard error is computed from bootstrap resamples of
    the held-out rows, for fixed classifiers.

    References:
        Revisiting Classifier Two-Sample Tests (Lopez-Paz & Oquab, 2017),
        https://arxiv.org/abs/1610.06545

    Warning:
        An AUROC of 0.5 means that this learner, trained on this many rows, finds no difference.
        An AUROC well below 0.5 means that generated rows are copies of real ones: the classifier
        was trained on the original, which has the opposite label. Rounding alone can distinguish
        the samples, so round generated rows in the same way as the real ones.

    Arguments:
        real: The real rows, on which the generator was not trained, with shape (N, D) or (N, ...).
        generated: The generated rows, with shape (M, D) or (M, ...).
        learner: A function that maps a seed to a classifier with `predict_proba`; the default is a
            random forest.
        folds: The number of folds.
        resamples: The number of bootstrap resamples for the standard error.
        seed: The seed for training the learner, sampling rows, assigning folds and resampling.

    Raises:
        VariedError: If the numbers of columns differ, a value is not finite, there are too few
            rows, or the learner has no `predict_proba`.
    """
    from sklearn.model_selection import StratifiedKFold

    from varied.evaluate.learners import CLASSIFIERS, positive_probability

    samples = as_table_pair(real, generated, ("real rows", "generated rows"))
    n = min(map(len, samples))
    check_at_least(2, default=5, folds=folds)
    if n < MIN_FOLD * folds:
        raise VariedError(
            f"{n:,} rows per sample are too few for {folds} folds; at least {MIN_FOLD * folds:,} "
            "are required."
        )
    names = zip(samples, ("real", "made"), strict=True)
    x = torch.cat([rows[permutation(len(rows), seed, name)[:n]] for rows, name in names]).numpy()
    y = np.arange(2 * n) // n
    split = StratifiedKFold(folds, shuffle=True, random_state=_numpy_seed(seed, "folds"))
    values, resampled = [], []
    for index, (train, test) in enumerate(split.split(x, y)):
        classifier = (learner or CLASSIFIERS["forest"])(_numpy_seed(seed, "distinguish", index))
        classifier.fit(x[train], y[train])
        scores, truth = positive_probability(classifier, x[test]), y[test]
        if scores is None:
            raise VariedError("The learner has no `predict_proba`; use a classifier that has one.")
        draws = resample_strata(truth, resamples, seed, f"fold {index}")
        values.append(binary_auroc(scores, truth))
        resampled.append([binary_auroc(scores[rows], truth[rows]) for rows in draws])
    error = sample_std(np.mean(resampled, axis=0))
    return Estimate(float(np.mean(values)), float(error), 2 * n)


def _numpy_seed(seed: int, purpose: str, index: int = 0) -> int:
    """Return a seed in the range that NumPy accepts."""
    return derive_seed(seed, purpose, index) % 2**32
