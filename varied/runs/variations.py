"""New data around given items: what `Run.sample(near=...)` gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from varied import functional, plots
from varied.data import Batch
from varied.runs.opening import OpenRun
from varied.runs.result import Result
from varied.seeding import seeded

__all__ = ["sample_variations"]

Array = npt.NDArray[Any]

#: How many are made around each item, where a person does not say; and items that are drawn.
USUAL, DRAWN = 9, 16


def sample_variations(
    run: OpenRun,
    source: Any,
    n: int | None = None,
    *,
    label: object = None,
    scale: float = 1.0,
    sample_x: bool = False,
    seed: int = 0,
) -> Result:
    """Return each item, as the model sees it, with new ones around it; shape (items, 1 + n, ...).

    Arguments:
        run: The run.
        source: The items.
        n: How many around each.
        label: The context of the items, where the run is conditional and they have no labels.
        scale: A factor on the spread of their codes.
        sample_x: Whether to draw from p(x given z) rather than take its mean.
        seed: Which draws.
    """
    items = run.read(source)
    if label is None:
        x, c = run.as_model_input(items)
    else:
        with seeded(run.spec.plan.seed, "look"):
            x, c = run.codec.load(run.codec.encode(items)), run.contexts(len(items), label)
    n = USUAL if n is None else n
    made = functional.variations(run.model, x, c, n=n, scale=scale, sample_x=sample_x, seed=seed)
    names = {"item": None, "draw": ["item", *map(str, range(1, n + 1))]}
    return run.paired_result(items, Batch(x, c), made, _draw, names)


def _draw(array: Array, path: Path) -> Path:
    """Draw a row for each item, which comes first."""
    some, columns = array[:DRAWN], array.shape[1]
    flat = some.reshape(-1, *some.shape[2:])
    if array.dtype == np.uint8:
        heads = ["item", "around it", *[""] * (columns - 2)][:columns]
        return plots.grid(flat, path, columns=columns, column_titles=heads)
    return plots.curves(flat.reshape(len(flat), -1), path, columns=columns)
