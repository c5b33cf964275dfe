"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from varied.cli import console
from varied.cli.paths import unused_path
from varied.errors import VariedError

RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Folder of a run, its name in runs/, or `last` for the newest run."
    ),
]
Source = Annotated[
    str | None,
    typer.Argument(metavar="SOURCE", help="Data to use; by default the test rows of the run."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only the metrics.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Random seed.")]
OptionalSeed = Annotated[int | None, typer.Option(metavar="N", min=0, help="Random seed.")]


def option(metavar: str, help: str, *names: str, least: int | None = None) -> Any:
    """Return an option with a value."""
    return typer.Option(*names, metavar=metavar, help=help, min=least)


def output(stem: str) -> Any:
    """Return the option ``--out`` of a command that saves examples."""
    return option(
        "FILE",
        f"Output: {stem}.png by default, {stem}.csv for tables, and a folder for recordings; .npy "
        "stores an array, .wav recordings, and a name without an extension creates a folder.",
    )


def save(result: Any, out: Path | None, stem: str, what: str) -> Path:
    """Save a result under the given or the default name, and print what was written."""
    path: Path = result.save(unused_path(out or Path(f"{stem}{result.default_ending}")))
    console.say(f"Wrote {path}: {what}.")
    for note in getattr(result, "notes", ()):
        console.say(note)
    return path


def parse_numbers(text: str | None, option: str, example: str, number: type = float) -> list[Any]:
    """Parse a list of numbers, such as 0.5,1,2.

    Raises:
        VariedError: If an item is not a number.
    """
    if text is None:
        return []
    try:
        return [number(word) for word in text.split(",")]
    except ValueError:
        raise VariedError(
            f"{option} {text} is not a list of numbers; write {option}={example}."
        ) from None
