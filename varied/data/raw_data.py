"""What a person has, read but not yet encoded: the value that every source returns."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Problem", "RawData"]


@dataclass(frozen=True)
class Problem:
    """A file that could not be read: it costs one line, not the run."""

    name: str
    reason: str


@dataclass(frozen=True)
class RawData:
    """Data as a person has them, read but not yet encoded.

    Arguments:
        x: Pictures as uint8 with shape `(N, H, W)` or `(N, H, W, 3)`; or arrays as float32 with
            shape `(N, *shape)`, channels first where they have channels; or the rows of a table as
            a `pandas.DataFrame`.
        kind: `"image"`, `"array"` or `"table"`.
        labels: int64 `(N,)` indices into `classes`, -1 where missing; or, where `classes` is
            empty, float32 `(N,)` or `(N, F)` numbers, NaN where missing; or None.
        classes: The names of the classes.
        names: A name for each row (file names).
        test: The row indices of the official test rows, where the set has them.
        source: How to read the data again: an absolute path or a named set; None if in memory.
        notes: What was understood, a sentence each.
        problems: What could not be read.
        form: How a table was written, so that it can be given back so.

    Example:
        >>> items = RawData(np.zeros((12, 8, 8), np.uint8), "image")
        >>> len(items), len(items.take([0, 1])), items
        (12, 2, RawData(12 pictures, 8x8))
    """

    x: Any
    kind: str
    labels: npt.NDArray[np.generic] | None = None
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    test: npt.NDArray[np.int64] | None = None
    source: str | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    form: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        if self.kind == "table":
            return f"RawData({len(self):,} rows of {self.x.shape[1]} columns)"
        shape = "x".join(str(s) for s in self.x.shape[1:])
        classes = f", {len(self.classes)} classes" if self.classes else ""
        return f"RawData({len(self)} {self.kind}s, {shape}{classes})"

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns of a table that say what its labels say."""
        if self.kind != "table" or self.labels is None or not self.classes:
            return ()
        own = [self.classes[i] if i >= 0 else None for i in self.labels.tolist()]
        return tuple(name for name in self.x.columns if _words(self.x[name]) == own)

    def digest(self, kind: str | None = None) -> str:
        """Return the SHA-256 over kind, shape, type, contents, labels and classes.

        A run records it, so that data read again later can be compared.

        Arguments:
            kind: What to call the kind of the data; None takes its own name.
        """
        digest = hashlib.sha256(json.dumps([kind or self.kind, self.classes]).encode())
        if self.kind == "table":
            digest.update(_told(self.x))
        for array in (None if self.kind == "table" else self.x, self.labels):
            if array is not None:
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def take(self, indices: npt.ArrayLike) -> RawData:
        """Return the rows at `indices`, in that order, with their labels and names."""
        rows = np.asarray(indices, dtype=np.int64)
        return dataclasses.replace(
            self,
            x=self.x.iloc[rows].reset_index(drop=True) if self.kind == "table" else self.x[rows],
            labels=None if self.labels is None else self.labels[rows],
            names=None if self.names is None else tuple(self.names[i] for i in rows),
            test=None if self.test is None else np.flatnonzero(np.isin(rows, self.test)),
        )

    def first(self, n: int) -> RawData:
        """Return the first n rows, or all where there are fewer."""
        return self.take(np.arange(min(n, len(self))))

    def noting(self, *notes: str) -> RawData:
        """Return the same items with more notes."""
        return dataclasses.replace(self, notes=(*self.notes, *notes))


def _words(cells: Any) -> list[str | None]:
    gaps = cells.isna()
    return [None if gap else str(cell) for cell, gap in zip(cells, gaps, strict=True)]


def _told(frame: Any) -> bytes:
    """Return the cells of a table as bytes, each column in its type."""
    columns = []
    for name in frame.columns:
        told = "\x1f".join(map(str, frame[name].tolist()))
        columns.append(f"{name}\x1e{frame[name].dtype}\x1e{told}".encode())
    return b"\x1d".join(columns)
