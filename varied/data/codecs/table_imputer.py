"""Imputation of the missing cells of a table with draws from a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.data.batches import Batch
from varied.data.codecs.columns import Column, IgnoredColumn, NumericColumn
from varied.data.codecs.imputer import CALIBRATION_ROWS, QUANTILES, HiddenCells, Imputer
from varied.data.raw_data import RawData
from varied.seeding import seeded

if TYPE_CHECKING:
    import pandas as pd

    from varied.data.codecs.tables import TableCodec

#: The number of rounds, each of which hides a third of the observed numbers.
_FOLDS = 3
#: The minimum number of cells on which the intervals of a column are calibrated, if it has as many.
_MIN_CELLS = 30
_CELL_COLUMNS = ("row", "column", "value", "ci_low", "ci_high", "frequency")


class TableImputer(Imputer):
    """Finds the missing cells of a table and fills them with draws from a model.

    Arguments:
        codec: The codec of the table.
    """

    def __init__(self, codec: TableCodec) -> None:
        self.codec = codec

    def determine(self, data: RawData) -> RawData:
        """Compute the missing cells that follow exactly from relations and observed cells."""
        return replace(data, x=self.codec.determine(data.x))

    def incomplete_rows(self, batch: Batch) -> Tensor:
        """Return the indices of the rows with at least one missing cell."""
        n_flags = self.codec.layout.block_sizes[0]
        return torch.nonzero((batch.x[:, :n_flags] == 0).any(1))[:, 0]

    def calibration_rows(self, batch: Batch) -> Tensor:
        """Return the indices of the first rows, and of more rows for mostly missing columns."""
        observed = batch.x[:, : self.codec.layout.block_sizes[0]] > 0
        n_before = observed.cumsum(0)
        is_needed = (observed & (n_before <= _MIN_CELLS)).any(1)
        is_needed[:CALIBRATION_ROWS] = True
        return torch.nonzero(is_needed)[:, 0]

    @property
    def n_scales(self) -> int:
        """The number of columns with numbers."""
        return self.codec.layout.block_sizes[1]

    def scale(self, factors: Sequence[float]) -> Tensor:
        """Return an encoded row that contains the factor of each number, and 1 elsewhere.

        A run of an earlier version has a single factor for all columns.
        """
        scale = torch.ones(self.codec.layout.width)
        scale.split(self.codec.layout.block_sizes)[1][:] = torch.tensor(factors)
        return scale

    def hide_numbers(self, batch: Batch, seed: int) -> Iterator[HiddenCells]:
        """Yield the rows three times, each time with a different third of the numbers hidden.

        Each observed number is hidden once; columns with frequent values are not hidden.
        """
        x, layout = batch.x, self.codec.layout
        positions = [
            (i, column)
            for i, column in enumerate(layout.number_columns)
            if column not in layout.category_columns
        ]
        if not positions:
            return
        numbers, columns = torch.tensor(positions).T
        elements = layout.block_sizes[0] + numbers
        with seeded(seed, "hidden"):
            folds = torch.randint(_FOLDS, (len(x), len(columns)))
            folds = torch.where(x[:, columns] > 0, folds, -1)
        for fold in range(_FOLDS):
            rows, which = torch.nonzero(folds == fold, as_tuple=True)
            hidden = x.clone()
            hidden[rows, columns[which]] = hidden[rows, elements[which]] = 0
            values = x[rows, elements[which]]
            yield HiddenCells(hidden, rows, elements[which], values, numbers[which])

    def fill(
        self, data: RawData, rows: npt.NDArray[np.int64], draws: Sequence[Tensor]
    ) -> tuple[pd.DataFrame, list[pd.DataFrame], pd.DataFrame]:
        """Fill the missing cells of a table; see `Imputer.fill`."""
        import pandas as pd

        known, learned = self.codec.determine(data.x), self.codec.learned
        observed = known.iloc[rows]
        decoded = [self.codec.decode(draw, observed_cells=observed) for draw in draws]
        filled, completed = known.copy(), [known.copy() for _ in draws]
        masks = {column.name: data.x[column.name].isna().to_numpy() for column in learned}
        bounds = {}
        for column in learned:
            name = column.name
            if not masks[name].any():
                continue
            for frame, draw in zip(completed, decoded, strict=True):
                frame[name] = _replace(frame[name].astype(column.dtype), rows, draw[name])
            values = [f[name][masks[name]].reset_index(drop=True) for f in completed or [known]]
            point, bounds[name] = _summarize(column, values)
            cells = filled[name].astype(column.dtype)
            filled[name] = _replace(cells, masks[name], point.astype(column.dtype))
        filled = self.codec.satisfy(filled, known)
        summaries = []
        for name, intervals in bounds.items():
            index, value = np.flatnonzero(masks[name]), filled[name][masks[name]].array
            summary = {"row": index + 1, "column": name, "value": value, **intervals}
            summaries.append(pd.DataFrame(summary).astype(object))
        for other in self.codec.columns:
            if isinstance(other, IgnoredColumn) and other.value is not None:
                summaries += self._fill_constant(other, [filled, *completed])
        table = pd.concat(summaries) if summaries else pd.DataFrame(columns=_CELL_COLUMNS)
        table = table.reindex(columns=list(_CELL_COLUMNS))
        return filled, completed, table.sort_values("row", kind="stable", ignore_index=True)

    def _fill_constant(self, column: IgnoredColumn, frames: list[pd.DataFrame]) -> list[Any]:
        """Fill the missing cells of a constant column in place, and describe them."""
        import pandas as pd

        cells = frames[0].get(column.name)
        if cells is None or not cells.isna().any():
            return []
        rows = np.flatnonzero(cells.isna()) + 1
        values = column.fill(cells)
        for frame in frames:
            frame[column.name] = values
        summary = {"row": rows, "column": column.name, "value": column.decode(len(rows))}
        return [pd.DataFrame(summary | {"frequency": 1.0}).astype(object)]


def _replace(cells: pd.Series[Any], where: Any, values: pd.Series[Any]) -> pd.Series[Any]:
    """Return cells with new values at the given positions."""
    cells = cells.copy()
    cells.iloc[where] = values.array
    return cells


def _summarize(
    column: Column, draws: list[pd.Series[Any]]
) -> tuple[pd.Series[Any], dict[str, Any]]:
    """Return the value of each cell, and its interval or the frequency of its level."""
    import pandas as pd

    if isinstance(column, NumericColumn):
        numbers = np.stack([column.to_float(draw) for draw in draws], 1)
        low, high = (column.from_float(np.quantile(numbers, q, 1)) for q in QUANTILES)
        return column.from_float(numbers.mean(1)), {"ci_low": low, "ci_high": high}
    table = pd.concat(draws, axis=1)
    if column.dtype in ("Int64", "float64") and column.kind != "yes/no":  # ordered levels
        ranked = np.sort(table.to_numpy(dtype=float), axis=1)
        ranks = [round(q * (len(draws) - 1)) for q in (QUANTILES[0], 0.5, QUANTILES[1])]
        low, value, high = (pd.Series(ranked[:, rank]) for rank in ranks)
        return value, {"ci_low": low.to_numpy(), "ci_high": high.to_numpy()}
    value = table.mode(axis=1)[0]
    return value, {"frequency": table.eq(value, axis=0).mean(axis=1).to_numpy(dtype=float)}
