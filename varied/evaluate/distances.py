"""Euclidean distances between the rows of two tables, computed in chunks, and nearest rows."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from varied.evaluate._checks import as_table_pair
from varied.evaluate._types import Data

#: The number of distances in one chunk: 64 MB in float64.
CHUNK = 2**23
#: The rounding error of a squared distance, relative to the squared norms of the two rows.
ROUNDING = 1e-12


def nearest(queries: Data, rows: Data) -> tuple[Tensor, Tensor]:
    """Return the index of the row nearest to each query, and the distance.

    Arguments:
        queries: The query rows, with shape (M, D), or (M, ...), flattened to (M, D).
        rows: The rows to search, with shape (N, D) or (N, ...).

    Returns:
        The index of the nearest row (an arbitrary one if there are ties), int64 with shape (M); and
        the Euclidean distance, float64 with shape (M), which is exactly 0 for equal rows.

    Raises:
        VariedError: If the shapes do not match, or a value is not finite.

    Example:
        >>> rows = torch.tensor([[9.0, 9.0], [0.0, 0.0]])
        >>> index, distance = nearest(torch.tensor([[3.0, 4.0]]), rows)
        >>> index.item(), distance.item()
        (1, 5.0)
    """
    return nearest_rows(*as_table_pair(queries, rows, ("queries", "rows")))


def nearest_rows(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index of the row of ``b`` nearest to each row of ``a``, and the distance."""
    from sklearn.metrics import pairwise_distances_argmin

    # Centering avoids a loss of precision if the data are far from the origin.
    center = b.median(0).values
    index = torch.from_numpy(
        pairwise_distances_argmin((a - center).numpy(), (b - center).numpy()).astype("int64")
    )
    # Unlike the expanded squared distances above, this norm is exactly 0 for equal rows.
    parts = zip(a.split(1000), index.split(1000), strict=True)
    return index, torch.cat([(rows - b[i]).norm(dim=1) for rows, i in parts])


def nearest_others(rows: Tensor, k: int, queries: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the squared distances and indices of the k nearest other rows, with shape (M, k).

    Arguments:
        rows: The rows, with shape (N, D), in float64.
        k: The number of neighbors.
        queries: The indices of the rows whose neighbors are returned, with shape (M); all rows by
            default.
    """
    queries = torch.arange(len(rows)) if queries is None else queries
    neighbors = []
    for start, chunk in squared_distances(rows[queries], rows):
        at = torch.arange(len(chunk))
        chunk[at, queries[start + at]] = math.inf
        neighbors.append(chunk.topk(k, largest=False))
    values, indices = zip(*neighbors, strict=True)
    return torch.cat(values), torch.cat(indices)


def squared_distances(a: Tensor, b: Tensor, slack: float = 0.0) -> Iterator[tuple[int, Tensor]]:
    """Yield chunks of the squared distances between all rows of two tables.

    Arguments:
        a: The first table, with shape (M, D), in float64.
        b: The second table, with shape (N, D), in float64.
        slack: A tolerance that is subtracted from each squared distance, relative to the squared
            norms of the two rows.

    Yields:
        The index of the first row of the chunk, and the distances of the chunk with shape
        (chunk, N).
    """
    # Centering avoids a loss of precision if the data are far from the origin.
    center = b.median(0).values
    a, b = a - center, b - center
    norms_a, norms_b = a.square().sum(1), b.square().sum(1)
    step = max(CHUNK // len(b), 1)
    for start in range(0, len(a), step):
        rows = slice(start, start + step)
        norms = (1 - slack) * (norms_a[rows, None] + norms_b)
        yield start, torch.addmm(norms, a[rows], b.T, alpha=-2)
