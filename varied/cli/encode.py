"""`varied encode`: save the codes of examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from varied.cli import console
from varied.cli.options import RunName, Source, option
from varied.cli.paths import open_run, unused_path
from varied.errors import VariedError

#: The supported file extensions for codes and class probabilities.
ENDINGS = (".csv", ".npz", ".parquet", ".feather")


def encode(
    run: RunName,
    source: Source = None,
    out: Annotated[Path, option("FILE", "Output file: .csv, .parquet or .npz.")] = Path(
        "codes.csv"
    ),
) -> None:
    """Save the posterior mean, standard deviation and KL of each example."""
    check_ending(out, "codes")
    opened = open_run(run)
    with console.status("Encoding"):
        codes = opened.encode(source)
        path = codes.save(unused_path(out))
    n, dimensions = codes.mean.flatten(1).shape
    console.say(f"Wrote {path}: the codes of {n:,} examples, {dimensions} dimensions each.")


def check_ending(out: Path, stem: str) -> None:
    """Check the extension of the output file before the computation.

    Raises:
        VariedError: If the extension is not supported.
    """
    if out.suffix.lower() not in ENDINGS:
        raise VariedError(
            f"'{out.name}' does not have a supported file extension; use --out {stem}.csv, "
            f"{stem}.parquet or {stem}.npz."
        )
