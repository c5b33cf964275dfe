"""`varied encode`, `classify` and `neighbors`: what the encoder says of data, in files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from varied.cli import console
from varied.cli.paths import open_run, unused_path
from varied.cli.show import RunName, Source
from varied.errors import VariedError

__all__ = ["classify", "encode", "neighbors"]


def encode(
    run: RunName,
    source: Source = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The file to write: .csv or .parquet, or .npz with mean, spread, rate and names.",
        ),
    ] = Path("codes.csv"),
) -> None:
    """Write the code of each datum: mean, spread and KL."""
    _known(out, "codes")
    found = open_run(run).encode(source)
    path = found.save(unused_path(out))
    n, size = found.mean.shape
    console.say(f"Wrote {path}: the codes of {n:,} data, {size} dimensions each.")


def classify(
    run: RunName,
    source: Source = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="The table to write: the class and the probability of each."
        ),
    ] = Path("classes.csv"),
) -> None:
    """Say which class each datum is of, for a run that learned classes (m1, m2, m1m2)."""
    import numpy as np

    from varied.runs.encoding import write_columns

    _known(out, "classes")
    here = open_run(run)
    items = here.read(source)
    chances = here.classify(items)
    assert here.context is not None  # a run that learned classes has their names
    names = here.context.classes
    columns = {"class": np.array([names[i] for i in chances.argmax(1).tolist()])}
    columns |= {f"p({name})": chances[:, i].numpy() for i, name in enumerate(names)}
    path = write_columns(unused_path(out), columns, items.names)
    console.say(f"Wrote {path}: the classes of {len(chances):,} data.")
    if here.calibration_temperature != 1.0:
        heat = f"{here.calibration_temperature:.2f}"
        console.say(f"Probabilities are at temperature {heat}, which suits the validation rows.")


def neighbors(
    run: RunName,
    source: Source = None,
    among: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="The data to search; the run's training items if not given."
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", metavar="N", min=1, help="How many of each.")] = 5,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What to write: neighbors.png, for a table neighbors.csv; .csv and .parquet "
            "have names and distances.",
        ),
    ] = None,
) -> None:
    """Find the items whose codes are nearest to those of others."""
    here = open_run(run)
    with console.status("Searching"):
        found = here.neighbors(source, among, n=n)
    usual = "neighbors.csv" if found.query.kind == "table" else "neighbors.png"
    path = found.save(unused_path(out or Path(usual)))
    searched = f"{len(found.among):,} {'training items' if among is None else 'items'}"
    console.say(f"Wrote {path}: the {n} nearest of {searched} to each of {len(found):,}.")


def _known(out: Path, stem: str) -> None:
    """Refuse an ending before a long command begins."""
    from varied.runs.encoding import ENDINGS

    if out.suffix.lower() not in ENDINGS:
        raise VariedError(
            f"--out {out} is of no known kind; write --out {stem}.csv or {stem}.npz, or .parquet."
        )
