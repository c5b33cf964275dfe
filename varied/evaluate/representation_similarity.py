"""How alike the codes of several runs are: of the same rows, by models of different seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate.estimate import Estimate
from varied.seeding import generator, permutation

__all__ = ["Stability", "cka", "mcc", "shared_neighbors", "spread_over_seeds", "stability"]

Array = npt.NDArray[Any]
Measure = Callable[[Tensor, Tensor], float]

#: Blocks of rows that are left out in turn for a standard error.
BLOCKS = 20
#: Resamples for a standard error, and the rows of each: the spread of more rows follows.
RESAMPLES, RESAMPLED = 50, 2000
#: Rows whose neighbors are looked for; among all rows.
ASKED = 2000
CHUNK = 500


@dataclass(frozen=True)
class Stability:
    """How alike several codes of the same rows are; each is the mean over the pairs of codes.

    Errors are over codes (one left out in turn), so they are for models that might have been
    trained in place of these; of two codes there is one pair, and the error is over rows.

    Arguments:
        codes: How many codes were compared.
        cka: Debiased linear CKA: 1 where they are the same but for turning and scale.
        strong: Correlation of units matched one to one: 1 where they are the same units.
        weak: Correlation after the best linear map: 1 where they hold the same linear content.
        neighbors: The share of nearest neighbors in common.
        floor: That share of codes that have nothing to do with each other; the floor of the
            others is 0.
    """

    codes: int
    cka: Estimate
    strong: Estimate
    weak: Estimate
    neighbors: Estimate
    floor: float


def stability(codes: Sequence[Tensor | Array], *, k: int = 10, seed: int = 0) -> Stability:
    """Return how alike several codes of the same rows are, by four measures.

    Arguments:
        codes: Two or more, for instance the posterior means of runs that differ in their seed
            alone, with shapes (N, D); D may differ.
        k: How many neighbors.
        seed: Which rows stand in which block.

    Raises:
        VariedError: If they are fewer than two, or as `cka`, `mcc` and `shared_neighbors`.

    Example:
        >>> a = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
        >>> found = stability([a, a.roll(1, dims=1), -2 * a])
        >>> round(found.cka.value, 6), round(found.strong.value, 6), found.codes
        (1.0, 1.0, 3)
    """
    if len(codes) < 2:
        raise VariedError(f"There is {len(codes)} set of codes: give two or more to compare.")
    tables = [_table(each) for each in codes]

    def over(measure: Callable[[Tensor, Tensor], Estimate]) -> Estimate:
        pairs = combinations(range(len(tables)), 2)
        return _over_codes({(i, j): measure(tables[i], tables[j]) for i, j in pairs}, len(tables))

    return Stability(
        codes=len(codes),
        cka=over(lambda a, b: cka(a, b, seed=seed)),
        strong=over(lambda a, b: mcc(a, b, seed=seed)),
        weak=over(lambda a, b: mcc(a, b, kind="weak", seed=seed)),
        neighbors=over(lambda a, b: shared_neighbors(a, b, k=k, seed=seed)),
        floor=k / (len(tables[0]) - 1),
    )


def _over_codes(pairs: dict[tuple[int, int], Estimate], codes: int) -> Estimate:
    """Return the mean over pairs; two pairs that share a code are not two pieces of news."""
    if codes == 2:
        return next(iter(pairs.values()))
    values = [found.value for found in pairs.values()]
    holds = np.array([[out in pair for pair in pairs] for out in range(codes)])
    left = [np.mean(values, where=~held) for held in holds]
    return Estimate(float(np.mean(values)), _jackknifed(left), next(iter(pairs.values())).n)


def _jackknifed(left: Sequence[Any]) -> float:
    """Return the standard error from the values with one part left out in turn."""
    return float(np.std(left) * math.sqrt(len(left) - 1))


def cka(a: Tensor | Array, b: Tensor | Array, *, seed: int = 0) -> Estimate:
    r"""Return how alike two codes are up to turning and scale: the debiased linear CKA.

    .. math:: \frac{H(A A^\top, B B^\top)}
        {\sqrt{H(A A^\top, A A^\top) \, H(B B^\top, B B^\top)}}

    with H the unbiased estimator of the Hilbert-Schmidt independence criterion. 1 where one is the
    other turned, mirrored, shifted and scaled as a whole; 0 on average where they are independent,
    so it may be a little below. It has no unit.

    References:
        Similarity of Neural Network Representations Revisited (Kornblith et al., 2019),
        https://arxiv.org/abs/1905.00414. Feature Selection via Dependence Maximization (Song et
        al., 2012), https://jmlr.org/papers/v13/song12a.html: the unbiased H.

    Warning:
        The usual figure has the biased H, which rises towards 1 by itself where units are many and
        rows few; this one does not, and the two do not compare. Units of large variance decide it.

    Arguments:
        a: One code, with shape (N, D).
        b: Another of the same rows, with shape (N, E).
        seed: Which rows stand in which block.

    Returns:
        The figure; its error is over rows, of which blocks are left out in turn.

    Raises:
        VariedError: If the shapes do not fit, a number is not finite, or rows are too few.

    Example:
        >>> a = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> round(cka(a, 3 * a.flip(1) + 1).value, 9)
        1.0
    """
    return _over_rows(_cka, *_pair(a, b), seed)


def _cka(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(0), b - b.mean(0)
    # At one scale, so that no square is too small or too large.
    a, b = a / a.norm(), b / b.norm()
    own = _dependence(a, a) * _dependence(b, b)
    if not own > 0:
        raise VariedError("These rows are too few to tell codes of so many units: give more.")
    return _dependence(a, b) / math.sqrt(own)


def _dependence(a: Tensor, b: Tensor) -> float:
    """Return the unbiased H of linear kernels, times n (n - 3), of centered rows.

    The sums of a centered kernel are 0, so those of a kernel with an empty diagonal follow from
    the diagonal alone, and no kernel is ever written down.
    """
    n = len(a)
    da, db = a.square().sum(1), b.square().sum(1)
    both = da @ db
    trace = (a.T @ b).square().sum() - both
    return float(trace + da.sum() * db.sum() / ((n - 1) * (n - 2)) - 2 * both / (n - 2))


def mcc(a: Tensor | Array, b: Tensor | Array, *, kind: str = "strong", seed: int = 0) -> Estimate:
    r"""Return how alike the units of two codes are: the mean correlation of matched pairs.

    .. math:: \frac1{\min(D, E)} \sum_j s_j \, \mathrm{corr}(a_j, b_{\pi(j)})

    "strong" matches units one to one, by the best matching :math:`\pi`, and forgives their sign s
    and scale: 1 says that both models found the same units. "weak" lets a linear map come
    first, by canonical correlations: 1 says that each is a linear map of the other. Both are found
    on one half of the rows and told on the other, and again the other way round.

    References:
        ICE-BeeM: Identifiable Conditional Energy-Based Deep Models Based on Nonlinear ICA
        (Khemakhem et al., 2020), https://arxiv.org/abs/2002.11537: strong and weak.

    Warning:
        Others match and tell on the same rows, so that codes which have nothing to do with each
        other score well above 0 where rows are few; here they score 0 on average. A unit that is
        constant correlates with nothing. Silent units, whose means hardly move, count as much as
        active ones: to leave them out give `codes[:, is_active(codes)]`.

    Arguments:
        a: One code, with shape (N, D).
        b: Another of the same rows, with shape (N, E).
        kind: "strong" or "weak".
        seed: Which rows stand in which half, and which resamples.

    Returns:
        The figure; its error is over rows.

    Raises:
        VariedError: As `cka`, or if there is no such kind.

    Example:
        >>> a = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> round(mcc(a, -a.flip(1)).value, 9)
        1.0
    """
    if kind not in ("strong", "weak"):
        raise VariedError(f"kind='{kind}': choose from strong, weak.")
    first, second = _pair(a, b)
    units = max(first.shape[1], second.shape[1])
    if kind == "weak" and len(first) < 4 * units:
        raise VariedError(
            f"{len(first)} rows are too few for a linear map of {units} units: give "
            f"{4 * units} or more, or kind='strong'."
        )
    if kind == "weak":
        return _over_rows(_mapped, first, second, seed)
    order = permutation(len(first), seed, "blocks")
    return _over_draws(_matched, first[order], second[order], seed)


def _matched(a: Tensor, b: Tensor) -> float:
    from scipy.optimize import linear_sum_assignment

    halves = [_unit(a[half::2]).T @ _unit(b[half::2]) for half in (0, 1)]
    found = []
    for learn, tell in (halves, halves[::-1]):  # tables of correlations
        rows, columns = linear_sum_assignment(-learn.abs().numpy())
        found.append((learn.sign() * tell)[rows, columns].mean())
    return float(torch.stack(found).mean())


def _unit(rows: Tensor) -> Tensor:
    """Return columns of mean 0 and length 1; of a constant, 0."""
    centered, size = _centered(rows)
    return centered / size


def _centered(rows: Tensor) -> tuple[Tensor, Tensor]:
    centered = rows - rows.mean(0)
    size = centered.norm(dim=0)
    # What is left of a constant by rounding is no variation: by this size it becomes 0.
    still = size <= 1e-12 * rows.norm(dim=0)
    return centered, torch.where(still, math.inf, size)


def _mapped(a: Tensor, b: Tensor) -> float:
    halves = (a[::2], b[::2]), (a[1::2], b[1::2])
    found = []
    for learn, tell in (halves, halves[::-1]):
        maps = _canonical(*learn)
        pairs = _unit(tell[0] @ maps[0]) * _unit(tell[1] @ maps[1])
        found.append(pairs.sum(0).sum() / min(a.shape[1], b.shape[1]))
    return float(torch.stack(found).mean())


def _canonical(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the linear maps of both to pairs of units that correlate as much as can be."""
    (white_a, map_a), (white_b, map_b) = _white(a), _white(b)
    u, _, v = torch.linalg.svd(white_a.T @ white_b, full_matrices=False)
    return map_a @ u, map_b @ v.T


def _white(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows with orthonormal columns, and the map to them; constant directions are left."""
    centered, size = _centered(rows)
    u, s, v = torch.linalg.svd(centered / size, full_matrices=False)
    kept = s > 1e-10 * s[0]
    return u[:, kept], v[kept].T / s[kept] / size[:, None]


def shared_neighbors(
    a: Tensor | Array, b: Tensor | Array, *, k: int = 10, seed: int = 0
) -> Estimate:
    """Return the share of the k nearest rows of a row that are the same in both codes.

    1 where each row has the same neighbors, k / (N - 1) on average where the codes have nothing
    to do with each other. The mean is over 2,000 rows, chosen at random; neighbors are looked for
    among all.

    References:
        The Effects of Randomness on the Stability of Node Embeddings (Schumacher et al., 2020),
        https://arxiv.org/abs/2005.10039

    Arguments:
        a: One code, with shape (N, D).
        b: Another of the same rows, with shape (N, E).
        k: How many neighbors, by the Euclidean distance of the codes as they are.
        seed: Which rows.

    Returns:
        The share; its error is over rows.

    Raises:
        VariedError: As `cka`, or if k is not from 1 to N - 2.

    Example:
        >>> a = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
        >>> shared_neighbors(a, 5 - 2 * a).value
        1.0
    """
    first, second = (table - table.mean(0) for table in _pair(a, b))
    if not 1 <= k <= len(first) - 2:
        raise VariedError(f"k={k} must lie between 1 and the number of rows less 2.")
    found = []
    for rows in permutation(len(first), seed, "asked")[:ASKED].split(CHUNK):
        near = torch.zeros(2, len(rows), len(first), dtype=torch.bool)
        near[0].scatter_(1, _nearest(first, rows, k), True)
        near[1].scatter_(1, _nearest(second, rows, k), True)
        found.append(near.all(0).sum(1).double() / k)
    return Estimate.of(torch.cat(found))


def _nearest(codes: Tensor, rows: Tensor, k: int) -> Tensor:
    """Return the k nearest other rows of some rows."""
    apart = torch.cdist(codes[rows], codes)
    apart[torch.arange(len(rows)), rows] = math.inf
    return apart.topk(k, largest=False).indices


def spread_over_seeds(values: Sequence[float | Estimate]) -> Estimate:
    """Return the mean of one figure of several runs that differ in their seed, with its error.

    This is the error that counts for "this method is better than that one": that of a single run
    leaves out what another seed would have given.

    Warning:
        The error is itself uncertain, by a third with five seeds.

    Arguments:
        values: The figure of each run; of an `Estimate` the value counts.

    Returns:
        The mean, its standard error, and the number of runs; times the root of that number, the
        error is the spread of single runs.

    Raises:
        VariedError: If there are fewer than two, or one is not finite.

    Example:
        >>> print(spread_over_seeds([90.0, 92.0, 91.0, 91.0]))
        91.00 ± 0.41
    """
    plain = [float(v.value if isinstance(v, Estimate) else v) for v in values]
    if len(plain) < 2 or not all(math.isfinite(v) for v in plain):
        raise VariedError(f"Figures of two runs or more are wanted, all finite, not {plain}.")
    return Estimate.of(torch.tensor(plain, dtype=torch.float64))


def _over_rows(measure: Measure, a: Tensor, b: Tensor, seed: int) -> Estimate:
    """Return a measure of all rows, with its error by leaving out blocks of them in turn."""
    n = len(a)
    order = permutation(n, seed, "blocks")
    a, b = a[order], b[order]
    # A block holds as many rows of the one half as of the other.
    block = torch.arange(n) // 2 % min(BLOCKS, n // 4)
    left = [measure(a[block != out], b[block != out]) for out in range(int(block.max()) + 1)]
    return Estimate(measure(a, b), _jackknifed(left), n)


def _over_draws(measure: Measure, a: Tensor, b: Tensor, seed: int) -> Estimate:
    """Return a measure of all rows, with its error over resamples of either half.

    A matching jumps, and so do figures with a block left out: what they say is far too much.
    """
    n = len(a)
    taken = min(n, RESAMPLED) // 2 * 2
    half = torch.arange(taken) % 2
    drawn = []
    for index in range(RESAMPLES):
        noise = generator(seed, "matching", index)
        rows = 2 * torch.randint(n // 2, (taken,), generator=noise) + half
        drawn.append(measure(a[rows], b[rows]))
    return Estimate(measure(a, b), float(np.std(drawn, ddof=1)) * math.sqrt(taken / n), n)


def _pair(a: Tensor | Array, b: Tensor | Array) -> tuple[Tensor, Tensor]:
    first, second = _table(a), _table(b)
    if len(first) != len(second):
        raise VariedError(
            f"One code has {len(first):,} rows and the other {len(second):,}: give both of the "
            "same rows, in the same order."
        )
    return first, second


def _table(given: Tensor | Array) -> Tensor:
    rows = given.detach().cpu() if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
    if rows.ndim != 2 or len(rows) < 20 or not rows.numel():
        raise VariedError(
            f"Codes of shape {tuple(rows.shape)} do not compare: give a table, a row for each "
            "datum, of 20 rows at least."
        )
    rows = rows.double()
    if not rows.isfinite().all():
        raise VariedError("The codes hold NaN or infinity: leave those rows out.")
    if not (rows - rows[0]).any():
        raise VariedError("The codes are the same for all rows, so they compare with nothing.")
    return rows
