"""Sampling: new examples from the prior, or variations of existing ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from varied import functional, plots
from varied.data import Batch, mask_missing
from varied.errors import VariedError
from varied.models import Temperature
from varied.runs.base import RunBase
from varied.runs.result import Result, draw_grid
from varied.seeding import seeded

Array = npt.NDArray[Any]

#: The default numbers of samples, and of variations per example.
N_SAMPLES, N_VARIATIONS = 64, 9
#: The number of examples whose variations are plotted.
_PLOTTED = 16


def sample(
    run: RunBase,
    n: int | None = None,
    *,
    label: object = None,
    around: Any = None,
    scale: float = 1.0,
    temperature: Temperature = 1.0,
    sample_x: bool | None = None,
    seed: int = 0,
) -> Result:
    """Sample new examples from the prior, or variations of examples from their posterior.

    Arguments:
        run: The run.
        n: The number of samples (64 by default), or of variations per example (9 by default).
        label: The context for a conditional run: a class, a number, or a sequence of either, which
            is repeated; with several covariates, a mapping such as ``{"batch": "2", "age": 40}``.
            Covariates that are not in the mapping are drawn from the training rows or, with
            ``around``, keep the values of the examples.
        around: The examples of which variations are generated. The result then has shape
            (examples, 1 + n), and each example precedes its variations.
        scale: The factor by which the standard deviation of the posterior is multiplied; used only
            with ``around``.
        temperature: The factor by which the standard deviation of the prior is multiplied; values
            below 1 give more typical samples. A ladder VAE also accepts one factor per level,
            starting from the bottom level.
        sample_x: Whether to sample from p(x | z) rather than return its mean; None samples only
            tables and counts.
        seed: The random seed.

    Raises:
        VariedError: If n is not positive; a label is passed to a run that is not conditional; a
            covariate or a class is unknown; or variations are requested, but the scale is negative
            or the posterior is deterministic.
    """
    sample_x = run.codec.decodes_by_sampling if sample_x is None else sample_x
    if n is not None and n < 1:
        raise VariedError(f"n={n} must be at least 1.")
    if around is not None:
        return _variations(run, around, n or N_VARIATIONS, label, scale, sample_x, seed)
    n = n or N_SAMPLES
    c = run.contexts(n, label)
    x = functional.sample(run.model, n, c, temperature=temperature, sample_x=sample_x, seed=seed)
    return run.result(x, draw_grid, c=c)


def _variations(
    run: RunBase, source: Any, n: int, label: object, scale: float, sample_x: bool, seed: int
) -> Result:
    data = run.read(source)
    if label is None:
        x, c = run.model_input(data)
    else:
        with seeded(run.spec.plan.seed, "look"):
            x = run.codec.load(mask_missing(run.codec.encode(data)).x)
            c = run.contexts(len(data), label, data)
    generated = functional.variations(
        run.model, x, c, n=n, scale=scale, sample_x=sample_x, seed=seed
    )
    axes = {"example": None, "draw": ["example", *map(str, range(1, n + 1))]}
    return run.paired_result(data, Batch(x, c), generated, _draw_variations, axes)


def _draw_variations(images: Array, path: Path) -> Path:
    """Plot each example in a row, followed by its variations."""
    shown, columns = images[:_PLOTTED], images.shape[1]
    flat = shown.reshape(-1, *shown.shape[2:])
    if images.dtype == np.uint8:
        titles = ["example", "variations", *[""] * (columns - 2)][:columns]
        return plots.grid(flat, path, columns=columns, column_titles=titles)
    return plots.curves(flat.reshape(len(flat), -1), path, columns=columns)
