"""`varied detect` and `impute`: what a run says of a person's own data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from varied.cli import console
from varied.cli.find import fresh, opened
from varied.cli.show import RunName, Source
from varied.errors import VariedError

if TYPE_CHECKING:
    from varied.data import Items
    from varied.runs import Run

__all__ = ["detect", "impute"]


def detect(
    run: RunName,
    source: Source = None,
    false_alarms: Annotated[
        float, typer.Option(metavar="SHARE", help="Of normal data, how many may alarm.")
    ] = 0.05,
    samples: Annotated[
        int, typer.Option(metavar="K", min=1, help="Importance samples for each datum.")
    ] = 100,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The table to write; .png draws the strangest.")
    ] = Path("detected.csv"),
) -> None:
    """Say how strange each datum is, and what makes it so."""
    here = opened(run)
    with console.status("Scoring"):
        found = here.detect(source, samples=samples, false_alarms=false_alarms)
        path = found.save(fresh(out))
    _strangers(here, found.items)
    if found.line is None:
        console.say(
            "There are too few validation rows for a line that keeps its promise; go by p, the "
            "share of normal rows that are as strange."
        )
    else:
        console.say(
            f"{found.strange.sum():,} of {len(found.score):,} are strange: above "
            f"{found.line.value:.1f} nats, where at most {found.line.bound:.1%} of normal data lie "
            f"(sure by {found.line.confidence:.0%}, from {found.line.n:,} that were not learned)."
        )
    console.say(f"Wrote {path}: score, p and reasons, strangest first.")


def _strangers(here: Run, items: Items) -> None:
    """Say which levels the run never learned."""
    for sentence in getattr(here.codec, "strangers", lambda items: ())(items):
        console.say(sentence)


def impute(
    run: RunName,
    source: Source = None,
    draws: Annotated[
        int, typer.Option(metavar="M", min=2, help="How often each missing cell is drawn.")
    ] = 50,
    cells: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write each filled cell with its interval."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Which draws.")] = 0,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The filled table, written as yours is.")
    ] = Path("filled.csv"),
) -> None:
    """Fill the missing cells of a table; what was there is not touched."""
    here = opened(run)
    with console.status("Filling"):
        found = here.impute(source, draws=draws, seed=seed)
    if not len(found.cells):
        raise VariedError("No cell is missing in the columns that the run learned.")
    path = found.save(fresh(out))
    console.say(f"Wrote {path}: {len(found.array):,} rows, {len(found.cells):,} cells filled.")
    if cells is not None:
        from varied.data.tables import Form, write_table

        where = write_table(found.cells, fresh(cells), Form())
        console.say(f"Wrote {where}: each of them, with the interval of 90 % of its draws.")
