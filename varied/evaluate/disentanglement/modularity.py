"""Modularity and explicitness."""

from __future__ import annotations

import numpy as np

from varied.evaluate._resampling import bootstrap_std
from varied.evaluate._types import Data, Floats, Ints
from varied.evaluate.detection import binary_auroc
from varied.evaluate.disentanglement._checks import (
    check_factors_vary,
    check_two_factors,
    labeled_codes,
    random_split,
    standardize,
)
from varied.evaluate.disentanglement.mig import BINS, MAX_RESAMPLED, binned_codes
from varied.evaluate.estimate import Estimate

#: The maximum number of rows for the classifiers.
MAX_ROWS = 10_000


def modularity(
    codes: Data, factors: Data, *, bins: int = BINS, resamples: int = 50, seed: int = 0
) -> Estimate:
    r"""Return the modularity, which is 1 if each unit is informative about a single factor.

    .. math:: \frac1D \sum_j \Bigl(1 - \frac{\sum_{f \ne f_j} I(z_j; v_f)^2}
        {(F - 1)\, I(z_j; v_{f_j})^2}\Bigr)

    where :math:`f_j` is the factor with the highest `mutual_information` with unit j.

    References:
        Learning Deep Disentangled Embeddings with the F-Statistic Loss (Ridgeway and Mozer, 2018),
        https://arxiv.org/abs/1802.05312. Challenging Common Assumptions in the Unsupervised
        Learning of Disentangled Representations (Locatello et al., 2019),
        https://arxiv.org/abs/1811.12359, for the comparison.

    Warning:
        Constant units, whose mutual information is exactly 0, are excluded; the published code of
        Locatello et al. (2019) counts them as 0. The modularity of random codes is not close to 0:
        mutual information is overestimated for finite samples, in proportion to the number of
        values of a factor minus 1, so an uninformative unit seems informative about the factor with
        the most values. For random codes, the score is about 0.4 for three factors with 4 values
        each, and 0.65 for factors with 3, 6, 40, 32 and 32 values. This also applies to inactive
        units that are not constant: exclude them with ``codes[:, is_active(codes)]``, and compare
        the score with `mig`.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, as classes or as numbers with few values, with shape (N, F).
        bins: The number of bins for each unit.
        resamples: The number of bootstrap resamples for the standard error.
        seed: The seed for resampling.

    Returns:
        The score, between 0 and 1; 0 if no unit is informative.

    Raises:
        VariedError: As for `mig`, or if there is only one factor.

    Example:
        >>> factors = np.indices((4, 4)).reshape(2, -1).T.repeat(8, axis=0)
        >>> modularity(factors * 0.1, factors).value
        1.0
    """
    table = binned_codes(codes, factors, bins)
    check_two_factors(table.factors, "Modularity")

    def score(rows: Ints | slice) -> float:
        return modularity_of(table.take(rows).mutual_information())

    n = len(table.binned)
    error = bootstrap_std(score, n, resamples, seed, "modularity", MAX_RESAMPLED)
    return Estimate(score(slice(None)), error, n)


def modularity_of(information: Floats) -> float:
    """Return the modularity, computed from mutual information with shape (D, F)."""
    squares = np.where(information > 1e-12, information, 0.0) ** 2  # without rounding errors
    squares = squares[squares.max(1) > 0]
    if not len(squares):
        return 0.0
    best = squares.max(1)
    others = (squares.sum(1) - best) / (best * (squares.shape[1] - 1))
    return float(1 - others.mean())


def explicitness(codes: Data, factors: Data, *, resamples: int = 20, seed: int = 0) -> Estimate:
    r"""Return the explicitness, which measures how well a linear classifier predicts the factors.

    .. math:: \frac1F \sum_f \frac1{K_f} \sum_k \mathrm{AUROC}_{fk}

    where :math:`\mathrm{AUROC}_{fk}` measures how well the predicted probability ranks test rows
    whose factor f has value k above other rows. As in Locatello et al. (2019), the probabilities
    are predicted by a multinomial logistic regression on all standardized units, with
    scikit-learn's default L2 penalty. At most 10,000 random rows are used: 80% for training and 20%
    for testing.

    References:
        Learning Deep Disentangled Embeddings with the F-Statistic Loss (Ridgeway and Mozer, 2018),
        https://arxiv.org/abs/1802.05312. Challenging Common Assumptions in the Unsupervised
        Learning of Disentangled Representations (Locatello et al., 2019),
        https://arxiv.org/abs/1811.12359, for the regression.

    Warning:
        The score of random codes is 0.5, which is not subtracted. Explicitness does not depend on
        how the information is distributed among units: rotated codes have the same score.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, as classes or as numbers with few values, with shape (N, F).
        resamples: The number of bootstrap resamples of the test rows for the standard error.
        seed: The seed for sampling rows.

    Returns:
        The score, between 0 and 1.

    Raises:
        VariedError: As for `mig`, or if there are fewer than 5 rows, or a factor hardly varies.

    Example:
        >>> factors = np.indices((4, 4)).reshape(2, -1).T.repeat(8, axis=0)
        >>> explicitness(factors * 0.1, factors).value > 0.99
        True
    """
    from sklearn.linear_model import LogisticRegression

    table = labeled_codes(codes, factors)
    train, test = random_split(len(table.codes), (4, 1), seed, "explicitness", MAX_ROWS)
    check_factors_vary(table, train, test)
    z = standardize(table.codes, train)
    predictions = []
    for classes in table.factors.T:
        classifier = LogisticRegression(max_iter=1000).fit(z[train], classes[train])
        truth = classes[test][:, None] == classifier.classes_
        predictions.append((classifier.predict_proba(z[test]), truth))

    def mean_auroc(rows: Ints | slice) -> float:
        by_factor = [_class_aurocs(p[rows], truth[rows]) for p, truth in predictions]
        means = [np.mean(aurocs) for aurocs in by_factor if aurocs]
        return float(np.mean(means)) if means else 0.5

    n = len(test)
    error = bootstrap_std(mean_auroc, n, resamples, seed, "explicitness")
    return Estimate(mean_auroc(slice(None)), error, n)


def _class_aurocs(probabilities: Floats, truth: Floats) -> list[float]:
    """Return the AUROC of each class that occurs in some but not all rows."""
    columns = zip(probabilities.T, truth.T, strict=True)
    return [binary_auroc(p, y) for p, y in columns if 0 < y.sum() < len(y)]
