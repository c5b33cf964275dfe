"""A table whose missing cells were filled, and how sure of each cell one can be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from varied import functional, plots
from varied.data.codecs import TableCodec
from varied.data.codecs.columns import Column, NumericColumn
from varied.functional.interval_calibration import DRAWN
from varied.runs.opening import OpenRun
from varied.runs.table_result import TableResult
from varied.seeding import seeded

__all__ = ["ImputationResult", "imputation_result", "imputation_scale"]

#: The quantiles between which 90 % of the draws lie.
TAILS = (0.05, 0.95)

#: Validation rows that are looked at, and in how many turns.
LOOKED, FOLDS = 200, 3


@dataclass(frozen=True, repr=False)
class ImputationResult(TableResult):
    """A table, filled.

    Arguments:
        array: The person's own table, the mean or the likeliest level in each cell that was
            missing; what was there is untouched.
        draws: The table completed several times over, each cell drawn: an analysis that is done on
            each of them, and pooled, knows how uncertain its cells were.
        cells: A row for each cell that was filled: its row (from 1) and column, its value; for
            numbers and dates the interval that holds 90 % of the draws, for choices the share of
            the draws that had that value.
    """

    draws: Sequence[Any] = ()
    cells: Any = field(default=None)

    def __repr__(self) -> str:
        return f"Imputed({len(self.array):,} rows, {len(self.cells):,} cells filled)"


def imputation_result(
    frame: pd.DataFrame,
    codec: TableCodec,
    rows: np.ndarray[Any, Any],
    filled: Iterable[Tensor],
) -> ImputationResult:
    """Return the table filled by draws of the rows that had gaps.

    Arguments:
        frame: The person's table.
        codec: What its columns are.
        rows: Which rows were drawn.
        filled: The draws, each with shape (rows, W).
    """
    made = [codec.decode(one) for one in filled]
    best, draws, cells = frame.copy(), [frame.copy() for _ in made], []
    for column in codec.learned:
        name = column.name
        gap = frame[name].isna().to_numpy()[rows]
        if not gap.any():
            continue
        drawn = [one[name][gap].reset_index(drop=True) for one in made]
        places = rows[gap]
        value, told = _told(column, drawn)
        for table, cell in zip([best, *draws], [value, *drawn], strict=True):
            at = table.columns.get_loc(name)
            table[name] = table[name].astype(column.dtype)
            table.iloc[places, at] = cell.astype(column.dtype).array
        cells.append(pd.DataFrame({"row": places + 1, "column": name, "value": value, **told}))
    names = ["row", "column", "value", "low", "high", "share"]
    empty = pd.DataFrame(columns=names)
    every = pd.concat([cell.astype(object) for cell in cells]) if cells else empty
    every = every.reindex(columns=names).sort_values("row", kind="stable", ignore_index=True)
    return ImputationResult(best, best, plots.table_rows, codec.form, draws, every)


def imputation_scale(run: OpenRun) -> float:
    """Return what drawn numbers are to be widened by, as the validation rows of a run ask for.

    Each known cell of a column of numbers without frequent values is hidden once, with a third of
    the others, and drawn. It is 1 where there are few of these cells, and where the model has no
    density to choose draws by.
    """
    codec: Any = run.codec
    batch, layout = run.encode_items(run.split("validation").first(LOOKED)), codec.layout
    free = [(k, at) for k, at in enumerate(layout.numbers) if at not in layout.choices]
    if "density" not in run.model.provides or not free:
        return 1.0
    scores, columns = torch.tensor(free).T
    x, first = codec.load(batch.x), layout.parts[0]
    with seeded(run.spec.plan.seed, "hidden"):
        fold = torch.where(x[:, columns] > 0, torch.randint(FOLDS, (len(x), len(free))), -1)
    drawn, truth = [], []
    for index in range(FOLDS):
        row, place = torch.nonzero(fold == index, as_tuple=True)
        hidden = x.clone()
        hidden[row, columns[place]] = hidden[row, first + scores[place]] = 0
        made = functional.impute(run.model, hidden, batch.c, n_draws=DRAWN)
        drawn.append(made[:, row, first + scores[place]])
        truth.append(x[row, first + scores[place]])
    return functional.inflation_factor(torch.cat(drawn, 1), torch.cat(truth))


def _told(column: Column, drawn: list[pd.Series[Any]]) -> tuple[pd.Series[Any], dict[str, Any]]:
    """Return the value of each cell, and how sure it is."""
    if isinstance(column, NumericColumn):
        numbers = np.stack([column.numbers(one) for one in drawn], 1)
        low, high = (column.restore(np.quantile(numbers, share, 1)) for share in TAILS)
        return column.restore(numbers.mean(1)), {"low": low, "high": high}
    table = pd.concat(drawn, axis=1)
    if column.dtype in ("Int64", "float64") and column.kind != "yes/no":  # its levels have an order
        ranked = np.sort(table.to_numpy(dtype=float), axis=1)
        places = [round(share * (len(drawn) - 1)) for share in (TAILS[0], 0.5, TAILS[1])]
        low, value, high = (pd.Series(ranked[:, place]) for place in places)
        return value, {"low": low.to_numpy(), "high": high.to_numpy()}
    value = table.mode(axis=1)[0]
    return value, {"share": table.eq(value, axis=0).mean(axis=1).to_numpy(dtype=float)}
