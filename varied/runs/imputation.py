"""Imputation of the missing cells of a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from varied import functional
from varied.runs.base import RunBase
from varied.runs.result import Result, draw_grid

#: Validation rows that intervals are calibrated on, and draws of each.
_CALIBRATION_ROWS, _CALIBRATION_DRAWS = 200, 200


@dataclass(frozen=True, repr=False, kw_only=True)
class ImputationResult(Result):
    """A table whose missing cells are filled.

    Arguments:
        array: The table with the mean or the most frequent level in each cell that was missing;
            observed cells do not change.
        draws: The table completed by each draw. An analysis that is run on each of them, and
            pooled, accounts for the uncertainty of the missing cells.
        cells: A `pandas.DataFrame` with a row for each filled cell: its row (from 1), column and
            value; ``ci_low`` and ``ci_high`` contain 90 % of the draws of a number or date;
            ``frequency`` is the fraction of the draws with the level of a category.
    """

    draws: tuple[Any, ...]
    cells: Any

    def __repr__(self) -> str:
        return f"ImputationResult({len(self.array):,} rows, {len(self.cells):,} imputed cells)"

    def save_cells(self, path: str | Path) -> Path:
        """Write the filled cells with their intervals to .csv, .tsv, .parquet or .feather."""
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
    """Fill the missing cells of a table, with several draws of each.

    Arguments:
        run: The run.
        source: The table; None for the test rows.
        n_draws: The number of draws of each cell.
        samples: The number of proposed codes that each draw is resampled from.
        sweeps: How often a completed row is encoded again.
        seed: The random seed.

    Raises:
        VariedError: If the run is not of a table.
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

    Each observed number is hidden once and imputed. The factor is 1 with too few numbers, and for
    models without a density.
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
