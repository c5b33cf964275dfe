"""`varied traverse`: show the effect of each latent dimension."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from varied.cli.options import RunName, Source, option, output, save
from varied.cli.paths import open_run


def traverse(
    run: RunName,
    source: Source = None,
    dimensions: Annotated[
        int, option("N", "Number of latent dimensions to show, in order of decreasing KL.", least=1)
    ] = 10,
    steps: Annotated[int, option("N", "Number of values for each dimension.", least=2)] = 9,
    out: Annotated[Path | None, output("traversals")] = None,
) -> None:
    """Vary one latent dimension at a time."""
    result = open_run(run).traverse(source, dimensions=dimensions, steps=steps)
    save(result, out, "traversals", f"{result.shape[0]} latent dimensions, {steps} values each")
