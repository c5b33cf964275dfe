"""`varied reconstruct`: save examples and their reconstructions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from varied.cli.options import RunName, Source, option, output, save
from varied.cli.paths import open_run


def reconstruct(
    run: RunName,
    source: Source = None,
    n: Annotated[int, option("N", "Number of examples.", "-n", least=1)] = 32,
    out: Annotated[Path | None, output("reconstructions")] = None,
) -> None:
    """Save examples and their reconstructions."""
    pairs = open_run(run).reconstruct(source, n=n)
    save(pairs, out, "reconstructions", f"{pairs.shape[-1]} originals and their reconstructions")
