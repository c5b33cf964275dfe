"""`varied verify`: check whether the files of a run have changed."""

from __future__ import annotations

from typing import Annotated

import typer

from varied.cli import console
from varied.cli.options import AsJson, RunName
from varied.cli.paths import resolve_run


def verify(
    run: RunName,
    accept: Annotated[
        bool, typer.Option("--accept", help="Accept the files as they are, and use them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check whether the files of a run have changed since they were written.

    The exit code is 1 if a file is missing or has changed.
    """
    folder = resolve_run(run)
    from varied.runs.manifest import Manifest

    manifest = Manifest(folder)
    if accept:
        manifest.accept()
    states = manifest.states()
    if as_json:
        console.show_json(states)
    elif not states:
        console.say(
            f"{folder} has no manifest.json, so its files are not checked; `varied verify "
            f"{folder} --accept` writes one."
        )
    else:
        console.table(("file", "state"), list(states.items()))
    if set(states.values()) - {"unchanged"}:
        raise typer.Exit(1)
