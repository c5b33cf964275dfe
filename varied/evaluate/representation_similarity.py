"""Similarity of the codes of several models, such as runs with different seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate._checks import as_table, check_same_length
from varied.evaluate._resampling import jackknife_std, sample_std
from varied.evaluate._types import Data
from varied.evaluate.distances import nearest_others
from varied.evaluate.estimate import Estimate
from varied.seeding import generator, permutation

Statistic = Callable[[Tensor, Tensor], float]

#: The minimum number of rows.
MIN_ROWS = 20
#: The number of blocks of rows for jackknife standard errors.
BLOCKS = 20
#: The number of resamples for bootstrap standard errors, and the maximum number of rows in each.
RESAMPLES, MAX_RESAMPLED = 50, 2000
#: The maximum number of rows whose neighbors are compared.
MAX_QUERIES = 2000
CHUNK = 500


@dataclass(frozen=True)
class Stability:
    """The similarity of several sets of codes of the same rows, averaged over pairs of sets.

    Standard errors are computed over the sets of codes with the jackknife, so they account for the
    variation between trained models. If there are only two sets, there is a single pair, and the
    standard errors are computed over rows.

    Arguments:
        n_codes: The number of sets of codes.
        cka: The debiased linear CKA; 1 if the codes are equal up to rotation and scale.
        mcc: The mean correlation of matched units; 1 if the units are the same.
        weak_mcc: The mean correlation after the best linear maps; 1 if each set of codes is a
            linear map of the other.
        shared_neighbors: The fraction of shared nearest neighbors.
        chance: The fraction of neighbors that unrelated codes share; the chance level of the
            other metrics is 0.
    """

    n_codes: int
    cka: Estimate
    mcc: Estimate
    weak_mcc: Estimate
    shared_neighbors: Estimate
    chance: float


def stability(codes: Sequence[Data], *, k: int = 10, seed: int = 0) -> Stability:
    """Return the similarity of several sets of codes of the same rows, measured by four metrics.

    Arguments:
        codes: Two or more sets of codes, for instance the posterior means of runs with different
            seeds, with shapes (N, D); D may differ.
        k: The number of neighbors.
        seed: The seed for assigning blocks and resampling.

    Raises:
        VariedError: As for `cka`, `mcc` and `shared_neighbors`, or if there are fewer than two
            sets of codes.

    Example:
        >>> a = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
        >>> result = stability([a, a.roll(1, dims=1), -2 * a])
        >>> round(result.cka.value, 6), round(result.mcc.value, 6), result.n_codes
        (1.0, 1.0, 3)
    """
    if len(codes) < 2:
        raise VariedError(f"Stability requires at least two sets of codes, got {len(codes)}.")
    tables = [_code_table(table) for table in codes]

    def over_pairs(metric: Callable[[Tensor, Tensor], Estimate]) -> Estimate:
        pairs = combinations(range(len(tables)), 2)
        return _mean_over_pairs({(i, j): metric(tables[i], tables[j]) for i, j in pairs})

    return Stability(
        n_codes=len(codes),
        cka=over_pairs(lambda a, b: cka(a, b, seed=seed)),
        mcc=over_pairs(lambda a, b: mcc(a, b, seed=seed)),
        weak_mcc=over_pairs(lambda a, b: mcc(a, b, kind="weak", seed=seed)),
        shared_neighbors=over_pairs(lambda a, b: shared_neighbors(a, b, k=k, seed=seed)),
        chance=k / (len(tables[0]) - 1),
    )


def _mean_over_pairs(pairs: dict[tuple[int, int], Estimate]) -> Estimate:
    """Return the mean over pairs, with a standard error that is computed over sets of codes."""
    first, values = next(iter(pairs.values())), [estimate.value for estimate in pairs.values()]
    if len(pairs) == 1:
        return first
    n_codes = 1 + max(map(max, pairs))
    contains = np.array([[code in pair for pair in pairs] for code in range(n_codes)])
    left_out = [float(np.mean(values, where=~mask)) for mask in contains]
    return Estimate(float(np.mean(values)), jackknife_std(left_out), first.n)


def cka(a: Data, b: Data, *, seed: int = 0) -> Estimate:
    r"""Return the debiased linear CKA, the similarity of codes up to rotation and scale.

    .. math:: \frac{H(A A^\top, B B^\top)}
        {\sqrt{H(A A^\top, A A^\top) \, H(B B^\top, B B^\top)}}

    where H is the unbiased estimator of the Hilbert-Schmidt independence criterion. CKA is 1 if one
    set of codes is obtained from the other by rotation, reflection, translation and uniform
    scaling. Its expectation is 0 for independent codes, so it can be slightly negative.

    References:
        Similarity of Neural Network Representations Revisited (Kornblith et al., 2019),
        https://arxiv.org/abs/1905.00414. Feature Selection via Dependence Maximization (Song et
        al., 2012), https://jmlr.org/papers/v13/song12a.html, for the unbiased H.

    Warning:
        The common estimator of CKA uses a biased H and tends to 1 for many units and few rows; the
        two estimators are not comparable. Units with a large variance dominate.

    Arguments:
        a: The codes of one model, with shape (N, D).
        b: The codes of another model for the same rows, with shape (N, E).
        seed: The seed for assigning rows to blocks.

    Returns:
        The similarity; its standard error is computed with a block jackknife over rows.

    Raises:
        VariedError: If the shapes do not match, a value is not finite, or there are too few rows.

    Example:
        >>> a = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> round(cka(a, 3 * a.flip(1) + 1).value, 9)
        1.0
    """
    return _jackknife_over_rows(_cka, *_pair(a, b), seed)


def _cka(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(0), b - b.mean(0)
    a, b = a / a.norm(), b / b.norm()  # so that squares neither underflow nor overflow
    product = _hsic(a, a) * _hsic(b, b)
    if not product > 0:
        raise VariedError(
            "There are too few rows to compute CKA for this number of units; use more rows."
        )
    return _hsic(a, b) / math.sqrt(product)


def _hsic(a: Tensor, b: Tensor) -> float:
    """Return the unbiased HSIC estimate for linear kernels, times n (n - 3), for centered rows.

    The rows of a centered kernel sum to 0, so the row sums of a kernel without its diagonal depend
    only on the diagonal. The kernel matrices therefore do not need to be computed.
    """
    n = len(a)
    diagonal_a, diagonal_b = a.square().sum(1), b.square().sum(1)
    both = diagonal_a @ diagonal_b
    trace = (a.T @ b).square().sum() - both
    sums = diagonal_a.sum() * diagonal_b.sum() / ((n - 1) * (n - 2))
    return float(trace + sums - 2 * both / (n - 2))


def mcc(a: Data, b: Data, *, kind: str = "strong", seed: int = 0) -> Estimate:
    r"""Return the mean correlation coefficient (MCC) of the matched units of two models.

    .. math:: \frac1{\min(D, E)} \sum_j s_j \, \mathrm{corr}(a_j, b_{\pi(j)})

    "strong" matches individual units by the best assignment :math:`\pi`, up to sign s and scale;
    the coefficient is 1 if both models have learned the same units. "weak" first applies the linear
    maps of a canonical correlation analysis; the coefficient is 1 if each set of codes is a linear
    map of the other. The matching or the maps are fitted on one half of the rows and evaluated on
    the other half, and vice versa.

    References:
        ICE-BeeM: Identifiable Conditional Energy-Based Deep Models Based on Nonlinear ICA
        (Khemakhem et al., 2020), https://arxiv.org/abs/2002.11537, for the strong and the weak
        variant.

    Warning:
        If the same rows are used for matching and evaluation, as is common, the coefficient of
        unrelated codes is well above 0 for few rows; here, its expectation is 0. Constant units
        have a correlation of 0. Inactive units, whose means hardly vary, count as much as active
        units; exclude them with ``codes[:, is_active(codes)]``.

    Arguments:
        a: The codes of one model, with shape (N, D).
        b: The codes of another model for the same rows, with shape (N, E).
        kind: The variant: "strong" or "weak".
        seed: The seed for splitting rows into halves and resampling.

    Returns:
        The coefficient; its standard error is computed over rows.

    Raises:
        VariedError: As for `cka`, or if the kind is unknown.

    Example:
        >>> a = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> round(mcc(a, -a.flip(1)).value, 9)
        1.0
    """
    if kind not in ("strong", "weak"):
        raise VariedError(f"kind='{kind}' must be 'strong' or 'weak'.")
    first, second = _pair(a, b)
    units = max(first.shape[1], second.shape[1])
    if kind == "weak" and len(first) < 4 * units:
        raise VariedError(
            f"{len(first)} rows are too few to fit linear maps of {units} units; use at least "
            f"{4 * units}, or kind='strong'."
        )
    if kind == "weak":
        return _jackknife_over_rows(_weak_mcc, first, second, seed)
    order = permutation(len(first), seed, "blocks")
    return _bootstrap_halves(_strong_mcc, first[order], second[order], seed)


def _strong_mcc(a: Tensor, b: Tensor) -> float:
    from scipy.optimize import linear_sum_assignment

    halves = [_normalize(a[half::2]).T @ _normalize(b[half::2]) for half in (0, 1)]
    means = []
    for fit, test in (halves, halves[::-1]):  # correlation matrices
        rows, columns = linear_sum_assignment(-fit.abs().numpy())
        means.append((fit.sign() * test)[rows, columns].mean())
    return float(torch.stack(means).mean())


def _weak_mcc(a: Tensor, b: Tensor) -> float:
    halves = (a[::2], b[::2]), (a[1::2], b[1::2])
    means = []
    for fit, test in (halves, halves[::-1]):
        maps = _canonical_maps(*fit)
        correlations = _normalize(test[0] @ maps[0]) * _normalize(test[1] @ maps[1])
        means.append(correlations.sum() / min(a.shape[1], b.shape[1]))
    return float(torch.stack(means).mean())


def _canonical_maps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the linear maps of a canonical correlation analysis."""
    (white_a, map_a), (white_b, map_b) = _whiten(a), _whiten(b)
    u, _, v = torch.linalg.svd(white_a.T @ white_b, full_matrices=False)
    return map_a @ u, map_b @ v.T


def _whiten(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return whitened rows, without constant directions, and the map that whitens them."""
    centered, norm = _center(rows)
    u, s, v = torch.linalg.svd(centered / norm, full_matrices=False)
    varies = s > 1e-10 * s[0]
    return u[:, varies], v[varies].T / s[varies] / norm[:, None]


def _normalize(rows: Tensor) -> Tensor:
    """Return columns with mean 0 and norm 1; constant columns are 0."""
    centered, norm = _center(rows)
    return centered / norm


def _center(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return centered columns and their norms, which are infinite for constant columns."""
    centered = rows - rows.mean(0)
    norm = centered.norm(dim=0)
    return centered, torch.where(norm <= 1e-12 * rows.norm(dim=0), math.inf, norm)


def shared_neighbors(a: Data, b: Data, *, k: int = 10, seed: int = 0) -> Estimate:
    """Return the fraction of the k nearest neighbors of a row that are the same for both models.

    The fraction is 1 if all rows have the same neighbors, and k / (N - 1) on average for unrelated
    codes. It is averaged over at most 2,000 random rows, whose neighbors are searched for among all
    rows.

    References:
        The Effects of Randomness on the Stability of Node Embeddings (Schumacher et al., 2020),
        https://arxiv.org/abs/2005.10039

    Arguments:
        a: The codes of one model, with shape (N, D).
        b: The codes of another model for the same rows, with shape (N, E).
        k: The number of neighbors, by the Euclidean distance between the unscaled codes.
        seed: The seed for sampling rows.

    Returns:
        The fraction; its standard error is computed over rows.

    Raises:
        VariedError: As for `cka`, or if k is not between 1 and N - 2.

    Example:
        >>> a = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
        >>> shared_neighbors(a, 5 - 2 * a).value
        1.0
    """
    tables = [table - table.mean(0) for table in _pair(a, b)]
    n = len(tables[0])
    if not 1 <= k <= n - 2:
        raise VariedError(f"k={k} must be between 1 and the number of rows minus 2 ({n - 2:,}).")
    fractions = []
    for rows in permutation(n, seed, "asked")[:MAX_QUERIES].split(CHUNK):
        is_neighbor = torch.zeros(2, len(rows), n, dtype=torch.bool)
        for mask, table in zip(is_neighbor, tables, strict=True):
            mask.scatter_(1, nearest_others(table, k, rows)[1], True)
        fractions.append(is_neighbor.all(0).sum(1).double() / k)
    return Estimate.of(torch.cat(fractions))


def mean_over_seeds(values: Sequence[float | Estimate]) -> Estimate:
    """Return the mean of a metric over runs with different seeds, with its standard error.

    To claim that one method is better than another, use this standard error, since the standard
    error of a single run does not include the variation between seeds.

    Warning:
        The standard error is itself uncertain, by about a third for five seeds.

    Arguments:
        values: The metric of each run; only the value of an `Estimate` is used.

    Raises:
        VariedError: If there are fewer than two values, or a value is not finite.

    Example:
        >>> print(mean_over_seeds([90.0, 92.0, 91.0, 91.0]))
        91.00 ± 0.41
    """
    numbers = [float(v.value if isinstance(v, Estimate) else v) for v in values]
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)):
        raise VariedError(f"Finite values from at least two runs are required, got {numbers}.")
    return Estimate.of(torch.tensor(numbers, dtype=torch.float64))


def _jackknife_over_rows(statistic: Statistic, a: Tensor, b: Tensor, seed: int) -> Estimate:
    """Return a statistic of all rows, with its jackknife standard error over blocks of rows."""
    n = len(a)
    order = permutation(n, seed, "blocks")
    a, b = a[order], b[order]
    # Each block has the same number of rows from both halves.
    block = torch.arange(n) // 2 % min(BLOCKS, n // 4)
    left_out = [statistic(a[block != i], b[block != i]) for i in range(int(block.max()) + 1)]
    return Estimate(statistic(a, b), jackknife_std(left_out), n)


def _bootstrap_halves(statistic: Statistic, a: Tensor, b: Tensor, seed: int) -> Estimate:
    """Return a statistic of all rows, with its bootstrap standard error.

    Each half of the rows is resampled separately. The jackknife would be wrong: since an assignment
    is not a smooth function of the rows, its jackknife standard error is far too large.
    """
    n = len(a)
    size = min(n, MAX_RESAMPLED) // 2 * 2
    half = torch.arange(size) % 2
    values = []
    for index in range(RESAMPLES):
        noise = generator(seed, "matching", index)
        rows = 2 * torch.randint(n // 2, (size,), generator=noise) + half
        values.append(statistic(a[rows], b[rows]))
    return Estimate(statistic(a, b), float(sample_std(values)) * math.sqrt(size / n), n)


def _pair(a: Data, b: Data) -> tuple[Tensor, Tensor]:
    first, second = _code_table(a), _code_table(b)
    check_same_length(first, second, ("rows of the first codes", "rows of the second codes"))
    return first, second


def _code_table(codes: Data) -> Tensor:
    rows = as_table(codes, "codes", min_rows=MIN_ROWS)
    if not (rows - rows[0]).any():
        raise VariedError(
            "The codes of all rows are equal, so there is nothing to compare; check whether the "
            "posterior has collapsed."
        )
    return rows
