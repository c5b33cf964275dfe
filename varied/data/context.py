"""The codec for the context, which encodes labels as the input ``c`` of a conditional model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.data.covariates import Covariate
from varied.data.labels import Labels, join_labels
from varied.errors import VariedError, lookup
from varied.seeding import permutation
from varied.stored_values import read_fields

Array = npt.NDArray[Any]

#: The maximum number of distinct rows of training labels that are stored, unless the only covariate
#: is a class.
_MAX_ROWS = 1000
#: The maximum difference between two standardized training values. Without this limit, a pixel that
#: is rarely bright could have a standardized value of several hundred.
_MAX_RANGE = 5.0


@dataclass(frozen=True)
class ContextCodec:
    """Encodes the labels of each row, which may be classes or numbers, as one vector.

    Arguments:
        covariates: The labels of each row. The context is the concatenation of their encodings.
        rows: The distinct combinations of labels in the training rows, or in a random subset of
            them if there are too many: for each covariate, the index of a class, a number, or None
            if it is missing. Contexts are drawn from these rows.
        counts: The number of training rows with each combination.

    Example:
        >>> codec = ContextCodec.fit({"animal": (np.array([0, 1, 1]), ("cat", "dog"))})
        >>> codec.encode("dog"), codec.decode(codec.encode(["dog", None]))
        (tensor([[0., 1.]]), ['dog', None])
    """

    covariates: tuple[Covariate, ...]
    rows: tuple[tuple[float | None, ...], ...] = ()
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.covariates)
        if not n or len(self.by_name) < n:
            names = ", ".join(covariate.name for covariate in self.covariates)
            raise VariedError(
                f"A context must have one or more labels with different names, not '{names}'; "
                "rename the labels."
            )
        is_valid = len(self.rows) == len(self.counts) and min(self.counts, default=1) > 0
        for row in self.rows:
            is_valid &= len(row) == n and all(
                c.accepts(value) for c, value in zip(self.covariates, row, strict=True)
            )
        if not is_valid:
            raise VariedError(
                "The rows of a context must have a label for each covariate and a positive count; "
                "create the context with `fit`."
            )

    @classmethod
    def fit(cls, covariates: Mapping[str, Labels]) -> Self:
        """Fit the codec to the labels of the training rows, as in `RawData.covariates`.

        Raises:
            VariedError: If no row has a label, or a covariate is missing in all rows.
        """
        labels = join_labels(covariates)
        is_known = np.isfinite(labels)
        if not is_known.any():
            raise VariedError("No row has a label; train without a context, or pass labels.")
        for name, column in zip(covariates, is_known.T, strict=True):
            if not column.any():
                raise VariedError(f"The label '{name}' is missing in all rows; omit it.")
        low, high = np.nanmin(labels, 0), np.nanmax(labels, 0)
        scale = np.maximum(np.nanstd(labels, 0), (high - low) / _MAX_RANGE)
        mean, scale = np.nanmean(labels, 0), np.where(low == high, 1.0, scale)
        fitted = tuple(
            Covariate(name, classes) if classes else Covariate(name, (), float(m), float(s))
            for (name, (_, classes)), m, s in zip(covariates.items(), mean, scale, strict=True)
        )
        is_one_class = len(fitted) == 1 and fitted[0].classes
        rows, counts = _count(labels[is_known.any(1)], len(labels) if is_one_class else _MAX_ROWS)
        return cls(fitted, rows, counts)

    @property
    def size(self) -> int:
        """The number F of features of ``c``."""
        return sum(covariate.size for covariate in self.covariates)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes if the only covariate is a class; otherwise empty."""
        return self.covariates[0].classes if len(self.covariates) == 1 else ()

    @property
    def by_name(self) -> dict[str, Covariate]:
        """The covariates by name."""
        return {covariate.name: covariate for covariate in self.covariates}

    def encode(self, values: object) -> Tensor:
        """Return the context as float32 with shape (N, F).

        Arguments:
            values: One or more values. Classes are given by name or index: a Python integer is
                interpreted as a name if a class has this name, and as an index otherwise; arrays
                and tensors of numbers contain indices. With several covariates, pass one row or an
                array of rows with a value for each covariate, or a mapping from names to one or
                more values; covariates that are not in the mapping are missing.

        Raises:
            VariedError: If a covariate or a class is unknown; the message suggests the nearest
                name.
        """
        if isinstance(values, Mapping):
            return self._encode_mapping(values)
        if len(self.covariates) == 1:
            return self.covariates[0].encode(values)
        if values is None:
            return torch.zeros(1, self.size)
        if isinstance(values, Tensor):
            values = values.detach().cpu().numpy()
        is_numeric = isinstance(values, np.ndarray) and values.dtype.kind in "biuf"
        rows = np.array(values, dtype=None if is_numeric else object)
        rows = rows[None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or rows.shape[1] != len(self.covariates):
            raise VariedError(
                f"Pass a value for each of {', '.join(self.by_name)}: the shape must be "
                f"(N, {len(self.covariates)}), not {rows.shape}."
            )
        return self._encode_rows(rows)

    def encode_labels(self, covariates: Mapping[str, Labels], *, strict: bool = True) -> Tensor:
        """Return contexts with shape (N, F) for data whose classes may have other indices.

        Arguments:
            covariates: The labels, as in `RawData.covariates`. If there is only one, its name is
                ignored.
            strict: Whether to raise an error for an unknown class instead of treating it as
                missing.

        Raises:
            VariedError: If a covariate is not in the data, or a class is unknown.
        """
        if len(covariates) == len(self.covariates) == 1:
            covariates = dict(zip(self.by_name, covariates.values(), strict=True))
        parts = []
        for covariate in self.covariates:
            labels, classes = lookup(covariates, covariate.name, "label")
            values: Any = labels
            if classes and classes != covariate.classes:
                values = [classes[i] if i >= 0 else None for i in labels]
                if not strict:
                    values = [name if name in covariate.classes else None for name in values]
            parts.append(covariate.encode(values))
        return torch.cat(parts, 1)

    def decode(self, c: Tensor) -> list[Any]:
        """Return the label of each context; with several covariates, a mapping by name.

        A class is returned as its name (None if missing), and a number in its original units.
        """
        sizes = [covariate.size for covariate in self.covariates]
        parts = zip(self.covariates, c.detach().cpu().split(sizes, -1), strict=True)
        columns = {covariate.name: covariate.decode(part) for covariate, part in parts}
        if len(columns) == 1:
            return next(iter(columns.values()))
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def draw(self, n: int, label: object = None) -> Tensor:
        """Return n contexts, with shape (n, F).

        Covariates that are not given are drawn from the training rows with the given classes or,
        if there are none, from all training rows. Each combination of labels is as frequent as in
        these rows, and the order is random. Runs of an earlier version store no rows; covariates
        that are not given are then missing.

        Arguments:
            n: The number of contexts.
            label: One or more values, as in `encode`, which are repeated until there are ``n``;
                if None, all covariates are drawn.

        Raises:
            VariedError: If a covariate or a class is unknown.
        """
        label = {} if label is None else label
        given = _repeat(self.encode(label), n)
        if self._is_given(label).all():
            return given
        return self.complete(given, self._draw_rows(given), label)

    def complete(self, c: Tensor, others: Tensor, label: object) -> Tensor:
        """Replace the covariates that a label does not contain.

        Arguments:
            c: The encoded label, with shape (..., F).
            others: The contexts from which the other covariates are taken, with shape (..., F).
            label: The label.
        """
        return torch.where(self._is_given(label), c, others)

    def to_json(self) -> dict[str, object]:
        """Return a JSON-serializable description of the codec, to be read by `open_context`."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ContextCodec:
        """Return the codec that `to_json` describes.

        Raises:
            VariedError: If a value is not valid; the message says where.
        """
        if isinstance(values, Mapping) and "covariates" not in values:
            return read_fields(_upgrade, values)
        return read_fields(cls, values)

    def _is_given(self, label: object) -> Tensor:
        """Return which features encode the covariates in a label, as bool with shape (F)."""
        names = label if isinstance(label, Mapping) else self.by_name
        return torch.tensor([c.name in names for c in self.covariates for _ in range(c.size)])

    def _encode_mapping(self, values: Mapping[Any, object]) -> Tensor:
        parts = {
            name: lookup(self.by_name, name, "covariate").encode(v) for name, v in values.items()
        }
        n = max(map(len, parts.values()), default=1)
        missing = {covariate.name: torch.zeros(n, covariate.size) for covariate in self.covariates}
        return torch.cat([_repeat(part, n) for part in (missing | parts).values()], 1)

    def _encode_rows(self, rows: Array) -> Tensor:
        """Encode rows with a value for each covariate; numeric arrays contain class indices."""
        parts = []
        for covariate, column in zip(self.covariates, rows.T, strict=True):
            is_index = covariate.classes and rows.dtype != object
            values = np.where(np.isnan(column), -1, column).astype(int) if is_index else column
            parts.append(covariate.encode(values))
        return torch.cat(parts, 1)

    def _draw_rows(self, given: Tensor) -> Tensor:
        """Return, for each row, a stored context with the given classes, or any if there is none.

        Arguments:
            given: The encoded labels, which are 0 for covariates that are not given.
        """
        if not self.rows:
            return torch.zeros_like(given)
        stored = self._encode_rows(np.array(self.rows, dtype=np.float64))
        is_class = [bool(c.classes) for c in self.covariates for _ in range(c.size)]
        groups, group = torch.unique(given * torch.tensor(is_class), dim=0, return_inverse=True)
        contexts, counts = torch.empty_like(given), torch.tensor(self.counts, dtype=torch.float64)
        for i, classes in enumerate(groups):
            has_classes = (stored * classes).sum(1) == classes.sum()
            weights = counts * has_classes if has_classes.any() else counts
            contexts[group == i] = stored[_quantiles(weights, int((group == i).sum()))]
        return contexts


def open_context(values: Mapping[str, Any] | None) -> ContextCodec | None:
    """Return the codec that `ContextCodec.to_json` describes, or None if there is no context.

    Example:
        >>> open_context({"classes": ["cat", "dog"]}).size
        2
    """
    return None if values is None else ContextCodec.from_json(values)


def _upgrade(
    classes: tuple[str, ...] = (),
    mean: tuple[float, ...] = (),
    scale: tuple[float, ...] = (),
    counts: tuple[int, ...] = (),
) -> ContextCodec:
    """Return the codec for the fields of earlier versions, with one class or with numbers."""
    numbers = list(zip(mean, scale, strict=True))
    covariates = [Covariate("class", classes)] if classes else []
    covariates += [
        Covariate(f"label {i}" if len(numbers) > 1 else "label", (), m, s)
        for i, (m, s) in enumerate(numbers, 1)
    ]
    return ContextCodec(tuple(covariates), tuple((i,) for i in range(len(counts))), counts)


def _count(
    labels: Array, limit: int
) -> tuple[tuple[tuple[float | None, ...], ...], tuple[int, ...]]:
    """Return the distinct rows of labels, and the number of times that each occurs.

    If more than ``limit`` rows are distinct, only ``limit`` random rows are used.
    """
    # np.unique does not recognize rows with NaN as equal.
    filled = np.where(np.isnan(labels), -np.inf, labels).astype(np.float32)
    rows, counts = np.unique(filled, axis=0, return_counts=True)
    if len(rows) > limit:
        chosen = filled[permutation(len(filled), 0, "context").numpy()[:limit]]
        rows, counts = np.unique(chosen, axis=0, return_counts=True)
    known = (tuple(None if np.isinf(v) else float(str(v)) for v in row) for row in rows)
    return tuple(known), tuple(counts.tolist())


def _quantiles(weights: Tensor, n: int) -> Tensor:
    """Return n shuffled indices whose frequencies are proportional to the weights."""
    cumulative = weights.cumsum(0)
    quantiles = (torch.arange(n, dtype=torch.float64) + 0.5) / n * cumulative[-1]
    return torch.searchsorted(cumulative, quantiles)[permutation(n, 0, "usual")]


def _repeat(c: Tensor, n: int) -> Tensor:
    """Repeat the rows of a tensor until there are n."""
    return c.repeat(-(-n // len(c)), 1)[:n]
