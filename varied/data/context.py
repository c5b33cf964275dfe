"""The codec for the context, which encodes labels as the input ``c`` of a conditional model."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.errors import VariedError, suggest
from varied.seeding import permutation

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ContextCodec:
    """Encodes classes as one-hot vectors and standardizes numbers.

    Numbers are standardized with the statistics of the training rows. A missing value (None; -1 for
    classes, NaN for numbers) is encoded as zeros.

    Arguments:
        classes: The names of the classes; empty for numbers.
        mean: The training mean of each number.
        scale: The training standard deviation of each number; 1 if the number is constant.
        counts: The number of training rows in each class; empty for numbers.

    Example:
        >>> codec = ContextCodec.fit(np.array([0, 1, 1]), ("cat", "dog"))
        >>> codec.encode("dog"), codec.decode(codec.encode(["dog", None]))
        (tensor([[0., 1.]]), ['dog', None])
    """

    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()

    @classmethod
    def fit(cls, labels: Array, classes: Iterable[str] = ()) -> Self:
        """Fit the codec to the labels of the training rows, as in `RawData`.

        Raises:
            VariedError: If no row has a label.
        """
        classes = tuple(classes)
        labels = np.asarray(labels)
        is_known = labels >= 0 if classes else np.isfinite(labels)
        if not is_known.any():
            raise VariedError("No row has a label; train without a context, or pass labels.")
        if classes:
            counts = np.bincount(labels[is_known].astype(np.int64), minlength=len(classes))
            return cls(classes, counts=tuple(counts.tolist()))
        numbers = labels.astype(np.float64).reshape(len(labels), -1)
        if not np.isfinite(numbers).any(0).all():
            raise VariedError("A label column contains no numbers; omit this column.")
        low, high = np.nanmin(numbers, 0), np.nanmax(numbers, 0)
        scale = np.where(low == high, 1.0, np.nanstd(numbers, 0))
        return cls((), tuple(np.nanmean(numbers, 0).tolist()), tuple(scale.tolist()))

    @property
    def size(self) -> int:
        """The number F of features of ``c``."""
        return len(self.classes) or len(self.mean)

    def encode(self, values: object) -> Tensor:
        """Return the context as float32 with shape (N, F).

        Arguments:
            values: One or more values. Classes are given by name or index: a Python integer is
                interpreted as a name if a class has this name, and as an index otherwise; arrays
                and tensors of integers contain indices. Numbers are passed as one row or an array
                of rows.

        Raises:
            VariedError: If a class is unknown; the message suggests the nearest name.
        """
        if isinstance(values, Tensor):
            values = values.detach().cpu().numpy()
        return self._one_hot(values) if self.classes else self._standardize(values)

    def decode(self, c: Tensor) -> list[str | None] | Array:
        """Return the names of the classes (None if missing), or numbers in their original units."""
        if not self.classes:
            numbers: Array = c.detach().cpu().numpy() * np.array(self.scale) + np.array(self.mean)
            return numbers
        rows = zip(c.argmax(-1).tolist(), (c != 0).any(-1).tolist(), strict=True)
        return [self.classes[i] if is_known else None for i, is_known in rows]

    def index(self, value: object) -> int:
        """Return the index of a class, given by name or index; None and -1 become -1.

        Raises:
            VariedError: If there is no such class.
        """
        is_whole = isinstance(value, bool | np.bool_)
        is_whole = is_whole or (isinstance(value, float) and value % 1 == 0)
        word = str(int(value) if is_whole else value).strip()  # type: ignore[call-overload]
        if word in self.classes:
            return self.classes.index(word)
        if value is None or word in ("", "-1"):
            return -1
        if word.isdecimal() and int(word) < len(self.classes):
            return int(word)
        raise VariedError(f"There is no class '{word}': {suggest(word, self.classes)}")

    def column(self, cells: pd.Series[Any], *, strict: bool = True) -> Array:
        """Convert a column of a table to labels, as in `RawData`.

        Arguments:
            cells: The column, which contains class names or numbers.
            strict: Whether to raise an error for an unknown class instead of treating it as
                missing.

        Raises:
            VariedError: If a class is unknown; the message names the row and the nearest class.
        """
        import pandas as pd

        if not self.classes:
            numbers: Array = pd.to_numeric(cells, errors="coerce").to_numpy("f4", na_value=np.nan)
            return numbers
        index = {name: i for i, name in enumerate(self.classes)}
        labels = np.full(len(cells), -1)
        for row in np.flatnonzero(cells.notna()):
            cell = cells.iloc[row]
            is_whole = isinstance(cell, float) and cell.is_integer() and str(cell) not in index
            word = str(int(cell) if is_whole else cell)
            if strict and word not in index:
                raise VariedError(
                    f"In row {row + 1:,}, '{cells.name}' is '{word}', which is not a class of this "
                    f"run: {suggest(word, self.classes)}"
                )
            labels[row] = index.get(word, -1)
        return labels

    def proportional(self, n: int) -> Tensor:
        """Return n shuffled contexts with the class frequencies of the training rows."""
        cumulative = torch.tensor(self.counts, dtype=torch.float64).cumsum(0)
        quantiles = (torch.arange(n, dtype=torch.float64) + 0.5) / n * cumulative[-1]
        indices = torch.searchsorted(cumulative, quantiles)
        return torch.eye(self.size)[indices[permutation(n, 0, "usual")]]

    def to_json(self) -> dict[str, object]:
        """Return a JSON-serializable description of the codec, to be read by `open_context`."""
        return {k: list(v) for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the codec that `to_json` describes.

        Raises:
            VariedError: If a key is unknown; the message suggests the nearest name.
        """
        names = list(inspect.signature(cls).parameters)
        for key in values:
            if key not in names:
                raise VariedError(f"The context codec has no field '{key}': {suggest(key, names)}")
        return cls(**{k: tuple(v) for k, v in values.items()})

    def _one_hot(self, values: object) -> Tensor:
        if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
            indices = self._check_indices(np.atleast_1d(values).astype(np.int64))
        else:
            indices = np.array([self.index(v) for v in _as_list(values)], dtype=np.int64)
        c = torch.zeros(len(indices), len(self.classes))
        rows = torch.from_numpy(np.flatnonzero(indices >= 0))
        c[rows, torch.from_numpy(indices)[rows]] = 1.0
        return c

    def _check_indices(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        is_valid = indices.ndim == 1 and np.all((indices >= -1) & (indices < self.size))
        if not is_valid:
            raise VariedError(
                f"Pass one class index for each row, between 0 and {self.size - 1}, or -1 for a "
                "missing class."
            )
        return indices

    def _standardize(self, values: object) -> Tensor:
        try:
            numbers = np.array([float("nan")] if values is None else values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise VariedError(
                f"The context must be numbers of shape (N, {self.size}), not {values!r}."
            ) from error
        if numbers.ndim < 2:
            numbers = numbers.reshape(-1, 1) if self.size == 1 else np.atleast_2d(numbers)
        if numbers.shape == (1, 1) and np.isnan(numbers).all():
            numbers = np.repeat(numbers, self.size, axis=1)
        if numbers.ndim != 2 or numbers.shape[1] != self.size:
            raise VariedError(
                f"The context must be numbers of shape (N, {self.size}), not of shape "
                f"{numbers.shape}."
            )
        if np.isinf(numbers).any():
            raise VariedError("The context contains an infinite number; use finite numbers.")
        c = (numbers - np.array(self.mean)) / np.array(self.scale)
        return torch.from_numpy(np.nan_to_num(c, nan=0.0).astype(np.float32))


def open_context(values: Mapping[str, Any] | None) -> ContextCodec | None:
    """Return the codec that `ContextCodec.to_json` describes, or None if there is no context.

    Example:
        >>> open_context({"classes": ["cat", "dog"]}).size
        2
    """
    return None if values is None else ContextCodec.from_json(values)


def _as_list(values: object) -> list[Any]:
    is_one = isinstance(values, str) or not isinstance(values, Iterable)
    return [values] if is_one else list(values)  # type: ignore[call-overload]
