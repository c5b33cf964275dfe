"""Interventional scores, computed from groups of rows that share the value of one factor."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np
import torch

from varied.errors import VariedError, check_at_least
from varied.evaluate._resampling import bootstrap_std
from varied.evaluate._types import Data, Floats, Ints
from varied.evaluate.disentanglement._checks import (
    LabeledCodes,
    check_two_factors,
    labeled_codes,
    random_split,
)
from varied.evaluate.estimate import Estimate
from varied.seeding import generator

#: Units with a smaller variance do not vote.
MIN_VARIANCE = 0.05
#: The number of rows, or pairs of rows, for each vote, and the number of training votes.
BATCH_SIZE, VOTES = 64, 10_000
#: Values that occur in fewer rows are not held fixed.
MIN_SHARED = 5

#: Maps training rows, test rows and the index of the resample to a score.
Score = Callable[[LabeledCodes, LabeledCodes, int], float]


def factor_vae(
    codes: Data,
    factors: Data,
    *,
    min_variance: float = MIN_VARIANCE,
    batch_size: int = BATCH_SIZE,
    n_votes: int = VOTES,
    resamples: int = 10,
    seed: int = 0,
) -> Estimate:
    r"""Return the FactorVAE score, the accuracy of a majority vote for the fixed factor.

    For each vote, a factor is fixed to its value in a random row, and 64 random rows with this
    value are drawn. The unit

    .. math:: j^* = \arg\min_j \frac{\mathrm{Var}_{\text{batch}}(z_j)}{\mathrm{Var}(z_j)}

    votes for the factor. Each unit is assigned to the factor that it votes for most often. The
    score is the fraction of test votes, from other rows, whose unit is assigned to the fixed
    factor.

    References:
        Disentangling by Factorizing (Kim and Mnih, 2018), https://arxiv.org/abs/1802.05983.
        Challenging Common Assumptions in the Unsupervised Learning of Disentangled
        Representations (Locatello et al., 2019), https://arxiv.org/abs/1811.12359, for the numbers
        of rows and votes.

    Warning:
        As in the papers, units with a variance below 0.05 are considered inactive, relative to a
        prior variance of 1, and do not vote; the published code of Locatello et al. (2019) compares
        the standard deviation with 0.05. Codes on a different scale require a different
        ``min_variance``; 0 excludes only constant units. The score of random codes is 1/F, which is
        not subtracted; if no unit is active, the score is 0. The authors draw new data for each
        vote. Here, rows are drawn with replacement, and the fixed values are sampled in proportion
        to their frequency in the rows.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, as classes or as numbers with few values, with shape (N, F).
        min_variance: The minimum variance for a unit to vote.
        batch_size: The number of rows for each vote.
        n_votes: The number of training votes, drawn from one half of the rows; half as many test
            votes are drawn from the other half.
        resamples: The number of bootstrap resamples for the standard error.
        seed: The seed for sampling rows.

    Raises:
        VariedError: As for `mig`, or if there is only one factor, there are fewer than 2 rows for
            each vote or fewer than 2 votes for each factor, or no value of a factor occurs in at
            least 5 rows of each half.

    Example:
        >>> factors = np.indices((4, 4)).reshape(2, -1).T.repeat(8, axis=0)
        >>> factor_vae(factors, factors, n_votes=200).value
        1.0
    """
    table = _voting_table(codes, factors, "The FactorVAE score", batch_size, n_votes)
    variance = table.codes.var(0, ddof=1)
    votes = (variance >= min_variance) & (variance > 0)
    if not votes.any():
        return Estimate(0.0, 0.0, len(table.codes))
    table = table._replace(codes=table.codes[:, votes] / np.sqrt(variance[votes]))

    def score(train: LabeledCodes, test: LabeledCodes, index: int) -> float:
        train_votes, test_votes = (
            _count_votes(part, batch_size, n, generator(seed, f"factor {name}", index))
            for part, n, name in ((train, n_votes, "learn"), (test, n_votes // 2, "test"))
        )
        factor_of_unit = train_votes.argmax(0)
        correct = test_votes[factor_of_unit, np.arange(len(factor_of_unit))]
        return float(correct.sum() / test_votes.sum())

    return _estimate(score, table, resamples, seed)


def beta_vae(
    codes: Data,
    factors: Data,
    *,
    batch_size: int = BATCH_SIZE,
    n_votes: int = VOTES,
    resamples: int = 10,
    seed: int = 0,
) -> Estimate:
    r"""Return the beta-VAE score, the accuracy of linear predictions of the shared factor.

    For each vote, 64 random pairs of rows are drawn that share the value of one factor. A logistic
    regression predicts the shared factor from

    .. math:: \frac1{64} \sum_{\text{pairs}} |z_j - z_j'|

    for each unit j. The score is the accuracy of the predictions on test votes, which are drawn
    from other rows.

    References:
        beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework (Higgins
        et al., 2017), https://openreview.net/forum?id=Sy2fzU9gl. Challenging Common Assumptions in
        the Unsupervised Learning of Disentangled Representations (Locatello et al., 2019),
        https://arxiv.org/abs/1811.12359, for the numbers of pairs and votes and for the regression.

    Warning:
        High scores are easy to reach: the classifier uses all units, so the score of codes that mix
        factors is 1 as long as the mixtures differ. The score of random codes is 1/F, which is not
        subtracted. Unlike in the papers, units are scaled to the same variance. The two rows of a
        pair are different, and the shared values are sampled in proportion to their frequency in
        the rows.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, as classes or as numbers with few values, with shape (N, F).
        batch_size: The number of pairs for each vote.
        n_votes: The number of training votes, drawn from one half of the rows; half as many test
            votes are drawn from the other half.
        resamples: The number of bootstrap resamples for the standard error.
        seed: The seed for sampling rows.

    Raises:
        VariedError: As for `factor_vae`.

    Example:
        >>> factors = np.indices((4, 4)).reshape(2, -1).T.repeat(8, axis=0)
        >>> beta_vae(factors, factors, n_votes=200).value
        1.0
    """
    from sklearn.linear_model import LogisticRegression

    table = _voting_table(codes, factors, "The beta-VAE score", batch_size, n_votes)
    std = table.codes.std(0)
    table = table._replace(codes=table.codes / np.where(std > 0, std, 1.0))

    def score(train: LabeledCodes, test: LabeledCodes, index: int) -> float:
        noise = generator(seed, "beta learn", index)
        x, y = _mean_differences(train, batch_size, n_votes, noise)
        classifier = LogisticRegression(max_iter=1000).fit(x, y)
        noise = generator(seed, "beta test", index)
        x, y = _mean_differences(test, batch_size, n_votes // 2, noise)
        return float(np.mean(classifier.predict(x) == y))

    return _estimate(score, table, resamples, seed)


def _count_votes(
    table: LabeledCodes, batch_size: int, n_votes: int, noise: torch.Generator
) -> Ints:
    """Return how often each unit votes for each fixed factor, with shape (F, D)."""
    units, counts = table.codes.shape[1], []
    for factor, n in enumerate(_votes_per_factor(table, n_votes)):
        rows, _ = _draw_groups(table, factor, (n, batch_size), noise, pairs=False)
        least = table.codes[rows].var(1).argmin(1)
        counts.append(np.bincount(least, minlength=units))
    return np.stack(counts)


def _mean_differences(
    table: LabeledCodes, batch_size: int, n_votes: int, noise: torch.Generator
) -> tuple[Floats, Ints]:
    """Return the mean absolute differences in pairs, (n_votes, D), and the shared factors."""
    differences, shared, z = [], [], table.codes
    for factor, n in enumerate(_votes_per_factor(table, n_votes)):
        a, b = _draw_groups(table, factor, (n, batch_size), noise, pairs=True)
        differences.append(np.abs(z[a] - z[b]).mean(1))
        shared.append(np.full(n, factor))
    return np.concatenate(differences), np.concatenate(shared)


def _votes_per_factor(table: LabeledCodes, n_votes: int) -> list[int]:
    """Divide the votes as evenly as possible among the factors."""
    factors = len(table.n_classes)
    return [n_votes // factors + (factor < n_votes % factors) for factor in range(factors)]


def _draw_groups(
    table: LabeledCodes, factor: int, shape: tuple[int, int], noise: torch.Generator, *, pairs: bool
) -> tuple[Ints, Ints]:
    """Draw groups of rows that share a factor value: two index arrays with shape (groups, size).

    If ``pairs`` is set, the two rows at the same position are different.
    """
    classes = table.factors[:, factor]
    counts = np.bincount(classes, minlength=table.n_classes[factor])
    # If no value is frequent enough in a resample, the most frequent one is fixed.
    candidates = np.flatnonzero(counts[classes] >= min(MIN_SHARED, counts.max()))
    by_class, starts = np.argsort(classes, kind="stable"), np.cumsum(counts) - counts
    u, first, second = (
        torch.rand(size, generator=noise, dtype=torch.float64).numpy()
        for size in (shape[:1], shape, shape)
    )
    value = classes[candidates[(u * len(candidates)).astype(np.int64)]]
    start, n = starts[value][:, None], counts[value][:, None]
    position = (first * n).astype(np.int64)
    step = 1 + (second * (n - 1)).astype(np.int64) if pairs else 0
    return by_class[start + position], by_class[start + (position + step) % n]


def _voting_table(
    codes: Data, factors: Data, metric: str, batch_size: int, n_votes: int
) -> LabeledCodes:
    table = labeled_codes(codes, factors)
    check_two_factors(table.factors, metric)
    check_at_least(2, default=BATCH_SIZE, batch_size=batch_size)
    check_at_least(2 * len(table.n_classes), default=VOTES, n_votes=n_votes)
    return table


def _estimate(score: Score, table: LabeledCodes, resamples: int, seed: int) -> Estimate:
    """Return the score for a random split into halves, with its bootstrap standard error."""
    n, index = len(table.codes), count(1)
    train, test = (table.take(rows) for rows in random_split(n, (1, 1), seed, "halves", n))
    for half in (train, test):
        for factor, classes in enumerate(half.factors.T):
            if np.bincount(classes).max() < MIN_SHARED:
                raise VariedError(
                    f"No value of factor {factor} occurs in at least {MIN_SHARED} rows of each "
                    "half; use more rows, or round the factor to fewer values."
                )

    def resampled_score(rows: Ints) -> float:
        # Resampling each half separately keeps test rows out of training.
        half = len(train.codes)
        train_rows, test_rows = rows[:half] * half // n, rows[half:] * (n - half) // n
        return score(train.take(train_rows), test.take(test_rows), next(index))

    error = bootstrap_std(resampled_score, n, resamples, seed, "votes")
    return Estimate(score(train, test, 0), error, n)
