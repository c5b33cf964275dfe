"""What nearest neighbors tell: whether samples lie among the data, fill them, or repeat them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate.distances import ROUNDING, nearest, pair, squares
from varied.evaluate.estimate import Estimate
from varied.evaluate.memorization import MemorizationTest, memorization
from varied.seeding import permutation

__all__ = ["CLOSEST", "PRDC", "MemorizationTest", "memorization", "nearest", "prdc"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

#: How many neighbors reach to the edge of the ball around a row.
CLOSEST = 5

#: Rows of one part for the standard errors: the spread of more rows follows from theirs.
DRAWN = 1000


@dataclass(frozen=True)
class PRDC:
    """How two samples lie among each other, by the balls around their rows.

    Arguments:
        precision: The share of made rows that lie in a ball of a real row.
        recall: The share of real rows that lie in a ball of a made row.
        density: How many balls of real rows hold a made row, over k; about 1 where samples are
            real, and above 1 where they crowd at modes.
        coverage: The share of real rows whose ball holds a made row.
        k: How many neighbors reach to the edge of a ball.
    """

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate
    k: int


def prdc(
    real: Tensor | Array,
    made: Tensor | Array,
    *,
    k: int = CLOSEST,
    resamples: int = 20,
    seed: int = 0,
) -> PRDC:
    r"""Return precision, recall, density and coverage of made rows among real ones.

    .. math::
        B_i = \{a : |a - x_i| \le r_i\}, \qquad
        \text{density} = \frac{1}{kM} \sum_{j=1}^{M} \sum_{i=1}^{N} [y_j \in B_i], \qquad
        \text{coverage} = \frac1N \sum_{i=1}^{N} [\exists j : y_j \in B_i]

    with :math:`r_i` the distance from the real row :math:`x_i` to its k-th nearest other real row.
    Precision is the share of made rows :math:`y_j` in any :math:`B_i`; recall is the same with the
    two sets in each other's place. All pairs are compared, in float64; distances that differ by
    rounding alone count as equal, so that rows which occur many times cover each other.

    The standard errors come from random halves of both sets (or parts of at most 1,000 rows), whose
    spread is that of the whole: a bootstrap would not do, for it repeats rows, and a repeated row
    has itself for a neighbor.

    References:
        Improved Precision and Recall Metric for Assessing Generative Models (Kynkäänniemi et al.,
        2019), https://arxiv.org/abs/1904.06991: precision and recall. Reliable Fidelity and
        Diversity Metrics for Generative Models (Naeem et al., 2020),
        https://arxiv.org/abs/2002.09797: density and coverage.

    Warning:
        They depend on the features, on k, and on both numbers of rows: compare figures alone that
        share all of these. Two samples of one distribution have precision and recall below 1 (and
        the lower, the more dimensions there are), density 1, and coverage about
        :math:`1 - 2^{-k}` where there are as many rows of each. One outlier among the real rows has
        a large ball, which raises precision; density and coverage suffer less.

    Arguments:
        real: Features of real rows, with shape (N, D).
        made: Features of made rows by the same net, with shape (M, D).
        k: How many neighbors reach to the edge of a ball.
        resamples: How many parts are drawn for the standard errors.
        seed: Which parts.

    Returns:
        The four figures; all lie between 0 and 1 but for the density, from 0 up.

    Raises:
        VariedError: If the shapes do not fit, a number is not finite, or there are fewer than
            k + 1 rows.

    Example:
        >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> found = prdc(x, x)
        >>> found.precision.value, found.recall.value, found.coverage.value
        (1.0, 1.0, 1.0)
        >>> prdc(x, x + 100.0).density.value
        0.0
    """
    x, y = pair(real, made, ("real", "made"))
    if not 1 <= k <= min(len(x), len(y)) - 1:
        raise VariedError(
            f"k={k} does not suit {len(x):,} real and {len(y):,} made rows: "
            "give k from 1 up, and k + 1 rows of each at least."
        )
    sizes = (len(y), len(x), len(y), len(x))
    found = zip(_figures(x, y, k), _errors(x, y, k, resamples, seed), sizes, strict=True)
    precision, recall, density, coverage = (Estimate(float(v), float(e), n) for v, e, n in found)
    return PRDC(precision, recall, density, coverage, k)


def _figures(x: Tensor, y: Tensor, k: int) -> Floats:
    """Return precision, recall, density and coverage, with shape (4)."""
    per_row, per_ball = _held(x, _radii(x, k), y)
    of_real, _ = _held(y, _radii(y, k), x)
    precision, recall, coverage = ((held > 0).mean() for held in (per_row, of_real, per_ball))
    return np.array([precision, recall, per_row.mean() / k, coverage])


def _radii(rows: Tensor, k: int) -> Tensor:
    """Return the squared distance of each row to its k-th nearest other row, with shape (N)."""
    found = []
    for start, chunk in squares(rows, rows):
        place = torch.arange(len(chunk))
        chunk[place, start + place] = math.inf  # no row is a neighbor of its own
        found.append(chunk.topk(k, largest=False).values[:, -1])
    return torch.cat(found)


def _held(centers: Tensor, radii: Tensor, rows: Tensor) -> tuple[Whole, Whole]:
    """Return in how many balls each row lies, with shape (M), and how many each holds, (N)."""
    per_row, per_ball = [], np.zeros(len(centers), dtype=np.int64)
    for _, chunk in squares(rows, centers, ROUNDING):
        inside = (chunk <= radii).numpy()  # it counts ten times as fast as torch
        per_row.append(inside.sum(1))
        per_ball += inside.sum(0)
    return np.concatenate(per_row), per_ball


def _errors(x: Tensor, y: Tensor, k: int, resamples: int, seed: int) -> Floats:
    """Return the standard errors of the four, from parts of both sets drawn without repeats."""
    part = min(0.5, DRAWN / max(len(x), len(y)))
    taken = [int(part * len(rows)) for rows in (x, y)]
    if resamples < 2 or min(taken) <= k:
        return np.full(4, math.nan)
    found = []
    for index in range(resamples):
        of_real, of_made = (
            permutation(len(rows), seed, f"parts of {name} rows", index)[:size]
            for rows, name, size in ((x, "real", taken[0]), (y, "made", taken[1]))
        )
        found.append(_figures(x[of_real], y[of_made], k))
    # Parts of one set share rows, and fewer rows spread more: at a half the two make 1.
    spread: Floats = np.std(found, axis=0, ddof=1) * math.sqrt(part / (1 - part))
    return spread
