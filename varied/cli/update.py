"""`varied update`: continue training on new data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from varied.cli import console
from varied.cli.options import OptionalSeed, RunName, option
from varied.cli.paths import resolve_run, unused_path
from varied.cli.run_job import OutputMode, print_job, run_job


def update(
    run: RunName,
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="New data, of the same kind as the training data."),
    ],
    labels: Annotated[
        str | None,
        option(
            "NAME",
            "Labels: a column of a table or an array in an .npz file; or several, such as a,b.",
        ),
    ] = None,
    epochs: Annotated[float | None, option("E", "Number of epochs; 5 by default.")] = None,
    minutes: Annotated[
        float | None, option("M", "Training time in minutes, instead of --epochs.")
    ] = None,
    steps: Annotated[
        int | None, option("N", "Number of steps, instead of --epochs.", least=1)
    ] = None,
    lr: Annotated[float | None, option("R", "Learning rate.")] = None,
    seed: OptionalSeed = None,
    out: Annotated[Path | None, option("FOLDER", "New run folder; RUN-update by default.")] = None,
) -> None:
    """Continue training a run on new data, and save the result as a new run."""
    folder = resolve_run(run)
    plan = {"epochs": epochs, "minutes": minutes, "steps": steps, "lr": lr, "seed": seed}
    target = out or unused_path(folder.with_name(f"{folder.name}-update"))
    with console.status(f"Reading {source}"):
        from varied.training.update import prepare_update

        given = {name: value for name, value in plan.items() if value is not None}
        job = prepare_update(folder, source, out=target, labels=labels, **given)
    print_job(job, source)
    run_job(job, OutputMode())
