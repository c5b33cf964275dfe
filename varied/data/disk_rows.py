"""Rows of an array that stay on disk until they are used."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from varied.data.memory import read_array
from varied.errors import VariedError

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]

#: The size in bytes above which images stay on disk.
MAX_IN_MEMORY = 2**28
#: The size of a block in which rows are read.
BLOCK_BYTES = 2**24
#: Rows are read together if there are at most as many bytes between them.
_MAX_GAP = 2**16


class DiskRows:
    """The rows of an array in a file, each of which is read when it is accessed.

    Indexing with a slice or integers reads rows; `take` selects rows without reading them. The file
    must not be changed while it is in use.

    Arguments:
        path: The file.
        offset: The position of the first byte of the array, which is stored in C order.
        shape: The shape of the array.
        dtype: The dtype of the array.
        rows: The indices of the selected rows; None selects all rows.
    """

    def __init__(
        self,
        path: Path,
        offset: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        rows: Rows | None = None,
    ) -> None:
        self.path, self.offset, self.dtype, self.rows = path, offset, dtype, rows
        self.row_shape, self.n_stored = shape[1:], shape[0]
        self.row_bytes = dtype.itemsize * math.prod(self.row_shape)

    def __len__(self) -> int:
        return self.n_stored if self.rows is None else len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the selected rows."""
        return (len(self), *self.row_shape)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements of the selected rows."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The size of the selected rows in bytes."""
        return len(self) * self.row_bytes

    def take(self, indices: npt.ArrayLike) -> DiskRows:
        """Return the rows at ``indices``, which are not read."""
        rows = self._positions(np.asarray(indices, dtype=np.int64))
        shape = (self.n_stored, *self.row_shape)
        return DiskRows(self.path, self.offset, shape, self.dtype, rows)

    def __getitem__(self, key: Any) -> Array:
        if isinstance(key, slice):
            return self._read(self._positions(np.arange(*key.indices(len(self)))))
        indices = np.asarray(key, dtype=np.int64)
        rows = self._read(self._positions(indices.reshape(-1)))
        return rows if indices.ndim else rows[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self[:] if dtype is None else self[:].astype(dtype)

    def blocks(self) -> Iterator[Array]:
        """Yield all rows in blocks of about 16 MB."""
        size = max(BLOCK_BYTES // max(self.row_bytes, 1), 1)
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def _positions(self, indices: Rows) -> Rows:
        if len(indices) and not -len(self) <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"the indices of rows must be below {len(self):,}")
        indices = np.where(indices < 0, indices + len(self), indices)
        return indices if self.rows is None else self.rows[indices]

    def _read(self, positions: Rows) -> Array:
        """Read rows at any positions, those that are close to each other in one operation."""
        order = np.argsort(positions, kind="stable")
        ascending = positions[order]
        gap = max(_MAX_GAP // max(self.row_bytes, 1), 1)
        starts = np.flatnonzero(np.diff(ascending, prepend=-gap - 1) > gap)
        result = np.empty((len(positions), *self.row_shape), self.dtype)
        with self.path.open("rb", buffering=0) as file:
            for run in np.split(np.arange(len(positions)), starts[1:]):
                if len(run):
                    first, last = int(ascending[run[0]]), int(ascending[run[-1]])
                    file.seek(self.offset + first * self.row_bytes)
                    stored = self._read_array(file, (last + 1 - first, *self.row_shape))
                    result[order[run]] = stored[ascending[run] - first]
        return result

    def _read_array(self, file: IO[bytes], shape: tuple[int, ...]) -> Array:
        try:
            return read_array(file, shape, self.dtype)
        except ValueError as error:
            raise VariedError(f"{self.path} was changed while it was read; start again.") from error
