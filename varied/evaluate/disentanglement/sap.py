"""Separated attribute predictability (SAP)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from varied.errors import VariedError, lookup
from varied.evaluate._resampling import bootstrap_std
from varied.evaluate._types import Data, Floats, Ints
from varied.evaluate.disentanglement._checks import (
    LabeledCodes,
    check_factors_vary,
    labeled_codes,
    numeric_tables,
    random_split,
    standardize,
)
from varied.evaluate.estimate import Estimate
from varied.seeding import derive_seed

#: Maps row indices to the score of each unit for each factor, with shape (D, F).
ScoreTable = Callable[[Ints], Floats]

#: The maximum number of rows for the classifiers.
MAX_ROWS = 10_000


def sap(
    codes: Data, factors: Data, *, method: str = "thresholds", resamples: int = 50, seed: int = 0
) -> Estimate:
    r"""Return the separated attribute predictability (SAP).

    .. math:: \frac1F \sum_f \bigl(S_{(1)f} - S_{(2)f}\bigr)

    where :math:`S_{(1)f}` and :math:`S_{(2)f}` are the scores of the two single units that predict
    factor f best. The score is one of

    - "thresholds": the balanced accuracy of a decision tree with balanced class weights, which
      places at most K - 1 thresholds on the unit for a factor with K values. This is the variant
      of Kumar et al. (2018) for classes;
    - "svm": the accuracy of a linear one-versus-rest support vector machine with C = 0.01 and
      balanced class weights, as in Locatello et al. (2019);
    - "correlation": the squared correlation with the factor, which equals R^2. This is the variant
      of Kumar et al. (2018) for numbers. It uses all rows, and a factor may have any number of
      values.

    The two classifiers are trained on 80% of at most 10,000 random rows and tested on the
    other 20%.

    References:
        Variational Inference of Disentangled Latent Concepts from Unlabeled Observations (Kumar et
        al., 2018), https://arxiv.org/abs/1711.00848. Challenging Common Assumptions in the
        Unsupervised Learning of Disentangled Representations (Locatello et al., 2019),
        https://arxiv.org/abs/1811.12359

    Warning:
        With "correlation", perfect codes have a score of 1 if the units are linear in the factors.
        With the other two methods, the score of perfect codes is 1 minus the accuracy of an
        uninformative unit: 1 - 1/K for K equally frequent values. A linear classifier cannot
        separate a middle value from the values on both sides, so with "svm", the score of a perfect
        unit for a factor with 10 values is about 0.1. The score of random codes is about 0. Units
        are standardized here but not by Locatello et al. (2019), whose score depends on the scale
        of a unit.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, with shape (N, F).
        method: The score: "thresholds", "svm" or "correlation".
        resamples: The number of bootstrap resamples of the (test) rows for the standard error.
        seed: The seed for sampling rows.

    Raises:
        VariedError: As for `mig`, or if there are fewer than 5 rows, a factor hardly varies, or
            the method is unknown.

    Example:
        >>> factors = np.indices((4, 4)).reshape(2, -1).T.repeat(8, axis=0)
        >>> round(sap(factors * 0.1, factors, method="correlation").value, 6)
        1.0
    """
    scores, n = lookup(METHODS, method, "SAP method")(codes, factors, seed)

    def gap(rows: Ints) -> float:
        *_, second, best = np.sort(scores(rows), axis=0)
        return float((best - second).mean())

    error = bootstrap_std(gap, n, resamples, seed, "sap", MAX_ROWS)
    return Estimate(gap(np.arange(n)), error, n)


def _correlation(codes: Data, factors: Data, seed: int) -> tuple[ScoreTable, int]:
    z, v = numeric_tables(codes, factors)
    for index, is_constant in enumerate(np.ptp(v, axis=0) == 0):
        if is_constant:
            raise VariedError(f"Factor {index} is constant; omit it.")
    z = _two_units(z)

    def scores(rows: Ints) -> Floats:
        squared: Floats = (_normalize(z[rows]).T @ _normalize(v[rows])) ** 2
        return squared

    return scores, len(z)


def _normalize(x: Floats) -> Floats:
    """Return columns with mean 0 and norm 1; constant columns are 0."""
    x = x - x.mean(0)
    norm = np.sqrt((x**2).sum(0))
    is_constant = norm <= 1e-12 * np.sqrt(len(x)) * np.abs(x).max(initial=1e-300)
    return np.where(is_constant, 0.0, x / np.where(is_constant, 1.0, norm))


def _thresholds(codes: Data, factors: Data, seed: int) -> tuple[ScoreTable, int]:
    from sklearn.tree import DecisionTreeClassifier

    def build(n_classes: int) -> Any:
        return DecisionTreeClassifier(
            criterion="entropy",
            max_leaf_nodes=n_classes,
            class_weight="balanced",
            random_state=derive_seed(seed, "thresholds") % 2**32,
        )

    correct, test = _test_predictions(labeled_codes(codes, factors), build, seed)

    def scores(rows: Ints) -> Floats:
        by_factor = []
        for factor, n_classes in enumerate(test.n_classes):
            of_class = np.eye(n_classes)[test.factors[rows, factor]]
            counts = of_class.sum(0)
            recall = of_class.T @ correct[rows, :, factor] / np.maximum(counts, 1)[:, None]
            by_factor.append(recall[counts > 0].mean(0))
        return np.stack(by_factor, axis=1)

    return scores, len(correct)


def _svm(codes: Data, factors: Data, seed: int) -> tuple[ScoreTable, int]:
    from sklearn.svm import LinearSVC

    def build(n_classes: int) -> Any:
        return LinearSVC(C=0.01, class_weight="balanced", dual=False)

    correct, _ = _test_predictions(labeled_codes(codes, factors), build, seed)
    return lambda rows: np.asarray(correct[rows].mean(0)), len(correct)


def _test_predictions(
    table: LabeledCodes, build: Callable[[int], Any], seed: int
) -> tuple[Floats, LabeledCodes]:
    """Return whether each unit predicts each factor correctly, with shape (test rows, D, F)."""
    z = _two_units(table.codes)
    train, test = random_split(len(z), (4, 1), seed, "sap", MAX_ROWS)
    check_factors_vary(table, train)
    z = standardize(z, train)
    correct = np.zeros((len(test), z.shape[1], len(table.n_classes)))
    for factor, n_classes in enumerate(table.n_classes):
        classes = table.factors[:, factor]
        for unit in range(z.shape[1]):
            x = z[:, unit, None]
            predicted = build(n_classes).fit(x[train], classes[train]).predict(x[test])
            correct[:, unit, factor] = predicted == classes[test]
    return correct, table.take(test)


def _two_units(z: Floats) -> Floats:
    """Return codes with at least two units; if there is only one, add a constant unit."""
    return z if z.shape[1] > 1 else np.hstack([z, np.zeros_like(z)])


METHODS = {"thresholds": _thresholds, "svm": _svm, "correlation": _correlation}
