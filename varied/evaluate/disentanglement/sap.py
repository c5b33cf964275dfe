"""Separated attribute predictability: what one unit predicts beyond what the second best does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from varied.errors import lookup
from varied.evaluate.disentanglement._checks import (
    Array,
    CodesAndFactors,
    Floats,
    Whole,
    check_factor_varies,
    checked,
    pair,
    resampling_std,
    split,
)
from varied.evaluate.estimate import Estimate
from varied.seeding import derive_seed

__all__ = ["sap"]

#: Rows that are looked at, at most.
ROWS = 10_000


def sap(
    codes: Tensor | Array,
    factors: Tensor | Array,
    *,
    by: str = "thresholds",
    resamples: int = 50,
    seed: int = 0,
) -> Estimate:
    r"""Return the separated attribute predictability.

    .. math:: \frac1F \sum_f \bigl(S_{(1)f} - S_{(2)f}\bigr)

    where :math:`S_{(1)f}` and :math:`S_{(2)f}` are the two best of the units, each alone, at
    predicting factor f. How well a unit does is one of

    - "thresholds": the balanced accuracy (the mean over values) of thresholds on the unit, at most
      one fewer than the factor has values, set one by one by a tree with balanced weights. It is
      the form of Kumar et al. for classes;
    - "svm": the accuracy of a linear support vector machine with C = 0.01, balanced, each value
      against the rest, as Locatello et al. take it;
    - "correlation": the squared correlation with the factor as a number, which is R^2, the form
      of Kumar et al. for numbers. It uses all rows, and a factor may have any number of values.

    The first two learn from 80 % of the rows (a random 10,000 of more) and are tested on 20 %.

    References:
        Variational Inference of Disentangled Latent Concepts from Unlabeled Observations (Kumar et
        al., 2018), https://arxiv.org/abs/1711.00848. Challenging Common Assumptions in the
        Unsupervised Learning of Disentangled Representations (Locatello et al., 2019),
        https://arxiv.org/abs/1811.12359

    Warning:
        Perfect codes have 1 by correlation where units are linear in factors. By thresholds and by
        machines they have 1 less what a silent unit gets by guessing: 1 - 1/K with K even values.
        A linear machine cannot part a middle value from those on both its sides, so by "svm" a
        perfect unit of 10 values has about 0.1. Nothing is corrected. Random codes have about 0.
        Units are brought to one scale first, which Locatello et al. do not: their machine depends
        on the scale of a unit.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, with shape (N, F).
        by: "thresholds", "svm" or "correlation".
        resamples: Bootstrap resamples of the (test) rows for the standard error.
        seed: Which rows.

    Raises:
        VariedError: As `mig`; or if there are fewer than 5 rows, a factor that hardly
            varies, or no such way to predict.

    Example:
        >>> factors = np.indices((4, 4)).reshape(2, -1).T.repeat(8, axis=0)
        >>> round(sap(factors * 0.1, factors, by="correlation").value, 6)
        1.0
    """
    score, n = lookup(WAYS, by, "way to predict a factor")(codes, factors, seed)

    def gap(rows: Whole) -> float:
        scores = score(rows)
        return float((scores[-1] - scores[-2]).mean())

    error = resampling_std(gap, n, resamples=resamples, seed=seed, purpose="sap", most=ROWS)
    return Estimate(gap(np.arange(n)), error, n)


Score = Callable[[Whole], Floats]


def _correlation(codes: Tensor | Array, factors: Tensor | Array, seed: int) -> tuple[Score, int]:
    z, v = checked(codes, factors)
    for index, constant in enumerate(np.ptp(v, axis=0) == 0):
        if constant:
            pair(z, v[:, [index]])  # which refuses it
    z = _beside(z)

    def score(rows: Whole) -> Floats:
        a, b = (_unit_columns(x[rows]) for x in (z, v))
        return np.sort((a.T @ b) ** 2, axis=0)

    return score, len(z)


def _unit_columns(x: Floats) -> Floats:
    """Return columns with mean 0 and length 1; a constant one is 0."""
    x = x - x.mean(0)
    length = np.sqrt((x**2).sum(0))
    quiet = length <= 1e-12 * np.sqrt(len(x)) * np.abs(x).max(initial=1e-300)
    return np.where(quiet, 0.0, x / np.where(quiet, 1.0, length))


def _thresholds(codes: Tensor | Array, factors: Tensor | Array, seed: int) -> tuple[Score, int]:
    from sklearn.tree import DecisionTreeClassifier  # a second that others need not wait

    def machine(values: int) -> Any:
        return DecisionTreeClassifier(
            criterion="entropy",
            max_leaf_nodes=values,
            class_weight="balanced",
            random_state=derive_seed(seed, "thresholds") % 2**32,
        )

    right, test = _tested(pair(codes, factors), machine, seed)

    def score(rows: Whole) -> Floats:
        found = []
        for factor, values in enumerate(test.values):
            which = np.eye(values)[test.known[rows, factor]]
            often = which.sum(0)
            recall = which.T @ right[rows, :, factor] / np.maximum(often, 1)[:, None]
            found.append(recall[often > 0].mean(0))
        return np.sort(np.stack(found, axis=1), axis=0)

    return score, len(right)


def _svm(codes: Tensor | Array, factors: Tensor | Array, seed: int) -> tuple[Score, int]:
    from sklearn.svm import LinearSVC  # a second that others need not wait

    right, _ = _tested(
        pair(codes, factors),
        lambda values: LinearSVC(C=0.01, class_weight="balanced", dual=False),
        seed,
    )
    return lambda rows: np.sort(right[rows].mean(0), axis=0), len(right)


def _tested(
    table: CodesAndFactors, machine: Callable[[int], Any], seed: int
) -> tuple[Floats, CodesAndFactors]:
    """Return where each unit predicts each factor rightly, with shape (test rows, D, F)."""
    z = _beside(table.codes)
    learn, test = split(len(z), (4, 1), seed, "sap", ROWS)
    check_factor_varies(table, learn)
    mean, scale = z[learn].mean(0), z[learn].std(0)
    z = (z - mean) / np.where(scale > 0, scale, 1.0)
    right = np.zeros((len(test), z.shape[1], len(table.values)))
    for factor, values in enumerate(table.values):
        wanted = table.known[:, factor]
        for unit in range(z.shape[1]):
            found = machine(values).fit(z[learn, unit, None], wanted[learn])
            right[:, unit, factor] = found.predict(z[test, unit, None]) == wanted[test]
    return right, table.take(test)


def _beside(z: Floats) -> Floats:
    """Return codes of two units at least: a single one has a silent one beside it."""
    return z if z.shape[1] > 1 else np.hstack([z, np.zeros_like(z)])


WAYS = {"thresholds": _thresholds, "svm": _svm, "correlation": _correlation}
