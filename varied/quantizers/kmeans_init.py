"""Where codes begin: among the outputs of the untrained network."""

from __future__ import annotations

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

__all__ = ["POINTS", "kmeans", "spread", "subsample"]

#: Vectors that a start looks at.
POINTS = 20_000

#: Codes above which k-means starts at random rows.
CAREFUL = 1024


def subsample(rows: Tensor) -> Tensor:
    """Return at most `POINTS` rows, drawn at random."""
    return rows[torch.randperm(len(rows))[:POINTS].to(rows.device)]


def kmeans(rows: Tensor, codes: int, steps: int = 10) -> Tensor:
    """Return the centers of k-means, with shape (codes, C).

    Where there are fewer different rows than codes, the rest are rows a little moved.

    Arguments:
        rows: Finite vectors, with shape (M, C).
        codes: How many.
        steps: The most rounds of Lloyd's algorithm.
    """
    from sklearn.cluster import KMeans  # a second of every start, for few of them

    few = subsample(rows).unique(dim=0)
    k, seed = min(codes, len(few)), int(torch.randint(2**31, ()))
    # The careful start looks at all rows once for each code: minutes where codes are many.
    first = "k-means++" if k <= CAREFUL else "random"
    # One thread: several add up in any order, and the same seed would give other codes.
    with threadpool_limits(1):
        means = KMeans(k, init=first, n_init=1, max_iter=steps, random_state=seed)
        fit = means.fit(few.double().cpu())
    found = torch.from_numpy(fit.cluster_centers_).to(rows)
    return torch.cat([found, _moved(few, codes - k)])


def _moved(rows: Tensor, count: int) -> Tensor:
    drawn = rows[torch.randint(len(rows), (count,)).to(rows.device)]
    scale = 0.01 * rows.std(0, correction=0) + 1e-3
    return drawn + scale * torch.randn(drawn.shape).to(rows)


def spread(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return principal axes as rows, scaled by their standard deviation, (C, C), and the mean."""
    mean = rows.mean(0)
    away = (rows - mean).double()
    variance, axes = torch.linalg.eigh(away.T @ away / len(rows))
    scale = variance.clamp(min=0).sqrt().flip(0)
    return (scale[:, None] * axes.flip(1).T).to(rows), mean
