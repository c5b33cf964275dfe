"""Memorization tests, based on the distances of generated and held-out rows to training rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate._checks import as_table_pair
from varied.evaluate._resampling import resample, sample_std
from varied.evaluate._types import Data, Floats
from varied.evaluate.distances import ROUNDING, nearest_rows, squared_distances
from varied.evaluate.estimate import Estimate

#: The significance level of the tests.
LEVEL = 0.01
#: The minimum number of training, held-out and generated rows.
MIN_ROWS = 20
#: Standard deviations below this value are due to rounding.
TINY = 1e-9


@dataclass(frozen=True)
class PercentileTest:
    """The fraction of generated rows whose distance is below a percentile of held-out distances.

    Arguments:
        percentile: The percentile of the held-out distances, between 0 and 100.
        threshold: The distance at that percentile.
        share: The fraction of generated rows with a smaller distance.
        expected: The expected fraction if generated rows are as close as held-out rows.
        p_value: The exact p-value: the probability of a fraction at least as large in that case.
    """

    percentile: int
    threshold: float
    share: Estimate
    expected: float
    p_value: float


def percentile_test(
    generated: Floats, held_out: Floats, percentile: int, resamples: int, seed: int, purpose: str
) -> PercentileTest:
    """Compare the distances of generated rows with a percentile of held-out distances.

    The p-value takes into account that the percentile is estimated: under the null hypothesis, all
    orderings of generated and held-out distances are equally likely, so the p-value follows from a
    hypergeometric distribution. A binomial test, which assumes that the percentile is known,
    rejects too often: in 6% of cases at a level of 1%, with 1,000 generated and 1,000 held-out
    rows.

    Arguments:
        generated: The distance of each generated row to its nearest training row, with shape (M).
        held_out: The distance of each held-out row to its nearest training row, with shape (N).
        percentile: The percentile, between 0 and 100.
        resamples: The number of bootstrap resamples for the standard error.
        seed: The seed for resampling.
        purpose: A label from which, together with ``seed``, the seed of each resample is derived.
    """
    from scipy import stats

    m, n = len(generated), len(held_out)
    rank = max(percentile * (n + 1) // 100, 1)

    def share(distances: Floats, reference: Floats) -> float:
        return float((distances < np.partition(reference, rank - 1)[rank - 1]).mean())

    value = share(generated, held_out)
    closer = round(value * m)
    # At least this many generated rows precede the rank if and only if fewer than `rank` of the
    # first `closer + rank - 1` rows are held out.
    p = stats.hypergeom.cdf(rank - 1, m + n, n, closer + rank - 1) if closer else 1.0
    draws = resample((m, n), resamples, seed, purpose)
    error = sample_std([share(generated[i], held_out[j]) for i, j in draws])
    threshold = float(np.sort(held_out)[rank - 1])
    estimate = Estimate(value, float(error), m)
    return PercentileTest(percentile, threshold, estimate, rank / (n + 1), float(p))


def check_enough_rows(sizes: dict[str, int]) -> None:
    """Raise VariedError if there are too few training, held-out or generated rows."""
    for name, n in sizes.items():
        if n < MIN_ROWS:
            raise VariedError(
                f"{n} {name} rows are too few to detect copies; at least {MIN_ROWS} are required, "
                "and hundreds to detect a few copies."
            )


@dataclass(frozen=True)
class MemorizationTest:
    """A comparison of generated and held-out rows by their distances to training rows.

    The null hypothesis of each p-value is that no rows are copied.

    Arguments:
        near_duplicates: The fraction of generated rows that are closer to a training row than 99%
            of the held-out rows are, and the test of this fraction.
        z: The Mann-Whitney statistic; it is negative if generated rows are closer to training rows
            than held-out rows are, and positive if they are farther away. See `memorization`.
        z_p: The one-sided p-value of z, which is small if z is strongly negative.
        train_share: The fraction of generated rows whose nearest neighbor among training and
            held-out rows is a training row.
        train_share_expected: The expected fraction without memorization.
        train_share_p: The one-sided p-value of the fraction, with a Bonferroni correction: twice
            the smaller of the p-values for all generated rows and for the generated rows that are
            close to either set.
        index: The index of the training row nearest to each generated row, int64 with shape (M).
        distance: The distance to that row, float64 with shape (M).
    """

    near_duplicates: PercentileTest
    z: float
    z_p: float
    train_share: Estimate
    train_share_expected: float
    train_share_p: float
    index: Tensor = field(compare=False, repr=False)
    distance: Tensor = field(compare=False, repr=False)

    @property
    def is_close(self) -> bool:
        """Whether generated rows are significantly closer than held-out rows to training rows."""
        return 2 * min(self.near_duplicates.p_value, self.z_p) < LEVEL

    @property
    def is_copied(self) -> bool:
        """Whether `is_close`, and generated rows are significantly closer to training rows than to
        held-out rows.
        """
        return self.is_close and self.train_share_p < LEVEL

    @property
    def warning(self) -> str | None:
        """A warning about publishing the samples, or None."""
        if self.is_copied:
            test = self.near_duplicates
            return (
                f"Some samples are copies of training rows: {100 * test.share.value:.1f}% of the "
                "samples are closer to a training row than all but "
                f"{100 * test.expected:.1f}% of the held-out rows are. Inspect the closest pairs, "
                "and train for fewer epochs or on more data."
            )
        if self.is_close:
            return (
                "Samples are closer to training rows than held-out rows are, but not closer to "
                "training rows than to held-out rows. They are smooth or lack diversity, but there "
                "is no evidence of copies; compare features instead of pixels."
            )
        return None


def memorization(
    generated: Data, train: Data, held_out: Data, *, resamples: int = 200, seed: int = 0
) -> MemorizationTest:
    r"""Test whether generated rows are closer to the training rows than held-out rows are.

    There are three tests. Two of them compare the distances L to the nearest training row:

    - The fraction of generated rows whose L is below the r-th smallest L of the n held-out rows,
      with :math:`r = \max(\lfloor (n + 1) / 100 \rfloor, 1)`. Its expectation is r / (n + 1), and
      its exact p-value follows from a hypergeometric distribution.
    - The Mann-Whitney U of all distances,

      .. math:: z = \frac{U - mn/2}{\sigma_U}, \qquad
          U = \sum_{j=1}^{m} \sum_{i=1}^{n} [L(y_j) > L(x_i)] + \tfrac12 [L(y_j) = L(x_i)]

      with :math:`\sigma_U` corrected for ties.

    The third test uses the fraction of generated rows that are closer to a training row than to any
    held-out row. Without memorization, training and held-out rows are exchangeable, even if samples
    are smooth, so a permutation test (in its normal approximation) gives the p-value.

    References:
        A Non-Parametric Test to Detect Data-Copying in Generative Models (Meehan et al., 2020),
        https://arxiv.org/abs/2004.05675, for z, here with the whole space as the only cell.

    Warning:
        Samples from a VAE are smoother than data, and smooth images are close to everything: in
        pixel space, z can be strongly negative without copies. ``is_copied`` therefore also
        requires that generated rows are closer to training rows than to held-out rows. Held-out
        rows must come from the same source and must not be used for training or model selection. If
        held-out rows contain near-duplicates of training rows, copies are harder to detect; if more
        than 1% of the held-out rows equal a training row, the threshold of ``near_duplicates`` is
        0, and no distance can be below it. With few held-out rows, only gross copying is detected.
        A negative result does not prove that there are no copies: a shifted or mirrored copy is far
        away in pixel space. The features determine what counts as close, so report them with the
        result.

    Arguments:
        generated: The generated rows, with shape (M, D), or (M, ...), flattened to (M, D).
        train: All rows on which the model was trained, with shape (N, D).
        held_out: The rows on which the model was not trained, ideally as many as there are
            generated rows.
        resamples: The number of bootstrap resamples for the standard error.
        seed: The seed for resampling.

    Returns:
        The three tests, and the training row nearest to each generated row.

    Raises:
        VariedError: If the shapes do not match, a value is not finite, or there are fewer than 20
            training, held-out or generated rows.

    Example:
        >>> rows = torch.randn(900, 5, generator=torch.Generator().manual_seed(0))
        >>> memorization(rows[:300], rows[300:600], rows[600:]).is_copied
        False
        >>> memorization(rows[:300] + 0.001, rows[:300], rows[600:]).is_copied
        True
    """
    y, x = as_table_pair(generated, train, ("generated rows", "training rows"))
    h, _ = as_table_pair(held_out, train, ("held-out rows", "training rows"))
    check_enough_rows({"generated": len(y), "training": len(x), "held-out": len(h)})
    held_out_distance = nearest_rows(h, x)[1].numpy()
    index, distance = nearest_rows(y, x)
    near_duplicates = percentile_test(
        distance.numpy(), held_out_distance, 1, resamples, seed, "copies"
    )
    z, z_p = _mann_whitney(distance.numpy(), held_out_distance)
    counts, close_counts = _nearest_counts(y, torch.cat([x, h]), near_duplicates.threshold)
    share, error, p = _share_of_first(counts, len(x))
    p_close = _share_of_first(close_counts, len(x))[2]
    return MemorizationTest(
        near_duplicates=near_duplicates,
        z=z,
        z_p=z_p,
        train_share=Estimate(share, error, len(y)),
        train_share_expected=len(x) / (len(x) + len(h)),
        train_share_p=min(2 * min(p, p_close), 1.0),
        index=index,
        distance=distance,
    )


def _mann_whitney(generated: Floats, held_out: Floats) -> tuple[float, float]:
    """Return the z-score of the Mann-Whitney U statistic and its lower-tail p-value."""
    from scipy import stats

    m, n = len(generated), len(held_out)
    pooled = np.concatenate([generated, held_out])
    _, counts = np.unique(pooled, return_counts=True)
    ties = (counts**3.0 - counts).sum() / ((m + n) * (m + n - 1))
    std = math.sqrt(m * n / 12 * (m + n + 1 - ties))
    if not std:
        return 0.0, 0.5  # all distances are equal
    u = stats.rankdata(pooled)[:m].sum() - m * (m + 1) / 2
    z = float(u - m * n / 2) / std
    return z, float(stats.norm.cdf(z))


def _nearest_counts(y: Tensor, rows: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Count how often each row is nearest to a row of y, in total and within a threshold.

    Equally near rows share a count, so that neither set is favored if values repeat.
    """
    counts, close_counts = torch.zeros(2, len(rows), dtype=torch.float64).unbind()
    for start, chunk in squared_distances(y, rows, ROUNDING):
        part = y[start : start + len(chunk)]
        least = (part - rows[chunk.argmin(1)]).square().sum(1)
        is_nearest = (chunk <= least[:, None]).double()
        weights = 1 / is_nearest.sum(1)
        counts += weights @ is_nearest
        close_counts += (weights * (least.sqrt() <= threshold)) @ is_nearest
    return counts, close_counts


def _share_of_first(counts: Tensor, n: int) -> tuple[float, float, float]:
    r"""Return the share of the counts in the first n rows, with its standard deviation and p-value.

    Let :math:`w_i` be the share of row i, out of N rows. The sum of :math:`w_i` over n rows drawn
    at random without replacement has the variance
    :math:`\frac{n (N - n)}{N (N - 1)} \sum_i (w_i - 1/N)^2`.
    """
    from scipy import stats

    size, total = len(counts), counts.sum()
    if not total:
        return math.nan, math.nan, 1.0
    shares = counts / total
    value = float(shares[:n].sum())
    variance = float((shares - 1 / size).square().sum())
    std = math.sqrt(variance * n * (size - n) / (size * (size - 1)))
    p = float(stats.norm.sf((value - n / size) / std)) if std > TINY else 1.0
    return value, std, p
