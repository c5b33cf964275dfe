"""Precision, recall, density and coverage of generated rows with respect to real rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate._checks import as_table_pair
from varied.evaluate._resampling import sample_std
from varied.evaluate._types import Data, Floats, Ints
from varied.evaluate.distances import ROUNDING, nearest_others, squared_distances
from varied.evaluate.estimate import Estimate
from varied.seeding import permutation

#: The default number of neighbors.
NEIGHBORS = 5
#: The maximum number of rows in a subsample for the standard errors.
MAX_SUBSAMPLE = 1000


@dataclass(frozen=True)
class PRDC:
    """Precision, recall, density and coverage.

    The radius of the ball around a row is the distance to its k-th nearest neighbor in the same
    sample.

    Arguments:
        precision: The fraction of generated rows that lie in the ball around any real row.
        recall: The fraction of real rows that lie in the ball around any generated row.
        density: The mean number of balls around real rows that contain a generated row, divided by
            k; it is about 1 for real samples, and above 1 if samples concentrate near modes.
        coverage: The fraction of real rows whose ball contains a generated row.
        k: The number of neighbors that defines the radius of a ball.
    """

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate
    k: int


def prdc(
    real: Data, generated: Data, *, k: int = NEIGHBORS, resamples: int = 20, seed: int = 0
) -> PRDC:
    r"""Return precision, recall, density and coverage of generated rows with respect to real rows.

    .. math::
        B_i = \{a : |a - x_i| \le r_i\}, \qquad
        \text{density} = \frac{1}{kM} \sum_{j=1}^{M} \sum_{i=1}^{N} [y_j \in B_i], \qquad
        \text{coverage} = \frac1N \sum_{i=1}^{N} [\exists j : y_j \in B_i]

    where :math:`r_i` is the distance from the real row :math:`x_i` to its k-th nearest other real
    row. Precision is the fraction of generated rows :math:`y_j` that lie in any :math:`B_i`; recall
    is the same with the two samples swapped. All pairs are compared in float64. Distances that
    differ only due to rounding are considered equal, so that duplicated rows cover each other.

    The standard errors are computed from random subsamples, which are half of each sample, or a
    smaller fraction such that neither has more than 1,000 rows. They are rescaled to the full
    sample sizes. A bootstrap would be wrong, because it duplicates rows, and the nearest neighbor
    of a duplicated row is its copy.

    References:
        Improved Precision and Recall Metric for Assessing Generative Models (Kynkäänniemi et al.,
        2019), https://arxiv.org/abs/1904.06991, for precision and recall. Reliable Fidelity and
        Diversity Metrics for Generative Models (Naeem et al., 2020),
        https://arxiv.org/abs/2002.09797, for density and coverage.

    Warning:
        All four metrics depend on the features, on k and on the sizes of both samples: compare only
        values for which these are the same. For two samples from the same distribution, precision
        and recall are below 1 (and decrease with the dimension), density is 1, and coverage is
        about :math:`1 - 2^{-k}` if both samples have the same number of rows. The ball around a
        real outlier is large, which increases the precision; density and coverage are more robust.

    Arguments:
        real: The features of real rows, with shape (N, D).
        generated: The same features of generated rows, with shape (M, D).
        k: The number of neighbors that defines the radius of a ball.
        resamples: The number of subsamples for the standard errors.
        seed: The seed for subsampling.

    Returns:
        The four metrics. Density is non-negative; the others are in [0, 1].

    Raises:
        VariedError: If the shapes do not match, a value is not finite, or there are fewer than
            k + 1 rows.

    Example:
        >>> import torch
        >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> result = prdc(x, x)
        >>> result.precision.value, result.recall.value, result.coverage.value
        (1.0, 1.0, 1.0)
        >>> prdc(x, x + 100.0).density.value
        0.0
    """
    x, y = as_table_pair(real, generated, ("real rows", "generated rows"))
    if not 1 <= k <= min(len(x), len(y)) - 1:
        raise VariedError(
            f"k={k} must be at least 1 and less than the number of rows; there are {len(x):,} real "
            f"and {len(y):,} generated rows."
        )
    sizes = (len(y), len(x), len(y), len(x))
    columns = zip(_metrics(x, y, k), _errors(x, y, k, resamples, seed), sizes, strict=True)
    precision, recall, density, coverage = (Estimate(float(v), float(e), n) for v, e, n in columns)
    return PRDC(precision, recall, density, coverage, k)


def _metrics(x: Tensor, y: Tensor, k: int) -> Floats:
    """Return precision, recall, density and coverage, with shape (4)."""
    balls_per_row, rows_per_ball = _count_members(x, _squared_radii(x, k), y)
    balls_per_real_row, _ = _count_members(y, _squared_radii(y, k), x)
    counts = (balls_per_row, balls_per_real_row, rows_per_ball)
    precision, recall, coverage = ((count > 0).mean() for count in counts)
    return np.array([precision, recall, balls_per_row.mean() / k, coverage])


def _squared_radii(rows: Tensor, k: int) -> Tensor:
    return nearest_others(rows, k)[0][:, -1]


def _count_members(centers: Tensor, radii: Tensor, rows: Tensor) -> tuple[Ints, Ints]:
    """Return the number of balls that contain each row, and the number of rows in each ball."""
    per_row, per_ball = [], np.zeros(len(centers), dtype=np.int64)
    for _, chunk in squared_distances(rows, centers, ROUNDING):
        inside = (chunk <= radii).numpy()  # NumPy counts ten times as fast as PyTorch
        per_row.append(inside.sum(1))
        per_ball += inside.sum(0)
    return np.concatenate(per_row), per_ball


def _errors(x: Tensor, y: Tensor, k: int, resamples: int, seed: int) -> Floats:
    """Return the standard errors of the metrics, from subsamples drawn without replacement."""
    fraction = min(0.5, MAX_SUBSAMPLE / max(len(x), len(y)))
    sizes = [int(fraction * len(rows)) for rows in (x, y)]
    if resamples < 2 or min(sizes) <= k:
        return np.full(4, math.nan)
    values = []
    for index in range(resamples):
        real, generated = (
            permutation(len(rows), seed, f"parts of {name} rows", index)[:size]
            for rows, name, size in ((x, "real", sizes[0]), (y, "made", sizes[1]))
        )
        values.append(_metrics(x[real], y[generated], k))
    # Since subsamples overlap, their variance is too low; since they are smaller, it is too high.
    errors: Floats = sample_std(values) * math.sqrt(fraction / (1 - fraction))
    return errors
