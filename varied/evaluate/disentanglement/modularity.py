"""Modularity and explicitness: is a unit about one factor, and can factors be read off all."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate.disentanglement._checks import (
    Array,
    Floats,
    Whole,
    check_factor_varies,
    pair,
    resampling_std,
    split,
)
from varied.evaluate.disentanglement.mig import BINS, RESAMPLED, counted
from varied.evaluate.estimate import Estimate

__all__ = ["explicitness", "modularity"]

#: Rows that are looked at, at most, where a classifier learns.
ROWS = 10_000


def modularity(
    codes: Tensor | Array,
    factors: Tensor | Array,
    *,
    bins: int = BINS,
    resamples: int = 50,
    seed: int = 0,
) -> Estimate:
    r"""Return the modularity: 1 where each unit tells of one factor alone.

    .. math:: \frac1D \sum_j \Bigl(1 - \frac{\sum_{f \ne f_j} I(z_j; v_f)^2}
        {(F - 1)\, I(z_j; v_{f_j})^2}\Bigr)

    where :math:`f_j` is the factor that unit j tells most of, as `information` counts it.

    References:
        Learning Deep Disentangled Embeddings with the F-Statistic Loss (Ridgeway and Mozer, 2018),
        https://arxiv.org/abs/1802.05312

    Warning:
        Units that tell exactly nothing, since they never move, are left out; the published code of
        Locatello et al. counts them as 0. Random codes have no modularity near 0. Counts of a
        finite sample make information too large, about in proportion to a factor's values less 1,
        so a unit that tells nothing seems to tell most of the factor with most values: with three
        factors of 4 values it has about 0.4, with factors of 3, 6, 40, 32 and 32 about 0.65. A
        silent unit that still trembles is one of these: give `codes[:, is_active(codes)]` to leave
        it out, and read this figure beside `mig`.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, classes or numbers with few values, with shape (N, F).
        bins: How many bins a unit is divided into.
        resamples: Bootstrap resamples of the rows for the standard error.
        seed: Which resamples.

    Returns:
        A number from 0 to 1; 0 where no unit tells anything.

    Raises:
        VariedError: As `mig`; or if there is one factor alone.

    Example:
        >>> factors = np.indices((4, 4)).reshape(2, -1).T.repeat(8, axis=0)
        >>> modularity(factors * 0.1, factors).value
        1.0
    """
    table = counted(codes, factors, bins)
    if len(table.values) < 2:
        raise VariedError("With one factor there is no modularity: give two or more.")
    error = resampling_std(
        lambda rows: modular(table.take(rows).information()),
        len(table),
        resamples=resamples,
        seed=seed,
        purpose="modularity",
        most=RESAMPLED,
    )
    return Estimate(modular(table.information()), error, len(table))


def modular(information: Floats) -> float:
    """Return the modularity of information with shape (D, F)."""
    # What is under 1e-12 nats is a rounding of nothing.
    squares = np.where(information > 1e-12, information, 0.0) ** 2
    squares = squares[squares.max(1) > 0]
    if not len(squares):
        return 0.0
    best = squares.max(1)
    others = (squares.sum(1) - best) / (best * (squares.shape[1] - 1))
    return float(1 - others.mean())


def explicitness(
    codes: Tensor | Array, factors: Tensor | Array, *, resamples: int = 20, seed: int = 0
) -> Estimate:
    r"""Return the explicitness: how well a linear classifier reads factors off all units.

    .. math:: \frac1F \sum_f \frac1{K_f} \sum_k \mathrm{AUC}_{fk}

    where AUC is the area under the ROC curve of "the factor has value k", on rows not learnt from,
    by the probability of a logistic regression of all values at once (the softmax, with the L2
    penalty of scikit-learn, on units of mean 0 and variance 1), as Locatello et al. take it. Of
    more than 10,000 rows a random 10,000 are used: 80 % to learn, 20 % to test.

    References:
        Learning Deep Disentangled Embeddings with the F-Statistic Loss (Ridgeway and Mozer, 2018),
        https://arxiv.org/abs/1802.05312

    Warning:
        Random codes have 0.5, which is not subtracted. It says nothing of single units: codes that
        are turned keep it.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, classes or numbers with few values, with shape (N, F).
        resamples: Bootstrap resamples of the test rows for the standard error.
        seed: Which rows.

    Returns:
        A number from 0 to 1.

    Raises:
        VariedError: As `mig`; or if there are fewer than 5 rows, or a factor that hardly varies.

    Example:
        >>> factors = np.indices((4, 4)).reshape(2, -1).T.repeat(8, axis=0)
        >>> explicitness(factors * 0.1, factors).value > 0.99
        True
    """
    from sklearn.linear_model import LogisticRegression  # a second that others need not wait

    table = pair(codes, factors)
    learn, test = split(len(table.codes), (4, 1), seed, "explicitness", ROWS)
    check_factor_varies(table, learn, test)
    mean, scale = table.codes[learn].mean(0), table.codes[learn].std(0)
    z = (table.codes - mean) / np.where(scale > 0, scale, 1.0)
    found = []
    for known in table.known.T:
        classifier = LogisticRegression(max_iter=1000).fit(z[learn], known[learn])
        of = known[test][:, None] == classifier.classes_
        found.append((classifier.predict_proba(z[test]), of))

    def mean_area(rows: Whole) -> float:
        areas = [auroc_from_ranks(scores[rows], of[rows]) for scores, of in found]
        told = [np.nanmean(one) for one in areas if not np.isnan(one).all()]
        return float(np.mean(told)) if told else 0.5

    n = len(test)
    error = resampling_std(
        mean_area, n, resamples=resamples, seed=seed, purpose="explicitness", most=ROWS
    )
    return Estimate(mean_area(np.arange(n)), error, n)


def auroc_from_ranks(scores: Floats, of: Array) -> Floats:
    """Return the area under the ROC curve of each column; NaN where rows are of one kind.

    Arguments:
        scores: How sure a classifier is, with shape (N, K).
        of: Whether it should be, as bool with shape (N, K).
    """
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=0)
    yes = of.sum(0)
    both = yes * (len(of) - yes)
    above = (ranks * of).sum(0) - yes * (yes + 1) / 2
    found: Floats = np.where(both > 0, above / np.maximum(both, 1), np.nan)
    return found
