"""`varied interpolate`: paths through the latent space."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from varied.cli.options import RunName, Source, option, save
from varied.cli.paths import open_run


def interpolate(
    run: RunName,
    source: Source = None,
    n: Annotated[int, option("N", "Number of paths.", "-n", least=1)] = 6,
    steps: Annotated[
        int | None,
        option(
            "N",
            "Number of points per path; by default 10 (8 for a grid, 24 for a .gif).",
            least=2,
        ),
    ] = None,
    path: Annotated[
        str, option("PATH", "Path: linear, spherical, or density (through dense regions).")
    ] = "linear",
    grid: Annotated[
        bool, typer.Option("--grid", help="Interpolate between four examples on a grid.")
    ] = False,
    out: Annotated[
        Path | None,
        option(
            "FILE",
            "Output: interpolation.png or, for tables, interpolation.csv by default; .gif writes "
            "an animation, .npy stores an array, and a name without an extension creates a folder.",
        ),
    ] = None,
) -> None:
    """Interpolate between examples in the latent space."""
    animated = out is not None and out.suffix.lower() == ".gif"
    steps = steps or (24 if animated else 8 if grid else 10)
    paths = open_run(run).interpolate(source, n=n, steps=steps, path=path, grid=grid)
    count = f"a grid of {steps} x {steps}" if grid else f"{paths.shape[0]} paths of {steps} points"
    save(paths, out, "interpolation", count)
