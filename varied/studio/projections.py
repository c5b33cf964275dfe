"""Projections of codes to two dimensions, with their inverse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]

#: The number of nearest points whose codes or positions are averaged.
_NEIGHBORS = 5
#: The maximum number of points from which t-SNE and UMAP are computed.
MAX_FITTED = 4000
#: The maximum number of elements of a code for which all principal components are computed, and of
#: codes from which they are computed approximately otherwise.
_MAX_EXACT, _MAX_APPROXIMATE = 2048, 5000
#: The number of queries that are compared with all codes at a time.
_CHUNK = 256


class Projection(ABC):
    """A projection of N codes to two dimensions.

    Attributes:
        positions: The positions of the points of the map, float32 with shape (N, 2).
        title: A name of the projection to print.
        explained: The fraction of the variance of the codes in the two dimensions, or None.
    """

    positions: Array
    title: str
    explained: float | None = None

    @abstractmethod
    def place(self, codes: Tensor) -> Array:
        """Return the positions of other codes, float32 with shape (M, 2)."""

    @abstractmethod
    def invert(self, points: Array) -> Tensor:
        """Return codes at the given positions, with shape (M, D)."""

    def covariance(self, std: Tensor) -> Array | None:
        """Return the covariances of the positions of codes with independent Gaussian units.

        Arguments:
            std: The standard deviation of each unit, with shape (M, D).

        Returns:
            The variances of x and y and their covariance, with shape (M, 3); None if unknown.
        """
        return None

    def is_far(self, points: Array) -> Array:
        """Return whether positions are far from all points of the map, bool with shape (M)."""
        return np.zeros(len(points), bool)


@dataclass
class LinearProjection(Projection):
    """A projection to a plane in the latent space.

    Arguments:
        origin: The code at the origin of the map, with shape (D).
        directions: Two orthonormal vectors, with shape (2, D); one if D is 1.
        codes: The codes of the points of the map, with shape (N, D).
        title: A name to print.
        explained: The fraction of the variance of the codes in the plane, or None.
    """

    origin: Tensor
    directions: Tensor
    codes: Tensor
    title: str
    explained: float | None = None

    def __post_init__(self) -> None:
        self.positions = self.place(self.codes)

    def place(self, codes: Tensor) -> Array:
        """Return the coordinates of codes in the plane; the second one is 0 if D is 1."""
        plane = (codes - self.origin) @ self.directions.T
        positions = np.zeros((len(codes), 2), np.float32)
        positions[:, : plane.shape[1]] = plane.numpy()
        return positions

    def covariance(self, std: Tensor) -> Array:
        """Return the covariance in the plane; see `Projection.covariance`."""
        plane = torch.zeros(2, self.directions.shape[1])
        plane[: len(self.directions)] = self.directions
        pairs = torch.stack([plane[0] ** 2, plane[1] ** 2, plane[0] * plane[1]])
        return np.asarray(torch.square(std) @ pairs.T)

    def invert(self, points: Array) -> Tensor:
        """Return the codes in the plane, which have the coordinates of the origin otherwise."""
        plane = torch.from_numpy(np.asarray(points, np.float32))[:, : len(self.directions)]
        return self.origin + plane @ self.directions


@dataclass
class NeighborProjection(Projection):
    """A projection without a formula, in which nearby points stand in for other codes.

    Arguments:
        positions: The positions of the points of the map, with shape (N, 2).
        codes: Their codes, with shape (N, D).
        title: A name to print.
    """

    positions: Array
    codes: Tensor
    title: str

    def __post_init__(self) -> None:
        from sklearn.neighbors import NearestNeighbors

        self._search = NearestNeighbors(n_neighbors=min(_NEIGHBORS, len(self.codes)))
        self._search.fit(self.positions)
        gaps = self._search.kneighbors(self.positions)[0][:, -1]
        self._limit = 3 * float(np.quantile(gaps, 0.99))

    def place(self, codes: Tensor) -> Array:
        """Return the weighted means of the positions of the points with the nearest codes."""
        index, weights = _nearest(codes, self.codes)
        placed: Array = np.einsum("mk,mkd->md", weights, self.positions[index])
        return placed.astype(np.float32)

    def invert(self, points: Array) -> Tensor:
        """Return the weighted means of the codes of the nearest points."""
        distance, index = self._search.kneighbors(np.asarray(points, np.float32))
        weights = torch.from_numpy(_weigh(distance)).float()
        codes: Tensor = torch.einsum("mk,mkd->md", weights, self.codes[torch.from_numpy(index)])
        return codes

    def is_far(self, points: Array) -> Array:
        """Return whether positions are far from all points, compared with their usual distance."""
        distance = self._search.kneighbors(np.asarray(points, np.float32))[0][:, 0]
        return np.asarray(distance > self._limit)


def principal_plane(codes: Tensor) -> LinearProjection:
    """Return the projection to the first two principal components of codes."""
    mean = codes.mean(0)
    if codes.shape[1] <= _MAX_EXACT:
        centered = (codes - mean).double()
        variances, vectors = torch.linalg.eigh(centered.T @ centered / max(1, len(codes) - 1))
        directions = vectors.T.flip(0)[:2].float()
        total, captured = float(variances.sum()), float(variances[-2:].sum())
    else:
        directions, total, captured = _approximate_plane(codes)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * torch.where(largest < 0, -1.0, 1.0)  # the sign is arbitrary
    return LinearProjection(
        mean, directions, codes, "Principal components", captured / total if total else None
    )


def _approximate_plane(codes: Tensor) -> tuple[Tensor, float, float]:
    """Return two directions, the variance of the codes, and the variance in these directions."""
    from sklearn.decomposition import PCA

    rows = codes[:: -(-len(codes) // _MAX_APPROXIMATE)].numpy()
    pca = PCA(2, svd_solver="randomized", random_state=0).fit(rows)
    total = float(rows.var(0, ddof=1).sum())
    return torch.from_numpy(pca.components_).float(), total, float(pca.explained_variance_.sum())


def unit_plane(codes: Tensor, units: list[int]) -> LinearProjection:
    """Return the projection to two latent units, with all other units at their mean."""
    chosen = units[:2]
    origin = codes.mean(0)
    origin[chosen] = 0
    directions = torch.zeros(len(chosen), codes.shape[1])
    directions[range(len(chosen)), chosen] = 1
    names = " and ".join(f"z{unit}" for unit in chosen)
    return LinearProjection(origin, directions, codes, f"Units {names}")


def tsne(codes: Tensor, rows: Array) -> NeighborProjection:
    """Return the t-SNE of some codes; all others are placed next to the codes that are nearest.

    References:
        Visualizing Data using t-SNE (van der Maaten & Hinton, 2008),
        https://jmlr.org/papers/v9/vandermaaten08a.html

    Arguments:
        codes: The codes of the points of the map, with shape (N, D).
        rows: The indices of the codes from which t-SNE is computed.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    fitted = codes[torch.from_numpy(rows)]
    start = principal_plane(fitted).positions
    start = start * (1e-4 / (start[:, 0].std() or 1.0))
    perplexity = min(30.0, (len(fitted) - 1) / 3)
    # On cores that are already busy, two threads are slower than one.
    with threadpool_limits(1):
        model = TSNE(init=start, perplexity=perplexity, angle=0.8, random_state=0)
        positions = model.fit_transform(fitted.numpy())
    return _place_rest(codes, fitted, positions, "t-SNE")


def umap(codes: Tensor, rows: Array) -> NeighborProjection:
    """Return the UMAP of some codes, like `tsne`.

    References:
        UMAP (McInnes et al., 2018), https://arxiv.org/abs/1802.03426
    """
    from importlib import import_module

    fitted = codes[torch.from_numpy(rows)]
    model = import_module("umap").UMAP(random_state=0, n_jobs=1)
    return _place_rest(codes, fitted, model.fit_transform(fitted.numpy()), "UMAP")


def _place_rest(codes: Tensor, fitted: Tensor, positions: Array, title: str) -> NeighborProjection:
    centered = np.asarray(positions - positions.mean(0), np.float32)
    scaled = centered / (np.sqrt((centered**2).sum(1).mean()) or 1.0)
    if len(fitted) == len(codes):
        return NeighborProjection(scaled, codes, title)
    # The nearest code of a fitted code is itself, at a distance of 0, so it keeps its position.
    index, weights = _nearest(codes, fitted)
    placed = np.einsum("mk,mkd->md", weights, scaled[index]).astype(np.float32)
    note = f"{title} of {len(fitted):,} points, next to which the others are placed"
    return NeighborProjection(placed, codes, note)


def _nearest(queries: Tensor, codes: Tensor) -> tuple[Array, Array]:
    """Return the indices of the nearest codes of each query, and their weights."""
    k, parts = min(_NEIGHBORS, len(codes)), []
    for chunk in queries.split(_CHUNK):
        distance = torch.cdist(chunk, codes, compute_mode="donot_use_mm_for_euclid_dist")
        parts.append(distance.topk(k, 1, largest=False))
    distances = torch.cat([part.values for part in parts]).numpy()
    return torch.cat([part.indices for part in parts]).numpy(), _weigh(distances)


def _weigh(distance: Array) -> Array:
    """Return weights that are proportional to 1 / d², with sum 1, and 1 if the distance is 0."""
    weights = 1 / np.maximum(distance.astype(np.float64), 1e-12) ** 2
    return np.asarray(weights / weights.sum(1, keepdims=True))
