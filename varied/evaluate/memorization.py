"""Whether samples repeat the training data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate.distances import ROUNDING, pair, squares, to_nearest
from varied.evaluate.estimate import Estimate
from varied.seeding import generator

__all__ = ["CLOSE", "LEVEL", "MemorizationTest", "memorization"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

#: The share of held-out rows that count as close to a training row.
CLOSE = 0.01

#: How often samples that are no copies may be flagged, at most.
LEVEL = 0.01

#: Fewer rows than these tell nothing of the 1 % that are closest.
LEAST = 20

#: A spread below this is rounding: each row owns as much as any other.
TINY = 1e-9


@dataclass(frozen=True)
class MemorizationTest:
    """How near made rows are to training rows, beside held-out rows, which are no copies.

    Arguments:
        share: The share of made rows that are closer to a training row than all but the closest
            1 % of the held-out rows are.
        expected: What this share is on average where nothing is copied.
        share_p: How likely so large a share is where nothing is copied; exact.
        z: The statistic of Meehan et al.: below 0 where made rows are closer to training rows than
            held-out rows are, above 0 where they are further away.
        z_p: How likely so low a z is where nothing is copied.
        nearer: The share of made rows that are nearer to a training row than to any held-out row.
        nearer_expected: What this share is on average where nothing is copied.
        nearer_p: How likely so large a share is where nothing is copied, of all made rows or of
            those that are close to either set, whichever is less likely, times 2.
        index: The nearest training row of each made row, int64 with shape (M).
        distance: How far it is, float64 with shape (M).
    """

    share: Estimate
    expected: float
    share_p: float
    z: float
    z_p: float
    nearer: Estimate
    nearer_expected: float
    nearer_p: float
    index: Tensor = field(compare=False, repr=False)
    distance: Tensor = field(compare=False, repr=False)

    @property
    def close(self) -> bool:
        """Whether made rows are closer to the training rows than held-out rows are."""
        return 2 * min(self.share_p, self.z_p) < LEVEL

    @property
    def copied(self) -> bool:
        """Whether they are close, and favor the training rows over rows never trained on."""
        return self.close and self.nearer_p < LEVEL

    @property
    def warning(self) -> str | None:
        """What a person should know before showing the samples, if anything."""
        if self.copied:
            return (
                f"Samples repeat training rows: {100 * self.share.value:.1f} % are closer to one "
                f"than all but {100 * self.expected:.1f} % of held-out rows are; look at the "
                "closest pairs, and train for less long or on more data."
            )
        if self.close:
            return (
                "Samples are closer to the training rows than held-out rows are, but as close to "
                "held-out rows: they are smooth, or few of a kind, and no copies as far as this "
                "can tell; compare them in features rather than pixels."
            )
        return None


def memorization(
    made: Tensor | Array,
    training: Tensor | Array,
    held_out: Tensor | Array,
    *,
    resamples: int = 200,
    seed: int = 0,
) -> MemorizationTest:
    r"""Return whether made rows are closer to the training rows than rows never seen are.

    Three figures of the distances L to the nearest training row, each with its p-value.

    The share of made rows whose L is below the r-th smallest of the n held-out rows, with r the
    whole part of (n + 1) / 100 and 1 at least; r / (n + 1) is expected, and the p-value follows
    exactly from the hypergeometric distribution of ranks. The Mann-Whitney U of all distances,

    .. math:: z = \frac{U - mn/2}{\sigma_U}, \qquad
        U = \sum_{j=1}^{m} \sum_{i=1}^{n} [L(y_j) > L(x_i)] + \tfrac12 [L(y_j) = L(x_i)]

    with :math:`\sigma_U` for ties. And the share of made rows that are nearer to a training row
    than to any held-out one: training rows and held-out rows could be exchanged if nothing were
    learnt by heart, however smooth the samples are, so its p-value is that of the permutations.

    References:
        A Non-Parametric Test to Detect Data-Copying in Generative Models (Meehan et al., 2020),
        https://arxiv.org/abs/2004.05675: z, of one cell, the whole space.

    Warning:
        Samples of a VAE are smoother than data, and what is smooth is near to everything: in
        pixels, an honest model can have a z far below 0. So `copied` also asks whether made rows
        favor the training rows over the held-out ones. The held-out rows must be from the same
        source, no part of the training and of no use in choosing the model; near-duplicates of
        training rows among them hide copies, and where over 1 % of them equal a training row, no
        made row can be closer. Few held-out rows find only gross copying, and to find nothing is
        no proof: a copy that is shifted or mirrored is far away in pixels. Which space the rows
        are in decides what near means: say it beside the figure.

    Arguments:
        made: What the model made, with shape (M, D), or (M, ...), which is flattened.
        training: The rows that it was trained on, all of them, with shape (N, D).
        held_out: Rows that it never saw; as many as made rows serve best.
        resamples: Bootstrap resamples of the distances for the standard error of the share.
        seed: Which resamples.

    Returns:
        The three figures, and the nearest training row of each made row.

    Raises:
        VariedError: If the shapes do not fit, a number is not finite, or there are fewer than 20
            made, training or held-out rows.

    Example:
        >>> rows = torch.randn(900, 5, generator=torch.Generator().manual_seed(0))
        >>> memorization(rows[:300], rows[300:600], rows[600:]).copied
        False
        >>> memorization(rows[:300] + 0.001, rows[:300], rows[600:]).copied
        True
    """
    y, x = pair(made, training, ("made", "training"))
    h, _ = pair(held_out, training, ("held-out", "training"))
    for rows, name in ((y, "made"), (x, "training"), (h, "held-out")):
        if len(rows) < LEAST:
            raise VariedError(
                f"{len(rows)} {name} rows are too few to tell a copy: give {LEAST} at least, "
                "and some hundreds for a test that finds a few."
            )
    rank = max(math.floor(CLOSE * (len(h) + 1)), 1)
    of_held = to_nearest(h, x)[1].numpy()
    edge = float(np.sort(of_held)[rank - 1])
    index, of_all, of_close = _owned(y, x, h, edge)
    distance = (y - x[index]).norm(dim=1)
    share, share_p = _closer(distance.numpy(), of_held, rank, resamples, seed)
    z, z_p = _ranked(distance.numpy(), of_held)
    value, error, p = _favored(of_all, len(x))
    p_close = _favored(of_close, len(x))[2]
    return MemorizationTest(
        share=share,
        expected=rank / (len(h) + 1),
        share_p=share_p,
        z=z,
        z_p=z_p,
        nearer=Estimate(value, error, len(y)),
        nearer_expected=len(x) / (len(x) + len(h)),
        nearer_p=min(2 * min(p, p_close), 1.0),
        index=index,
        distance=distance,
    )


def _closer(
    made: Floats, held: Floats, rank: int, resamples: int, seed: int
) -> tuple[Estimate, float]:
    """Return the share of made rows below that rank of held-out ones, and its p-value."""
    m, n = len(made), len(held)
    closer = int((made < np.sort(held)[rank - 1]).sum())
    # So many made rows come before the rank if, of the first `closer + rank - 1` of all, fewer
    # than `rank` are held out; any order of all is as likely as any other.
    p = stats.hypergeom.cdf(rank - 1, m + n, n, closer + rank - 1) if closer else 1.0
    drawn = []
    for index in range(resamples):
        noise = generator(seed, "copies", index)
        rows = torch.randint(m, (m,), generator=noise).numpy()
        edge = np.sort(held[torch.randint(n, (n,), generator=noise).numpy()])[rank - 1]
        drawn.append((made[rows] < edge).mean())
    spread = float(np.std(drawn, ddof=1)) if resamples > 1 else math.nan
    return Estimate(closer / m, spread, m), float(p)


def _ranked(made: Floats, held: Floats) -> tuple[float, float]:
    """Return the z of Mann and Whitney's U, and how likely one so low is."""
    m, n = len(made), len(held)
    pooled = np.concatenate([made, held])
    _, times = np.unique(pooled, return_counts=True)
    ties = (times**3.0 - times).sum() / ((m + n) * (m + n - 1))
    spread = math.sqrt(m * n / 12 * (m + n + 1 - ties))
    if not spread:
        return 0.0, 0.5  # all are as far away: neither closer nor further
    u = stats.rankdata(pooled)[:m].sum() - m * (m + 1) / 2
    z = float(u - m * n / 2) / spread
    return z, float(stats.norm.cdf(z))


def _owned(y: Tensor, x: Tensor, h: Tensor, edge: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the nearest row of x to each y, and how many of y each row of x and h is nearest to.

    These are counted twice: of all rows of y, and of those closer to either set than the edge. Rows
    that are equally near share: else one of the two sets would be favored where values repeat.
    """
    both, index = torch.cat([x, h]), []
    of_all, of_close = torch.zeros(2, len(both), dtype=torch.float64).unbind()
    for start, chunk in squares(y, both, ROUNDING):
        some = y[start : start + len(chunk)]
        least = (some - both[chunk.argmin(1)]).square().sum(1)
        equal = (chunk <= least[:, None]).double()
        each = 1 / equal.sum(1)
        of_all += each @ equal
        of_close += (each * (least.sqrt() <= edge)) @ equal
        index.append(chunk[:, : len(x)].argmin(1))
    return torch.cat(index), of_all, of_close


def _favored(owned: Tensor, n: int) -> tuple[float, float, float]:
    r"""Return the share that the first n rows own, its spread if none is favored, and its p-value.

    With w the share that each of N rows owns, the sum of w over n of these, drawn without repeats,
    has the variance :math:`\frac{n (N - n)}{N (N - 1)} \sum (w - 1/N)^2`.
    """
    both, total = len(owned), owned.sum()
    if not total:
        return math.nan, math.nan, 1.0
    shares = owned / total
    value = float(shares[:n].sum())
    uneven = float((shares - 1 / both).square().sum())
    spread = math.sqrt(uneven * n * (both - n) / (both * (both - 1)))
    p = float(stats.norm.sf((value - n / both) / spread)) if spread > TINY else 1.0
    return value, spread, p
