"""The labels that form a context, each of which is a class or a number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.data.labels import Labels
from varied.errors import VariedError, suggest

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Covariate:
    """A label of each row: a class, encoded as a one-hot vector, or a standardized number.

    A missing value (None; -1 for classes, NaN for numbers) is encoded as zeros.

    Arguments:
        name: The name of the label, such as the name of its column.
        classes: The names of the classes; empty for numbers.
        mean: The training mean of a number.
        scale: The training standard deviation of a number, or a fifth of its range if this is
            larger; 1 if the number is constant.
    """

    name: str
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise VariedError(
                f"The scale of the label '{self.name}' is {self.scale}, but must be positive; use "
                "the standard deviation of the label in the training rows, or 1 if it is 0."
            )

    def accepts(self, value: float | None) -> bool:
        """Return whether a value is missing, a number or the index of a class."""
        if value is None or not self.classes:
            return True
        return 0 <= value < len(self.classes) and value % 1 == 0

    @property
    def size(self) -> int:
        """The number of features that encode the covariate."""
        return len(self.classes) or 1

    def encode(self, values: object) -> Tensor:
        """Return one or more values as float32 with shape (N, size); see `ContextCodec.encode`.

        Raises:
            VariedError: If a class is unknown, or a value is not a number.
        """
        if isinstance(values, Tensor):
            values = values.detach().cpu().numpy()
        return self._one_hot(values) if self.classes else self._standardize(values)

    def decode(self, c: Tensor) -> list[Any]:
        """Return the names of the classes (None if missing), or numbers in their original units."""
        if not self.classes:
            numbers: list[float] = (c[:, 0].double() * self.scale + self.mean).tolist()
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
        text = str(int(value) if is_whole else value)  # type: ignore[call-overload]
        word = text.strip()
        for name in (text, word):
            if name in self.classes:
                return self.classes.index(name)
        if value is None or word in ("", "-1"):
            return -1
        if word.isdecimal() and int(word) < len(self.classes):
            return int(word)
        raise VariedError(f"There is no class '{word}': {suggest(word, self.classes)}")

    def column(self, cells: pd.Series[Any], *, strict: bool = True) -> Labels:
        """Convert a column of a table to labels, as in `RawData.covariates`.

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
            return numbers, ()
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
        return labels, self.classes

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
            numbers = np.array(float("nan") if values is None else values, dtype=np.float64)
            numbers = numbers.reshape(-1, 1) if numbers.ndim < 2 else numbers
        except (TypeError, ValueError):
            raise VariedError(
                f"'{self.name}' must be a number, got {values!r}; pass a number such as "
                f"{self.mean:.3g}."
            ) from None
        if numbers.shape[1:] != (1,):
            raise VariedError(
                f"'{self.name}' is one number per row; pass an array of shape (N, 1), not "
                f"{numbers.shape}."
            )
        if np.isinf(numbers).any():
            raise VariedError("The context contains an infinite number; use finite numbers.")
        c = (numbers - self.mean) / self.scale
        return torch.from_numpy(np.nan_to_num(c, nan=0.0).astype(np.float32))


def _as_list(values: object) -> list[Any]:
    is_one = isinstance(values, str) or not isinstance(values, Iterable)
    return [values] if is_one else list(values)  # type: ignore[call-overload]
