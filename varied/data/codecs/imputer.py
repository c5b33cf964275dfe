"""The base class of imputers, which fill missing values with draws from a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.data.batches import Batch
from varied.data.raw_data import RawData

if TYPE_CHECKING:
    import pandas as pd

#: The quantiles that bound 90% of the draws.
QUANTILES = (0.05, 0.95)
#: The number of rows on which intervals are calibrated.
CALIBRATION_ROWS = 200


@dataclass(frozen=True)
class HiddenCells:
    """Rows in which some observed numbers are hidden.

    Arguments:
        x: The rows without these numbers, with shape (N, *shape).
        rows: The row of each hidden number, with shape (M).
        elements: The index of each hidden number in its flattened row, with shape (M).
        values: The hidden numbers, with shape (M).
        groups: The index of the scale of each hidden number, with shape (M).
        mask: 1 where observed, with the shape of ``x``; None for the rows of a table.
    """

    x: Tensor
    rows: Tensor
    elements: Tensor
    values: Tensor
    groups: Tensor
    mask: Tensor | None = None


class Imputer(ABC):
    """Finds the missing values of data and fills them with draws from a model."""

    def determine(self, data: RawData) -> RawData:
        """Compute the missing values that follow exactly from observed values, if there are any."""
        return data

    @abstractmethod
    def incomplete_rows(self, batch: Batch) -> Tensor:
        """Return the indices of the stored rows with at least one missing value."""

    def calibration_rows(self, batch: Batch) -> Tensor:
        """Return the indices of the validation rows on which intervals are calibrated."""
        return torch.arange(min(len(batch.x), CALIBRATION_ROWS))

    @property
    @abstractmethod
    def n_scales(self) -> int:
        """The number of groups of numbers whose draws have a common scale."""

    @abstractmethod
    def scale(self, factors: Sequence[float]) -> Tensor:
        """Return a row that contains the factor of its group for each number, and 1 elsewhere."""

    @abstractmethod
    def hide_numbers(self, batch: Batch, seed: int) -> Iterator[HiddenCells]:
        """Yield the rows several times, each time with different numbers hidden.

        Each observed number is hidden at most once.

        Arguments:
            batch: The rows, as model inputs.
            seed: The random seed.
        """

    @abstractmethod
    def fill(
        self, data: RawData, rows: npt.NDArray[np.int64], draws: Sequence[Tensor]
    ) -> tuple[Any, list[Any], pd.DataFrame]:
        """Fill the missing values.

        Arguments:
            data: The data.
            rows: The indices of the rows to which the draws belong.
            draws: The draws, each with shape (len(rows), *shape).

        Returns:
            The data with the mean, the median or the most frequent value of the draws in place of
            each missing value; the completed data of each draw; and a table with one row per filled
            value, which contains the bounds of the interval that contains 90% of the draws, or the
            frequency of the level.
        """
