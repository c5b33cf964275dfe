"""Imputation of the missing cells of a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from varied import functional
from varied.runs.base import RunBase
from varied.runs.result import Result, draw_grid

#: The number of validation rows for calibrating intervals, and the number of draws per cell.
_CALIBRATION_ROWS, _CALIBRATION_DRAWS = 200, 200


@dataclass(frozen=True, repr=False, kw_only=True)
class ImputationResult(Result):
    """A table whose missing cells are imputed.

    Arguments:
        array: The table in which each missing cell contains the mean or the most frequent level of
            its draws; observed cells do not change.
        draws: The completed tables, one for each draw. Analyzing each table and pooling the
            results accounts for the uncertainty of the missing cells.
        cells: A `pandas.DataFrame` with one row per imputed cell, which contains the row (from 1),
            the column and the value. For numbers and dates, 90 % of the draws are between
            ``ci_low`` and ``ci_high``; for categories, ``frequency`` is the fraction of the draws
            with this level.
    """

    draws: tuple[Any, ...]
    cells: Any

    def __repr__(self) -> str:
        return f"ImputationResult({len(self.array):,} rows, {len(self.cells):,} imputed cells)"

    def save_cells(self, path: str | Path) -> Path:
        """Write the imputed cells and intervals to a .csv, .tsv, .parquet or .feather file."""
        return self.codec.write_table(self.cells, Path(path))


def impute(
    run: RunBase,
    source: Any = None,
    *,
    n_draws: int = 50,
    samples: int = 100,
    sweeps: int = 0,
    seed: int = 0,
) -> ImputationResult:
    """Impute the missing cells of a table, with several draws for each cell.

    Arguments:
        run: The run.
        source: The table; None uses the test rows.
        n_draws: The number of draws for each cell.
        samples: The number of proposed codes from which each draw is resampled.
        sweeps: How many times a completed row is encoded again.
        seed: The random seed.

    Raises:
        VariedError: If the run was not trained on a table.
    """
    data, imputer = run.read(source), run.codec.imputer()
    batch = run.encode_data(data)
    rows = imputer.incomplete_rows(batch.x)
    draws = torch.empty(0)
    if len(rows):
        draws = functional.impute(
            run.model,
            run.codec.load(batch.x[rows]),
            None if batch.c is None else batch.c[rows],
            n_draws=n_draws,
            samples=samples,
            sweeps=sweeps,
            scale=imputer.scale(run.store.read_calibration("imputation_scale")),
            seed=seed,
        )
    filled, completed, cells = imputer.fill(data, rows.numpy(), list(draws))
    shape = (len(data),)
    images = batch.x.numpy()
    return ImputationResult(
        run.codec, filled, images, draw_grid, shape, draws=tuple(completed), cells=cells
    )


def calibrate_scale(run: RunBase) -> float:
    """Return the factor that calibrates intervals of imputed numbers on the validation rows.

    Each observed number is hidden once and imputed. The factor is 1 if there are too few numbers,
    or the model has no density.
    """
    imputer = run.codec.imputer()
    batch = run.encode_data(run.split("validation").head(_CALIBRATION_ROWS))
    if not run.has_density:
        return 1.0
    draws, values = [], []
    for cells in imputer.hide_numbers(run.codec.load(batch.x), run.spec.plan.seed):
        completed = functional.impute(run.model, cells.x, batch.c, n_draws=_CALIBRATION_DRAWS)
        draws.append(completed[:, cells.rows, cells.elements])
        values.append(cells.values)
    return functional.inflation_factor(torch.cat(draws, 1), torch.cat(values)) if draws else 1.0
