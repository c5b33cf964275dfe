"""A small cluster of rows that is far from all other rows."""

from __future__ import annotations

import numpy as np
import torch

from varied.evaluate._checks import as_array
from varied.evaluate._types import Bools, Data, Floats, Ints
from varied.evaluate.distances import nearest_rows
from varied.seeding import permutation

#: The maximum number of rows that are clustered; the others are assigned to the nearest of them.
MAX_ROWS = 1000
#: The minimum number of rows, and the minimum number of distinct values of a column.
MIN_ROWS, MIN_VALUES = 50, 21
#: The minimum number of columns. The tails of a single column often have large gaps.
MIN_COLUMNS = 2
#: The minimum and the maximum fraction of the rows in the cluster, and its minimum size.
MIN_FRACTION, MAX_FRACTION, MIN_SIZE = 0.02, 0.15, 5
#: The minimum ratios of the distance between the cluster and other rows to the largest link of the
#: cluster, and to the 90% quantile of all links.
MIN_GAP, MIN_LINK_RATIO = 3.0, 1.5


def separate_cluster(rows: Data) -> Bools:
    r"""Return which rows form a small dense cluster that is far from all other rows.

    Rows are standardized and clustered by single linkage. A cluster C with 2% to 15% of the
    rows, and at least 5 rows, is separate if

    .. math:: \min_{i \in C, j \notin C} |x_i - x_j| > \max(3 \max_{l \in C} l, \, 1.5 \, q_{0.9})

    where l are the links of the cluster, which are the edges of its minimum spanning tree, and
    :math:`q_{0.9}` is the 90% quantile of the links of all rows. In normal rows, such clusters are
    rare: none was found in 120 halves of the normal rows of twelve tables.

    Equal rows count once. Only complete rows are used, and only columns with more than 20 distinct
    values, since repeated values form clusters; there must be at least two such columns and 50
    distinct rows. If several clusters are separate, the farthest is returned.

    Arguments:
        rows: The rows, with shape (N, D), or (N, ...), flattened to (N, D); NaN if missing.

    Returns:
        Whether each row is in the cluster, bool with shape (N); False for all rows if no cluster is
        separate.

    Example:
        >>> random = np.random.default_rng(0)
        >>> rows = np.concatenate([random.normal(size=(95, 2)), 9 + random.normal(size=(5, 2)) / 9])
        >>> np.flatnonzero(separate_cluster(rows))
        array([95, 96, 97, 98, 99])
    """
    values = as_array(rows).reshape(len(rows), -1).astype(np.float64)
    in_cluster = np.zeros(len(values), bool)
    complete = np.flatnonzero(np.isfinite(values).all(1))
    values = values[complete]
    order = permutation(len(values), 0, "separate cluster").numpy()
    sample = np.unique(values[order[:MAX_ROWS]], axis=0)
    is_continuous = [len(np.unique(column)) >= MIN_VALUES for column in sample.T]
    if len(sample) < MIN_ROWS or sum(is_continuous) < MIN_COLUMNS:
        return in_cluster
    with np.errstate(all="ignore"):  # huge values overflow
        mean, scale = sample[:, is_continuous].mean(0), sample[:, is_continuous].std(0)
        sample, values = ((each[:, is_continuous] - mean) / scale for each in (sample, values))
    if np.isfinite(values).all() and len(members := _farthest_cluster(sample)):
        nearest, _ = nearest_rows(torch.from_numpy(values), torch.from_numpy(sample))
        in_cluster[complete] = np.isin(nearest.numpy(), members)
    return in_cluster


def _farthest_cluster(sample: Floats) -> Ints:
    """Return the indices of the rows in the separate cluster with the largest gap; may be empty."""
    from scipy.cluster.hierarchy import linkage

    n = len(sample)
    links = linkage(sample, "single")
    size = np.concatenate([np.ones(n), links[:, 3]])
    height = np.concatenate([np.zeros(n), links[:, 2]])
    high = MIN_LINK_RATIO * np.quantile(links[:, 2], 0.9)
    pairs = links[:, :2].astype(int)
    small = np.where(size[pairs[:, 0]] <= size[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    is_separate = (links[:, 2] > np.maximum(MIN_GAP * height[small], high)) & (
        (size[small] >= max(MIN_SIZE, MIN_FRACTION * n))
        & (size[small] <= MAX_FRACTION * n)
        & (size[pairs].max(1) > n / 2)
    )
    if not is_separate.any():
        return np.zeros(0, np.int64)
    return _leaves(pairs, small[np.flatnonzero(is_separate)[-1]], n)


def _leaves(pairs: Ints, root: int, n: int) -> Ints:
    """Return the rows of a cluster in the linkage of n rows."""
    leaves, clusters = [], [int(root)]
    while clusters:
        cluster = clusters.pop()
        if cluster < n:
            leaves.append(cluster)
        else:
            clusters.extend(pairs[cluster - n].tolist())
    return np.array(leaves)
