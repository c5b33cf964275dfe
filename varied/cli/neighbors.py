"""`varied neighbors`: nearest neighbors in the latent space."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from varied.cli import console
from varied.cli.options import RunName, Source, option, save
from varied.cli.paths import open_run


def neighbors(
    run: RunName,
    source: Source = None,
    among: Annotated[
        str | None, option("SOURCE", "Data to search; by default the training rows of the run.")
    ] = None,
    n: Annotated[int, option("N", "Number of neighbors.", "-n", least=1)] = 5,
    out: Annotated[
        Path | None,
        option("FILE", "Output: neighbors.png or, for tables, neighbors.csv by default."),
    ] = None,
) -> None:
    """Find the nearest neighbors of examples in the latent space."""
    opened = open_run(run)
    with console.status("Searching"):
        result = opened.neighbors(source, among, n=n)
    searched = f"{len(result.among):,} {'training examples' if among is None else 'examples'}"
    count = f"the {n} nearest neighbors of {len(result):,} examples among {searched}"
    save(result, out, "neighbors", count)
