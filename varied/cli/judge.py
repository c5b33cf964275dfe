"""`varied detect` and `impute`: what a run says of a person's own data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from varied.cli import console
from varied.cli.paths import open_run, unused_path
from varied.cli.show import RunName, Source
from varied.errors import VariedError

if TYPE_CHECKING:
    from varied.data import RawData
    from varied.runs import Run

__all__ = ["detect", "impute"]


def detect(
    run: RunName,
    source: Source = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="WHAT", help="density (-log p), distance (from training data), or both."
        ),
    ] = "both",
    max_fpr: Annotated[
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
    here = open_run(run)
    with console.status("Scoring"):
        found = here.detect(source, method=method, samples=samples, max_fpr=max_fpr)
        path = found.save(unused_path(out))
    _print_unseen_levels(here, found.items)
    if found.line is None:
        console.say(
            "There are too few validation rows for a line that keeps its promise; go by p, the "
            "share of normal rows that are as strange."
        )
    else:
        console.say(
            f"{found.is_anomaly.sum():,} of {len(found.score):,} are strange: above "
            f"{found.line.value:.3g}, where at most {found.line.bound:.1%} of normal data lie "
            f"(sure by {found.line.confidence:.0%}, from {found.line.n:,} that were not learned)."
        )
    drawn = path.suffix.lower() == ".png"
    what = "each above what makes it strange" if drawn else "scores, p and reasons"
    console.say(f"Wrote {path}: {what}, strangest first.")


def _print_unseen_levels(here: Run, items: RawData) -> None:
    """Print the levels that are not in the training rows."""
    for sentence in here.codec.unseen_level_notes(items):
        console.say(sentence)


def impute(
    run: RunName,
    source: Source = None,
    n_draws: Annotated[
        int, typer.Option(metavar="M", min=2, help="How often each missing cell is drawn.")
    ] = 50,
    intervals: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write each filled cell with its interval."),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE", help="In pictures: left,top,width,height, or a picture of it in white."
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", metavar="N", min=1, help="How many pictures.")] = 8,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Which draws.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The filled table, written as yours is, or filled.png."),
    ] = None,
) -> None:
    """Fill the missing cells of a table, or a hole in pictures; what was there is not touched."""
    here = open_run(run)
    if mask is not None:
        with console.status("Filling"):
            made = here.inpaint(source, mask=mask, n=n, n_draws=n_draws, seed=seed)
            path = made.save(unused_path(out or Path("filled.png")))
        console.say(f"Wrote {path}: {len(made):,} pictures, the mean of {n_draws} draws first.")
        return
    with console.status("Filling"):
        found = here.impute(source, n_draws=n_draws, seed=seed)
    if not len(found.cells):
        raise VariedError("No cell is missing in the columns that the run learned.")
    path = found.save(unused_path(out or Path("filled.csv")))
    console.say(f"Wrote {path}: {len(found.array):,} rows, {len(found.cells):,} cells filled.")
    if intervals is not None:
        from varied.data.tables import TableDialect, write_table

        where = write_table(found.cells, unused_path(intervals), TableDialect())
        console.say(f"Wrote {where}: each of them, with the interval of 90 % of its draws.")
