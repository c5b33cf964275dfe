"""Data as read, before they are encoded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from varied.data.disk_rows import DiskRows
from varied.data.labels import Labels, join_labels

#: The maximum size in bytes of rows that are read from disk when they are selected.
MAX_READ = 2**28


@dataclass(frozen=True)
class Problem:
    """A file that cannot be read, and the reason."""

    name: str
    reason: str


def printable(name: str) -> str:
    """Return a name with control characters replaced, since names are printed on terminals."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def describe_problems(problems: Sequence[Problem], limit: int = 3) -> str:
    """Return a sentence with the number of examples that cannot be read, and the first of them.

    Example:
        >>> describe_problems([Problem("a.png", "it is empty")])
        '1 of the examples cannot be read (a.png: it is empty).'
    """
    listed = "; ".join(f"{problem.name}: {problem.reason}" for problem in problems[:limit])
    more = "; ..." if len(problems) > limit else ""
    return f"{len(problems):,} of the examples cannot be read ({listed}{more})."


@dataclass(frozen=True)
class RawData:
    """Data as read, before they are encoded.

    Arguments:
        x: Images, uint8 with shape ``(N, H, W)`` or ``(N, H, W, 3)``, as an array or, if they are
            large, as `DiskRows`; arrays, float32 with shape ``(N, *shape)``, channels first;
            recordings, float32 with shape ``(N, samples)``; molecules, as an array of SMILES
            strings; or the rows of a table, as a `pandas.DataFrame`.
        kind: The kind of data, which selects the codec: "image", "array", "sound", "table",
            "molecules" or a registered kind.
        labels: Indices into ``classes``, int64 with shape ``(N)``, -1 if missing; or, without
            ``classes``, numbers, float32 with shape ``(N)`` or ``(N, F)``, NaN if missing; or
            None. With ``label_classes``, a column may also contain indices.
        classes: The names of the classes.
        names: A name for each row, such as its file name.
        test: The indices of the official test rows, if there are any.
        source: The source from which the data can be read again: an absolute path or the name of a
            dataset; None for data in memory.
        options: The options with which the source was read, such as ``labels``.
        notes: Sentences that describe what was inferred from the data.
        problems: The files that could not be read.
        dialect: The format of the table, as in `varied.data.tables.TableDialect`; for recordings,
            ``rate``, the sample rate in Hz.
        label_names: The name of each column of the labels, if they were selected by name.
        label_classes: For several labels, the class names of each column; empty for numbers.

    Example:
        >>> data = RawData(np.zeros((12, 8, 8), np.uint8), "image")
        >>> len(data), len(data.take([0, 1])), data
        (12, 2, RawData(12 rows, kind='image', shape=(8, 8)))
    """

    x: Any
    kind: str
    labels: npt.NDArray[np.generic] | None = None
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    test: npt.NDArray[np.int64] | None = None
    source: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    dialect: Mapping[str, Any] = field(default_factory=dict)
    label_names: tuple[str, ...] = ()
    label_classes: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        classes = f", {len(self.classes)} classes" if self.classes else ""
        shape = f"shape={tuple(self.x.shape[1:])}"
        return f"RawData({len(self):,} rows, kind='{self.kind}', {shape}{classes})"

    @property
    def is_frame(self) -> bool:
        """Whether the data are a DataFrame."""
        return not isinstance(self.x, np.ndarray | DiskRows)

    @property
    def is_on_disk(self) -> bool:
        """Whether the rows stay on disk until they are used."""
        return isinstance(self.x, DiskRows)

    @property
    def is_image(self) -> bool:
        """Whether the data are 8-bit images."""
        return not self.is_frame and self.x.dtype == np.uint8 and self.x.ndim in (3, 4)

    @property
    def columns(self) -> tuple[str, ...]:
        """The column names of a DataFrame; empty for arrays."""
        return tuple(self.x.columns) if self.is_frame else ()

    @property
    def class_indices(self) -> npt.NDArray[np.int64]:
        """The class index of each row, -1 if it has no class, with shape (N)."""
        if self.labels is None:
            return np.full(len(self), -1, dtype=np.int64)
        return self.labels.astype(np.int64)

    @property
    def covariates(self) -> dict[str, Labels]:
        """The labels by name: class indices with the class names, or numbers with an empty tuple.

        Unnamed labels are called "class" or "label"; the columns of a matrix of labels are called
        "label 1", "label 2", ...
        """
        if self.labels is None:
            return {}
        if self.labels.ndim == 1:
            (name,) = self.label_names or ("class" if self.classes else "label",)
            return {name: (self.labels, self.classes)}
        columns = self.labels.reshape(len(self), -1).T
        numbered = [f"label {i}" for i in range(1, len(columns) + 1)]
        names = self.label_names or (numbered if len(columns) > 1 else ["label"])
        classes = self.label_classes or ((),) * len(columns)
        return {
            name: (np.nan_to_num(y, nan=-1).astype(np.int64) if levels else y, levels)
            for name, y, levels in zip(names, columns, classes, strict=True)
        }

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns of a DataFrame that contain the class of each row, if any."""
        if not self.is_frame or self.labels is None or not self.classes:
            return ()
        labels = [self.classes[i] if i >= 0 else None for i in self.labels.tolist()]
        return tuple(name for name in self.columns if as_class_names(self.x[name]) == labels)

    def digest(self, kind: str | None = None) -> str:
        """Return the SHA-256 digest of the kind, shape, dtype, values, labels and classes.

        A run stores the digest to check that the data are the same when they are read again.

        Arguments:
            kind: The kind of data to use in the digest; by default, ``self.kind``.
        """
        names: list[Any] = [kind or self.kind, self.classes]
        if any(self.label_classes):
            names.append(self.label_classes)
        digest = hashlib.sha256(json.dumps(names).encode())
        if self.is_frame:
            digest.update(_frame_bytes(self.x))
        for array in (None if self.is_frame else self.x, self.labels):
            if array is not None:
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                for block in array.blocks() if isinstance(array, DiskRows) else [array]:
                    digest.update(np.ascontiguousarray(block).data)
        return digest.hexdigest()

    def take(self, indices: npt.ArrayLike) -> RawData:
        """Return the rows at ``indices``, in that order, with their labels and names.

        If the data are on disk, more than 256 MB of rows remain there.
        """
        rows = np.asarray(indices, dtype=np.int64)
        if self.is_frame:
            x = self.x.iloc[rows].reset_index(drop=True)
        else:
            is_large = self.is_on_disk and len(rows) * self.x.row_bytes > MAX_READ
            x = self.x.take(rows) if is_large else self.x[rows]
        return self.replace(
            x=x,
            labels=None if self.labels is None else self.labels[rows],
            names=None if self.names is None else tuple(self.names[i] for i in rows),
            test=None if self.test is None else np.flatnonzero(np.isin(rows, self.test)),
        )

    def head(self, n: int) -> RawData:
        """Return the first ``n`` rows, or all rows if there are fewer."""
        return self.take(np.arange(min(n, len(self))))

    def replace(self, **fields: Any) -> RawData:
        """Return a copy of the data in which the given fields are replaced."""
        return dataclasses.replace(self, **fields)

    def with_labels(self, covariates: Mapping[str, Labels]) -> RawData:
        """Return a copy of the data with other labels, as in `covariates`."""
        if len(covariates) == 1:
            ((labels, classes),) = covariates.values()
            names: tuple[tuple[str, ...], ...] = ()
        else:
            labels, classes = join_labels(covariates).astype(np.float32), ()
            names = tuple(names for _, names in covariates.values())
        return self.replace(
            labels=labels, classes=classes, label_names=tuple(covariates), label_classes=names
        )

    def with_notes(self, *notes: str) -> RawData:
        """Return a copy of the data with additional notes."""
        return self.replace(notes=(*self.notes, *notes))


def as_class_names(cells: Any) -> list[str | None]:
    """Return the cells of a column as class names, with None where missing."""
    is_missing = cells.isna()
    return [None if m else str(cell) for cell, m in zip(cells, is_missing, strict=True)]


def _frame_bytes(frame: Any) -> bytes:
    columns = []
    for name in frame.columns:
        cells = "\x1f".join(map(str, frame[name].tolist()))
        columns.append(f"{name}\x1e{frame[name].dtype}\x1e{cells}".encode())
    return b"\x1d".join(columns)
