"""Ways between data: paths from one to another, squares between four, and films of both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from varied import functional, plots
from varied.data import RawData
from varied.errors import VariedError
from varied.runs.editing import real_only, support_of
from varied.runs.opening import OpenRun
from varied.runs.result import Result, draw_paths

__all__ = ["Interpolation", "interpolate_grid", "interpolate_pairs"]


@dataclass(frozen=True, repr=False)
class Interpolation(Result):
    """What lies along paths, with shape (paths, steps, ...)."""

    def save(self, path: str | Path) -> Path:
        """Write the data by the ending of the name.

        Arguments:
            path: As for `Result`; ``.gif`` is a film that goes there and back.

        Raises:
            VariedError: If the ending is not known, or does not suit the data.
        """
        path = Path(path)
        if path.suffix.lower() == ".gif" and self.kind == "image":
            path.parent.mkdir(parents=True, exist_ok=True)
            return plots.interpolation_gif(self.shown, path)
        return super().save(path)


def interpolate_pairs(run: OpenRun, items: RawData, *, steps: int, path: str) -> Result:
    """Return paths from the first half of items to the second; see `Run.interpolate`."""
    if len(items) < 2:
        raise VariedError("An interpolation needs two items at least.")
    dense = None
    if path == "density":
        real_only(run, "A path along the density")
        dense = support_of(run)
    x, c = run.as_model_input(items)
    half = len(x) // 2
    start, end = x[:half], x[half : 2 * half]
    c = None if c is None else c[:half]
    made = functional.interpolate(run.model, start, end, c, steps=steps, path=path, support=dense)
    names, told = {"path": None, "step": None}, None if c is None else c[:, None]
    found = run.result(made.flatten(0, 1), draw_paths, made.shape[:2], names, told)
    return found if found.kind == "table" else Interpolation(found.array, found.shown, found.draw)


def interpolate_grid(run: OpenRun, items: RawData, *, steps: int, path: str) -> Result:
    """Return what lies between four data; see `Run.interpolate`."""
    if path != "linear":
        raise VariedError(f"A square is filled by straight paths; leave out path='{path}'.")
    if len(items) < 4:
        raise VariedError(f"A square needs four items, and there are {len(items)}; give more data.")
    x, c = run.as_model_input(items.take(np.arange(4)))
    made = functional.grid(run.model, x, c, steps=steps)
    names = {"down": None, "across": None}
    return run.result(made.flatten(0, 1), _draw_square, made.shape[:2], names)


def _draw_square(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], path: Path) -> Path:
    if array.dtype != np.uint8:
        return draw_paths(array, path)
    return plots.grid(array.reshape(-1, *array.shape[2:]), path, columns=array.shape[1])
