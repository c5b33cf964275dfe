"""Arguments and options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from varied.cli import console
from varied.cli.paths import unused_path
from varied.errors import VariedError

RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Run folder, a name in runs/, or `last` for the newest run."
    ),
]
Source = Annotated[
    str | None,
    typer.Argument(metavar="SOURCE", help="Data to use; by default the test rows of the run."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only the metrics.")]
RawCsv = Annotated[
    bool,
    typer.Option(
        "--raw-csv",
        help="Write text such as =1+1 to CSV files unchanged, although spreadsheets execute it; by "
        "default, an apostrophe precedes it.",
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Random seed.")]
OptionalSeed = Annotated[int | None, typer.Option(metavar="N", min=0, help="Random seed.")]


def option(metavar: str, help: str, *names: str, least: int | None = None) -> Any:
    """Return an option with a value."""
    return typer.Option(*names, metavar=metavar, help=help, min=least)


Attributes = Annotated[
    Path | None,
    option("FILE", "Table of additional attributes, with a row for each row of the run's data."),
]


def output(stem: str) -> Any:
    """Return the option ``--out`` of a command that saves examples."""
    return option(
        "FILE",
        f"Output: {stem}.png by default, {stem}.csv for tables, and a folder for recordings; .npy "
        "stores an array, .wav recordings, and a name without an extension creates a folder.",
    )


def with_raw_csv(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command that writes tables with the option ``--raw-csv``."""

    @functools.wraps(function)
    def command(raw_csv: bool = False, **values: Any) -> None:
        if not raw_csv:
            return function(**values)
        from varied.data import tables

        with tables.raw_csv():
            return function(**values)

    signature = inspect.signature(function, eval_str=True)
    parameter = inspect.Parameter(
        "raw_csv", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=RawCsv
    )
    parameters = [*signature.parameters.values(), parameter]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


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
        VariedError: If an item is not a number, or not an integer if ``number`` is int.
    """
    if text is None:
        return []
    try:
        return [number(word) for word in text.split(",")]
    except ValueError:
        kind = "integers" if number is int else "numbers"
        raise VariedError(
            f"{option} {text} is not a list of {kind}; use, for example, {option}={example}."
        ) from None


def parse_examples(text: str | None) -> Any:
    """Parse a list of row numbers (from 1) and names; return an existing path unchanged.

    Returns:
        The row indices (from 0) and names, or the path.

    Raises:
        VariedError: If a row number is 0.
    """
    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    if len(words) < 2 and Path(text or "").exists():
        return text
    if "0" in words:
        raise VariedError("There is no row 0; rows are counted from 1.")
    return [int(word) - 1 if word.isdecimal() else word for word in words]


def read_attributes(path: Path | None) -> Any:
    """Read a table of additional attributes.

    Raises:
        VariedError: If the file is not a table.
    """
    if path is None:
        return None
    from varied.data import read

    data = read(path, min_rows=1)
    if not data.columns:
        raise VariedError(
            f"--attributes {path} is not a table; use a .csv file with one row per example."
        )
    return data.x
