"""The rows of a dataset that are points of the map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from varied.data import RawData
from varied.seeding import permutation

Array = npt.NDArray[Any]

#: The maximum number of points, and of elements of their codes.
MAX_POINTS, MAX_ELEMENTS = 100_000, 2**26
#: The minimum number of points, even if the codes are large.
_MIN_POINTS = 1000
#: The index of rows without a label, and the maximum number of labels that have their own index.
NO_LABEL, MAX_LABELS = 255, 255


@dataclass(frozen=True)
class MapRows:
    """The rows of a dataset that are points of the map.

    Arguments:
        rows: Their indices, in ascending order, int64 with shape (N).
        labels: The index of the label of each point, or 255, uint8 with shape (N).
        names: The names of the labels.
        total: The number of rows of the dataset.
    """

    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.uint8]
    names: tuple[str, ...]
    total: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_sampled(self) -> bool:
        """Whether the points are a sample of the rows, stratified by label."""
        return len(self.rows) < self.total


def choose_rows(data: RawData, latent_dim: int, limit: int = MAX_POINTS) -> MapRows:
    """Return the rows that are points of the map: all of them, or a sample stratified by label.

    Arguments:
        data: The data.
        latent_dim: The number of elements of a code.
        limit: The maximum number of points.
    """
    limit = min(limit, max(_MIN_POINTS, MAX_ELEMENTS // latent_dim))
    index, names = label_indices(data)
    rows = stratify(index, limit)
    return MapRows(rows, index[rows].astype(np.uint8), names, len(data))


def label_indices(data: RawData) -> tuple[Array, tuple[str, ...]]:
    """Return the index of the label of each row, or 255, and the names of the labels.

    If there are several labels, the first one that is a class is used.
    """
    for index, names in data.covariates.values():
        if names:
            is_known = (index >= 0) & (index < MAX_LABELS)
            return np.where(is_known, index, NO_LABEL), tuple(map(str, names[:MAX_LABELS]))
    return np.full(len(data), NO_LABEL), ()


def stratify(strata: Array, limit: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return the indices of all rows or, if there are more than ``limit``, of a stratified sample.

    Arguments:
        strata: The stratum of each row.
        limit: The maximum number of rows.
        seed: The random seed.

    Example:
        >>> stratify(np.repeat([0, 1], [60, 20]), 4).tolist()
        [..., ..., ..., ...]
    """
    n = len(strata)
    if n <= limit:
        return np.arange(n)
    # Shuffled rows are sorted by stratum, so that every n / limit-th row samples each stratum.
    shuffled = permutation(n, seed, "map").numpy()
    ordered = shuffled[np.argsort(strata[shuffled], kind="stable")]
    chosen: npt.NDArray[np.int64] = np.sort(ordered[np.arange(limit) * n // limit])
    return chosen


def numeric_column(values: Any) -> tuple[npt.NDArray[np.float32], list[str]]:
    """Return values as numbers (NaN if missing), and the levels that they index, if they are names.

    Arguments:
        values: Numbers, or a sequence of names in which "" is missing.
    """
    if isinstance(values, np.ndarray):
        return values.astype(np.float32), []
    levels = sorted({str(value) for value in values} - {""})
    index: Mapping[str, int] = {level: i for i, level in enumerate(levels)}
    return np.array([index.get(str(v), np.nan) for v in values], np.float32), levels
