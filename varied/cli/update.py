"""`varied update`: a run goes on with new data, in a new folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from varied.cli import console
from varied.cli.paths import resolve_run, unused_path
from varied.cli.show import RunName
from varied.cli.train import OutputMode, trained

__all__ = ["update"]


def update(
    run: RunName,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="New data of the same kind.")],
    labels: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The labels: a column of a table, or a name in an .npz."),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(metavar="E", help="So many passes over the new data; 5.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(metavar="M", help="Or train so many minutes.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Or so many batches.")
    ] = None,
    lr: Annotated[float | None, typer.Option(metavar="R", help="The learning rate.")] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="All chance follows from it.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The new run; beside the old one if not given."),
    ] = None,
) -> None:
    """Train a run further on new data; the run itself is left as it is."""
    folder = resolve_run(run)
    given: dict[str, Any] = {
        "epochs": epochs,
        "minutes": minutes,
        "steps": steps,
        "lr": lr,
        "seed": seed,
    }
    given = {name: value for name, value in given.items() if value is not None}
    target = out or unused_path(folder.with_name(f"{folder.name}-update"))
    with console.status(f"Reading {source}"):
        from varied.training.update import prepare_update

        job = prepare_update(folder, source, out=target, labels=labels, **given)
    console.heading(source)
    for sentence in job.sentences:
        console.say(sentence, 2)
    trained(job, OutputMode())
