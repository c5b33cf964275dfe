"""Interpolation: paths between two examples in the latent space, and grids between four."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from varied import functional, plots
from varied.data import RawData
from varied.errors import VariedError
from varied.runs.base import RunBase
from varied.runs.latent_support import latent_density
from varied.runs.result import Result

Array = npt.NDArray[Any]


def interpolate(
    run: RunBase,
    source: Any = None,
    *,
    n: int = 6,
    steps: int = 10,
    path: str = "linear",
    grid: bool = False,
) -> Result:
    """Decode paths in the latent space from the first n examples to the next n.

    Arguments:
        run: The run.
        source: The data; None uses the test rows.
        n: The number of paths.
        steps: The number of points on each path, or along each side of a grid.
        path: "linear", "spherical", or "density" for a path that stays where training codes are
            dense.
        grid: Whether to interpolate on a grid between the first four examples instead.

    Returns:
        A result with shape (n, steps), or (steps, steps) for a grid.

    Raises:
        VariedError: If there are too few examples, or the model does not support the path.
    """
    data = run.read(source)
    if grid:
        return _grid(run, data, steps, path)
    data = data.head(2 * n)
    if len(data) < 2:
        raise VariedError(f"An interpolation requires at least two examples, got {len(data)}.")
    density = None
    if path == "density":
        run.require_euclidean_latent("path='density'")
        density = latent_density(run)
    x, c = run.model_input(data)
    half = len(x) // 2
    c = None if c is None else c[:half]
    paths = functional.interpolate(
        run.model, x[:half], x[half : 2 * half], c, steps=steps, path=path, density=density
    )
    axes = {"path": None, "step": None}
    contexts = None if c is None else c[:, None]
    result = run.result(paths.flatten(0, 1), _draw_paths, axes, tuple(paths.shape[:2]), contexts)
    return replace(result, is_path=True)


def _grid(run: RunBase, data: RawData, steps: int, path: str) -> Result:
    if path != "linear":
        raise VariedError(f"A grid supports only linear interpolation; omit path='{path}'.")
    if len(data) < 4:
        raise VariedError(f"A grid requires at least four examples, got {len(data)}.")
    x, c = run.model_input(data.head(4))
    points = functional.grid(run.model, x, c, steps=steps)
    axes = {"down": None, "across": None}
    return run.result(points.flatten(0, 1), _draw_grid, axes, tuple(points.shape[:2]))


def _draw_paths(images: Array, path: Path) -> Path:
    """Plot a row for each path."""
    if images.dtype == np.uint8:
        return plots.interpolations(images, path)
    curves = images.reshape(-1, int(np.prod(images.shape[2:])))
    return plots.curves(curves, path, columns=images.shape[1])


def _draw_grid(images: Array, path: Path) -> Path:
    if images.dtype != np.uint8:
        return _draw_paths(images, path)
    return plots.grid(images.reshape(-1, *images.shape[2:]), path, columns=images.shape[1])
