"""Disentanglement, completeness and informativeness (DCI) from feature importances of trees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from varied.errors import VariedError
from varied.evaluate._types import Array, Data, Floats
from varied.evaluate.disentanglement._checks import (
    LabeledCodes,
    check_two_factors,
    labeled_codes,
    random_split,
)
from varied.evaluate.estimate import Estimate
from varied.seeding import derive_seed

#: The number of trees in a forest, and the maximum number of leaves of a tree for each class of a
#: factor.
TREES, LEAVES = 10, 20
#: The maximum number of rows to use.
MAX_ROWS = 10_000


@dataclass(frozen=True)
class DCI:
    """Disentanglement, completeness and informativeness.

    Arguments:
        disentanglement: The disentanglement; 1 if each unit is important for only one factor.
        completeness: The completeness; 1 if only one unit is important for each factor.
        informativeness: The test accuracy of the forests, averaged over factors.
        importance: The importance of each unit for each factor, with shape (D, F).
    """

    disentanglement: Estimate
    completeness: Estimate
    informativeness: Estimate
    importance: Floats


def dci(codes: Data, factors: Data, *, seed: int = 0) -> DCI:
    r"""Return disentanglement, completeness and informativeness.

    .. math:: D = \sum_j \rho_j \Bigl(1 + \sum_f p_{jf} \log_F p_{jf}\Bigr), \qquad
        p_{jf} = \frac{R_{jf}}{\sum_g R_{jg}}, \quad \rho_j = \frac{\sum_f R_{jf}}{\sum R}

    where :math:`R_{jf}` is the importance of unit j for factor f. C is computed in the same way
    from the transpose of R, with logarithms to the base D. As in the paper, a random forest is
    trained for each factor, and the importance of a unit is the fraction of the entropy reduction
    that is due to splits on this unit. There are 10 trees, each trained on a bootstrap sample with
    all units as candidates for each split. The authors select the depth of the trees by accuracy.
    Here, each leaf instead contains at least a twentieth of the mean number of rows per class: a
    depth that is selected by accuracy depends on noise, and the scores for similar data then differ
    by twice their standard error. At most 10,000 random rows are used: 80% for training and 20% for
    testing.

    References:
        A Framework for the Quantitative Evaluation of Disentangled Representations (Eastwood and
        Williams, 2018), https://openreview.net/forum?id=By-7dz-AZ. Challenging Common Assumptions
        in the Unsupervised Learning of Disentangled Representations (Locatello et al., 2019),
        https://arxiv.org/abs/1811.12359, for the comparison.

    Warning:
        Locatello et al. (2019) use the importances of boosted trees. Both variants rank models
        similarly, but their values are not comparable. For uninformative codes, D and C are
        slightly above 0, since noise is never distributed exactly evenly, and informativeness is
        the frequency of the most common class: 1/K for K equally frequent classes. These chance
        levels are not subtracted.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, as classes or as numbers with few values, with shape (N, F).
        seed: The seed for sampling rows and training trees.

    Returns:
        The three scores, each between 0 and 1. The standard error of informativeness is computed
        over test rows. The standard errors of the other two scores are standard deviations over
        trees, which tend to be too large.

    Raises:
        VariedError: As for `mig`, or if there is only one factor, or there are fewer than 5 rows.

    Example:
        >>> factors = np.indices((4, 4)).reshape(2, -1).T.repeat(8, axis=0)
        >>> result = dci(factors * 0.1, factors)
        >>> round(result.disentanglement.value, 2), result.informativeness.value
        (1.0, 1.0)
    """
    table = labeled_codes(codes, factors)
    check_two_factors(table.factors, "DCI")
    parts = random_split(len(table.codes), (4, 1), seed, "dci", MAX_ROWS)
    train, test = (table.take(rows) for rows in parts)
    importances, correct = [], []
    for factor in range(len(table.n_classes)):
        forest = _forest(train, factor, seed)
        importances.append([tree.feature_importances_ for tree in forest.estimators_])
        correct.append(forest.predict(test.codes) == test.factors[:, factor])
    by_tree = np.moveaxis(np.array(importances, dtype=np.float64), 0, -1)  # (trees, D, F)
    mean = by_tree.mean(0)

    def estimate(score: Callable[[Floats], float]) -> Estimate:
        error = np.std([score(tree) for tree in by_tree], ddof=1)
        return Estimate(score(mean), float(error), len(train.codes))

    accuracy = Estimate.of(torch.from_numpy(np.mean(correct, axis=0)))
    return DCI(estimate(disentanglement), estimate(completeness), accuracy, mean)


def disentanglement(importance: Array) -> float:
    """Return the extent to which each unit is important for a single factor.

    Units are weighted by their importance, so inactive units do not count. If all importances are
    0, the score is 0.

    Arguments:
        importance: The importance of each unit for each factor, with shape (D, F).

    Raises:
        VariedError: If the importances are not a table of non-negative numbers.

    Example:
        >>> disentanglement(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
        1.0
    """
    r = np.asarray(importance, dtype=np.float64)
    if r.ndim != 2 or not r.size:
        raise VariedError(f"The importances must have shape (D, F), not {r.shape}.")
    if not (np.isfinite(r).all() and (r >= 0).all()):
        raise VariedError("The importances must be finite and non-negative.")
    weights, total = r.sum(1, keepdims=True), float(r.sum())
    p = np.divide(r, weights, out=np.zeros_like(r), where=weights > 0)
    entropy = -(p * np.log(np.where(p > 0, p, 1.0))).sum(1)
    # The entropy of a single factor is 0 for any base.
    purity = 1 - entropy / np.log(max(r.shape[1], 2))
    return float((purity * weights[:, 0]).sum()) / total if total > 0 else 0.0


def completeness(importance: Array) -> float:
    """Return the extent to which a single unit is important for each factor.

    Arguments:
        importance: The importance of each unit for each factor, with shape (D, F).

    Raises:
        VariedError: As for `disentanglement`.

    Example:
        >>> round(completeness(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])), 6)
        0.5
    """
    return disentanglement(np.asarray(importance).T)


def _forest(train: LabeledCodes, factor: int, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(
        TREES,
        criterion="entropy",
        max_features=None,
        min_samples_leaf=max(1, len(train.codes) // (LEAVES * train.n_classes[factor])),
        # With the same seed, the forests of all factors use the same bootstrap samples.
        random_state=derive_seed(seed, "forest") % 2**32,
    ).fit(train.codes, train.factors[:, factor])
