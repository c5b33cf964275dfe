"""Imputation of the missing cells of a table, or of the missing values of an array."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from varied import functional
from varied.data import Batch
from varied.functional.interval_calibration import CALIBRATION_DRAWS
from varied.runs.base import RunBase
from varied.runs.result import Result, draw_grid

#: The default number of times that a completed row is encoded again, for a model that was trained
#: on complete rows.
_SWEEPS = 20


@dataclass(frozen=True, repr=False, kw_only=True)
class ImputationResult(Result):
    """A table or array whose missing values are imputed.

    Arguments:
        array: The table or array in which each missing value is replaced by the mean, the median
            (for ordered levels) or the most frequent level of its draws; observed values do not
            change.
        draws: The completed tables or arrays, one for each draw. Analyzing each of them and pooling
            the results accounts for the uncertainty of the missing values.
        cells: A `pandas.DataFrame` with one row per imputed value, which contains the row (from 1),
            the column and the value; for an array, the columns row, axis_1, ... contain its index
            (from 0). For numbers and dates, 90% of the draws are between ``ci_low`` and
            ``ci_high``; for categories, ``frequency`` is the fraction of the draws with this level.
    """

    draws: tuple[Any, ...]
    cells: Any

    def __repr__(self) -> str:
        return f"ImputationResult({len(self.array):,} rows, {len(self.cells):,} imputed cells)"

    @property
    def default_ending(self) -> str:
        """The file extension that `save` uses by default."""
        return self.codec.data_ending

    def save_cells(self, path: str | Path) -> Path:
        """Write the imputed cells and intervals to a .csv, .tsv, .parquet or .feather file."""
        return self.codec.write_table(self.cells, Path(path), has_columns=False)


def impute(
    run: RunBase,
    source: Any = None,
    *,
    n_draws: int = 50,
    samples: int = 100,
    sweeps: int | None = None,
    seed: int = 0,
) -> ImputationResult:
    """Impute the missing values of a table or array, with several draws for each value.

    Arguments:
        run: The run.
        source: The table or array; None uses the test rows.
        n_draws: The number of draws for each value.
        samples: The number of proposed codes from which each draw is resampled.
        sweeps: The number of times that a completed row is encoded again. None uses 20 if no values
            were missing in training, since the encoder then requires complete rows, and 0
            otherwise.
        seed: The random seed.

    Raises:
        VariedError: If the run was not trained on a table or array.
    """
    data, imputer = run.read(source), run.codec.imputer()
    batch = run.encode_data(imputer.determine(data))
    rows = imputer.incomplete_rows(batch)
    draws, images = torch.empty(0), batch.x.clone()
    if sweeps is None:
        sweeps = 0 if run.codec.has_missing_values else _SWEEPS
    if len(rows):
        incomplete = batch.take(rows)
        draws = functional.impute(
            run.model,
            run.codec.load(incomplete.x),
            incomplete.c,
            incomplete.mask,
            n_draws=n_draws,
            samples=samples,
            sweeps=sweeps,
            scale=imputer.scale(run.store.read_calibration("imputation_scale", imputer.n_scales)),
            seed=seed,
        )
        images[rows] = draws.mean(0)
    filled, completed, cells = imputer.fill(data, rows.numpy(), list(draws))
    plotted = run.codec.to_images(images)
    return ImputationResult(
        run.codec, filled, plotted, draw_grid, (len(data),), draws=tuple(completed), cells=cells
    )


def calibrate_scale(run: RunBase) -> list[float]:
    """Return the factors that calibrate intervals of imputed numbers on the validation rows.

    Each observed number is hidden once and imputed. The columns of a table have one factor each;
    see `varied.functional.draw_scale`. All factors are 1 if the model has no density.
    """
    imputer = run.codec.imputer()
    if not run.has_density:
        return [1.0] * imputer.n_scales
    batch = run.encode_data(run.split("validation"))
    batch = batch.take(imputer.calibration_rows(batch))
    deviations, residuals, groups = [], [], []
    inputs = Batch(run.codec.load(batch.x), batch.c, batch.mask)
    for cells in imputer.hide_numbers(inputs, run.spec.plan.seed):
        c = None if batch.c is None else batch.c[: len(cells.x)]
        completed = functional.impute(run.model, cells.x, c, cells.mask, n_draws=CALIBRATION_DRAWS)
        draws = completed.flatten(2)[:, cells.rows, cells.elements]
        deviations.append(draws - draws.mean(0))
        residuals.append(cells.values - draws.mean(0))
        groups.append(cells.groups)
    if not residuals:
        return [1.0] * imputer.n_scales
    scale = functional.draw_scale(
        torch.cat(deviations, 1), torch.cat(residuals), torch.cat(groups), imputer.n_scales
    )
    factors: list[float] = scale.tolist()
    return factors
