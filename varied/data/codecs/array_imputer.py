"""Imputation of the missing values of an array with draws from a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.data.batches import Batch
from varied.data.codecs.imputer import QUANTILES, HiddenCells, Imputer
from varied.data.raw_data import RawData
from varied.seeding import seeded

if TYPE_CHECKING:
    import pandas as pd

    from varied.data.codecs.arrays import ArrayCodec

#: The number of rounds, each of which hides a tenth of the observed numbers.
_FOLDS = 10
#: The approximate maximum number of values in the rows in which values are hidden.
_MAX_VALUES = 20_000


class ArrayImputer(Imputer):
    """Finds the missing values of an array and fills them with draws from a model.

    Arguments:
        codec: The codec of the array.
    """

    def __init__(self, codec: ArrayCodec) -> None:
        self.codec = codec

    def incomplete_rows(self, batch: Batch) -> Tensor:
        """Return the indices of the rows with at least one missing value."""
        if batch.mask is None:
            return torch.empty(0, dtype=torch.int64)
        return torch.nonzero((batch.mask == 0).flatten(1).any(1))[:, 0]

    @property
    def n_scales(self) -> int:
        """1, since all values have the same scale."""
        return 1

    def scale(self, factors: Sequence[float]) -> Tensor:
        """Return a row that contains the factor everywhere if the values are real, or else 1."""
        return torch.full(self.codec.shape, factors[0] if self.codec.domain == "real" else 1.0)

    def hide_numbers(self, batch: Batch, seed: int) -> Iterator[HiddenCells]:
        """Yield the first rows ten times, each time with a different tenth of the values hidden.

        If more were hidden, the rows would differ too much from the training rows. Only real values
        are hidden, each of them once.
        """
        if self.codec.domain != "real":
            return
        x = batch.x[: max(1, _MAX_VALUES // batch.x[0].numel())]
        mask = torch.ones_like(x) if batch.mask is None else batch.mask[: len(x)]
        with seeded(seed, "hidden"):
            folds = torch.where(mask > 0, torch.randint(_FOLDS, x.shape), -1)
        for fold in range(_FOLDS):
            is_hidden = folds == fold
            rows, elements = torch.nonzero(is_hidden.flatten(1), as_tuple=True)
            hidden, observed = (t.masked_fill(is_hidden, 0) for t in (x, mask))
            values, groups = x.flatten(1)[rows, elements], torch.zeros_like(rows)
            yield HiddenCells(hidden, rows, elements, values, groups, observed)

    def fill(
        self, data: RawData, rows: npt.NDArray[np.int64], draws: Sequence[Tensor]
    ) -> tuple[npt.NDArray[Any], list[npt.NDArray[Any]], pd.DataFrame]:
        """Fill the missing values of an array; see `Imputer.fill`.

        The table has the zero-based index of each filled value in the columns row, axis_1, axis_2,
        and so on. Binary values are filled with the most frequent value, and counts with the
        rounded mean.
        """
        import pandas as pd

        positions = np.argwhere(np.isnan(data.x[rows]))
        within, index = tuple(positions.T), (rows[positions[:, 0]], *positions.T[1:])
        values = np.stack([self.codec.decode(draw)[within] for draw in draws] or [np.empty(0)])
        point = values.mean(0)
        point = point.round() if self.codec.domain in ("binary", "count") else point
        completed = []
        for value in (point, *values[: len(draws)]):
            completed.append(data.x.copy())
            completed[-1][index] = value
        low, high = np.quantile(values, QUANTILES, axis=0)
        names = ("row", *(f"axis_{axis}" for axis in range(1, data.x.ndim)))
        cells = pd.DataFrame(dict(zip(names, index, strict=True)))
        return completed[0], completed[1:], cells.assign(value=point, ci_low=low, ci_high=high)
