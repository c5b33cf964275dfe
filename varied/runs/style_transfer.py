"""Data in the style of other data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from varied import functional, plots
from varied.data import RawData
from varied.errors import VariedError
from varied.models import M1M2
from varied.runs.editing import real_only
from varied.runs.opening import OpenRun
from varied.runs.result import Result

__all__ = ["mix_styles", "rewrite_as"]

Array = npt.NDArray[Any]


def rewrite_as(run: OpenRun, items: RawData, of: object) -> Result:
    """Return each datum as it would be in other contexts; see `Run.style`."""
    blind = isinstance(run.model, M1M2) and not run.model.skip
    if run.context is None or blind:
        raise VariedError(
            "This run's decoder is not told a class, so it cannot write one in another's style: "
            "train it with model='conditional-vae' on labeled data, or name levels or units."
        )
    if of is None and not run.context.classes:
        raise VariedError("This run's context is numbers: say which to write the data in.")
    wanted = run.context.encode(list(run.context.classes) if of is None else of)
    x, c = run.as_model_input(items)
    made = functional.recondition(run.model, x, c, wanted)
    titles = [_said(one) for one in run.context.decode(wanted)]
    draw = partial(_draw, run.codec.to_images(x), titles=titles, contents=None)
    return run.result(
        made.flatten(0, 1), draw, made.shape[:2], {"style": None, "as": titles}, wanted
    )


def _said(context: Any) -> str:
    return context if isinstance(context, str) else ", ".join(f"{v:g}" for v in context)


def mix_styles(
    run: OpenRun,
    items: RawData,
    contents: RawData,
    levels: Sequence[int] | None,
    units: Sequence[int] | None,
) -> Result:
    """Return each content with some of the code of each style; see `Run.style`."""
    real_only(run, "A mix of codes")
    if levels and units:
        raise VariedError("Name levels or units, and not both.")
    some = list(units) if units else functional.level_units(run.model, levels or ())
    size = int(np.prod(run.model.latent_shape))
    if not all(0 <= unit < size for unit in some):
        raise VariedError(f"units={some}: this run has the units 0 to {size - 1}.")
    (x, c), (y, other) = run.as_model_input(contents), run.as_model_input(items)
    made = functional.mix_codes(run.model, x, y, some, c, other)
    draw = partial(_draw, run.codec.to_images(y), titles=None, contents=run.codec.to_images(x))
    return run.result(made.flatten(0, 1), draw, made.shape[:2], {"style": None, "content": None})


def _draw(
    styles: Array,
    array: Array,
    path: Path,
    *,
    titles: Sequence[str] | None,
    contents: Array | None,
) -> Path:
    if array.dtype == np.uint8:
        return plots.variants(styles, array, path, first="style", titles=titles, contents=contents)
    rows = array.reshape(array.shape[0] * array.shape[1], -1)
    heads = None if titles is None else [*titles] * len(array)
    return plots.curves(rows, path, columns=array.shape[1], titles=heads)
