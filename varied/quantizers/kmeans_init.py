"""Initialization of a codebook with k-means, applied to the outputs of the untrained network."""

from __future__ import annotations

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

#: The maximum number of vectors used for initialization.
MAX_ROWS = 20_000

#: The maximum codebook size for k-means++, which makes one pass over the data for each entry.
MAX_PLUS_PLUS = 1024


def subsample(rows: Tensor) -> Tensor:
    """Return a random subset of at most `MAX_ROWS` rows."""
    return rows[torch.randperm(len(rows))[:MAX_ROWS].to(rows.device)]


def kmeans(rows: Tensor, codes: int) -> Tensor:
    """Return cluster centers with shape (codes, C) after at most ten k-means iterations.

    If there are fewer distinct rows than clusters, the remaining centers are rows plus noise.

    Arguments:
        rows: Finite vectors, with shape (M, C).
        codes: The number of clusters.
    """
    from sklearn.cluster import KMeans  # takes a second to import

    rows = subsample(rows).unique(dim=0)
    k, seed = min(codes, len(rows)), int(torch.randint(2**31, ()))
    init = "k-means++" if k <= MAX_PLUS_PLUS else "random"
    model = KMeans(k, init=init, n_init=1, max_iter=10, random_state=seed)
    # The number of threads affects the order of summation, and therefore the result.
    with threadpool_limits(1):
        model.fit(rows.double().cpu())
    centers = torch.from_numpy(model.cluster_centers_).to(rows)
    return torch.cat([centers, _noisy_rows(rows, codes - k)])


def _noisy_rows(rows: Tensor, count: int) -> Tensor:
    samples = rows[torch.randint(len(rows), (count,)).to(rows.device)]
    scale = 0.01 * rows.std(0, correction=0) + 1e-3
    return samples + scale * torch.randn(samples.shape).to(rows)
