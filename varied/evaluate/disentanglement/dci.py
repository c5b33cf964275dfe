"""Disentanglement, completeness and informativeness, from the importances of trees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate.disentanglement._checks import (
    Array,
    CodesAndFactors,
    Floats,
    check_two_factors,
    pair,
    split,
)
from varied.evaluate.estimate import Estimate
from varied.seeding import derive_seed

__all__ = ["DCI", "completeness", "dci", "disentanglement"]

#: Trees of a forest, and leaves that they may have for each value of a factor.
TREES, LEAVES = 10, 20

#: Rows that are looked at, at most.
ROWS = 10_000


@dataclass(frozen=True)
class DCI:
    """How well single units stand for factors, single factors for units, and all for all.

    Arguments:
        disentanglement: 1 where each unit matters to one factor alone.
        completeness: 1 where one unit alone matters to each factor.
        informativeness: The accuracy of the trees on test rows, the mean over factors.
        importance: How much each unit matters to each factor, with shape (D, F).
    """

    disentanglement: Estimate
    completeness: Estimate
    informativeness: Estimate
    importance: Floats


def dci(codes: Tensor | Array, factors: Tensor | Array, *, seed: int = 0) -> DCI:
    r"""Return disentanglement, completeness and informativeness.

    .. math:: D = \sum_j \rho_j \Bigl(1 + \sum_f p_{jf} \log_F p_{jf}\Bigr), \qquad
        p_{jf} = \frac{R_{jf}}{\sum_g R_{jg}}, \quad \rho_j = \frac{\sum_f R_{jf}}{\sum R}

    where R is the importance of unit j to factor f. C is the same of R transposed, with logarithms
    to the base D. Importances are those of a random forest of 10 trees for each factor, each grown
    on a resample of the rows with all units at each fork, as the authors use; an importance is the
    share of the fall in entropy that forks on this unit make. Where the authors choose a depth by
    accuracy, here a leaf holds at least a twentieth of the rows that a value has on average: a
    choice that turns on noise made figures of like data differ by twice their error. Of more than
    10,000 rows a random 10,000 are used: 80 % to grow trees, 20 % to test.

    References:
        A Framework for the Quantitative Evaluation of Disentangled Representations (Eastwood and
        Williams, 2018), https://openreview.net/forum?id=By-7dz-AZ

    Warning:
        Locatello et al. (2019) take importances from boosted trees: figures of the two kinds
        compare in order, not to the digit. Codes that tell nothing have D and C of about 0 (above
        it, since noise is never shared out evenly) and, since informativeness is an accuracy, the
        share of the commonest value for it: 1/K with K even values. Nothing is subtracted.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, classes or numbers with few values, with shape (N, F).
        seed: Which rows, and which trees.

    Returns:
        The three, from 0 to 1. The standard error of informativeness is over test rows; that of
        the others is the spread over trees, each of which saw a resample of its own, so it is
        rather too large than too small.

    Raises:
        VariedError: As `mig`; or if there is one factor alone, or fewer than 5 rows.

    Example:
        >>> factors = np.indices((4, 4)).reshape(2, -1).T.repeat(8, axis=0)
        >>> found = dci(factors * 0.1, factors)
        >>> round(found.disentanglement.value, 2), found.informativeness.value
        (1.0, 1.0)
    """
    table = pair(codes, factors)
    check_two_factors(table, "disentanglement")
    grow, test = (table.take(rows) for rows in split(len(table.codes), (4, 1), seed, "dci", ROWS))
    found, right = [], []
    for factor in range(len(table.values)):
        forest = _forest(grow, factor, seed)
        found.append([tree.feature_importances_ for tree in forest.estimators_])
        right.append(forest.predict(test.codes) == test.known[:, factor])
    by_tree = np.moveaxis(np.array(found, dtype=np.float64), 0, -1)  # (trees, D, F)
    whole = by_tree.mean(0)

    def estimate(score: Any) -> Estimate:
        error = np.std([score(tree) for tree in by_tree], ddof=1)
        return Estimate(score(whole), float(error), len(grow.codes))

    accurate = torch.from_numpy(np.mean(right, axis=0))
    return DCI(estimate(disentanglement), estimate(completeness), Estimate.of(accurate), whole)


def disentanglement(importance: Array) -> float:
    """Return how far each unit matters to one factor alone, from importances with shape (D, F).

    A unit counts as much as it matters, so a silent one not at all; with no importances it is 0.

    Raises:
        VariedError: If the importances are no table of numbers from 0 up.

    Example:
        >>> disentanglement(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
        1.0
    """
    told = np.asarray(importance, dtype=np.float64)
    if told.ndim != 2 or not told.size or not (np.isfinite(told).all() and (told >= 0).all()):
        raise VariedError(
            f"Importances of shape {told.shape} make no sense: give (D, F), each from 0 up."
        )
    whole = told.sum(1, keepdims=True)
    p = np.divide(told, whole, out=np.zeros_like(told), where=whole > 0)
    held = -(p * np.log(np.where(p > 0, p, 1.0))).sum(1)
    # With one column there is nothing to be mixed up with: the entropy is 0.
    alone = 1 - held / np.log(max(told.shape[1], 2))
    total = float(told.sum())
    return float((alone * whole[:, 0]).sum()) / total if total > 0 else 0.0


def completeness(importance: Array) -> float:
    """Return how far one unit alone matters to each factor, from importances with shape (D, F).

    Raises:
        VariedError: As `disentanglement`.

    Example:
        >>> round(completeness(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])), 6)
        0.5
    """
    return disentanglement(np.asarray(importance).T)


def _forest(grow: CodesAndFactors, factor: int, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier  # a second that others need not wait

    return RandomForestClassifier(
        TREES,
        criterion="entropy",
        max_features=None,
        min_samples_leaf=max(1, len(grow.codes) // (LEAVES * grow.values[factor])),
        # The same for each factor, so that a tree has the same resample of rows.
        random_state=derive_seed(seed, "forest") % 2**32,
    ).fit(grow.codes, grow.known[:, factor])
