"""Traversals: vary one latent dimension at a time."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from varied import functional, plots
from varied.atomic_io import read_json
from varied.data import Batch
from varied.runs.base import RunBase
from varied.runs.encoding import encode
from varied.runs.evaluation import evaluate
from varied.runs.result import Result

Array = npt.NDArray[Any]


def traverse(run: RunBase, source: Any = None, *, dimensions: int = 10, steps: int = 9) -> Result:
    """Vary the latent dimensions with the largest KL, one at a time.

    Arguments:
        run: The run.
        source: The data, of which the first example is varied; None uses the first test row.
        dimensions: The number of latent dimensions to vary.
        steps: The number of values per dimension, which cover the central 99% of the prior.

    Returns:
        A result with shape (dimensions, steps).

    Raises:
        VariedError: If the latent variables are not real vectors.
    """
    run.require_euclidean_latent("A traversal")
    units, kl = rank_units(run)
    units = units[:dimensions]
    x, c = run.model_input(run.read(source).head(1))
    z = functional.encode(run.model, lambda x: x, [Batch(x, c)]).mean[0]
    decoded, values = functional.traverse(run.model, z, units, c, steps=steps)
    draw = partial(_draw, kl=kl[: len(units)], values=values.numpy(), units=units)
    axes = {"unit": [f"z{unit}" for unit in units], "value": [f"{v:+.2f}" for v in values.tolist()]}
    return run.result(decoded.flatten(0, 1), draw, axes, (len(units), steps), c)


def rank_units(run: RunBase, source: Any = None) -> tuple[list[int], Array]:
    """Return the latent dimensions in order of decreasing KL, and their KL (NaN if undefined).

    If the KL is undefined, the dimensions are sorted by decreasing variance of the codes.

    Arguments:
        run: The run.
        source: The data from which the KL is computed if the run has not been evaluated; None uses
            the test rows.
    """
    path = run.store / "evaluation.json"
    kl = read_json(path).get("kl_by_unit") if path.is_file() else evaluate(run, source).kl_by_unit
    if kl is None:
        units = encode(run, source).mean.var(0).argsort(descending=True).tolist()
        return units, np.full(len(units), np.nan)
    units = np.argsort(-np.array(kl)).tolist()
    return units, np.array(kl)[units]


def _draw(images: Array, path: Path, *, kl: Array, values: Array, units: list[int]) -> Path:
    """Plot a row for each dimension."""
    if images.dtype == np.uint8:
        return plots.traversals(images, kl, values, path, units=units)
    titles = [f"z{unit}" for unit in units for _ in range(images.shape[1])]
    curves = images.reshape(-1, int(np.prod(images.shape[2:])))
    return plots.curves(curves, path, columns=images.shape[1], titles=titles)
