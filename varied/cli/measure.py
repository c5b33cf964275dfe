"""`varied evaluate` and `varied compare`: how good, and which is better."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from varied.cli import console
from varied.cli.find import fresh, opened, place_of
from varied.cli.numbers import show_numbers
from varied.errors import VariedError

__all__ = ["compare", "evaluate"]


def evaluate(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's folder, its name below runs/, or last.")
    ],
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="Other data; the run's own if not given.")
    ] = None,
    part: Annotated[
        str, typer.Option(metavar="PART", help="Of the run's own data: test, validation or train.")
    ] = "test",
    samples: Annotated[
        int,
        typer.Option(metavar="K", min=0, help="Importance samples for log p(x); 0 leaves it out."),
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the numbers alone.")] = False,
) -> None:
    """Measure a run, each number with its standard error; the run is not changed."""
    here = opened(run)
    with console.status("Measuring", quiet=quiet or as_json):
        found = here.evaluate(source, part=part, samples=samples).to_json()
    if as_json:
        console.show_json(found)
        return
    rows = f"{part} rows of {here.folder}" if source is None else f"rows of {source}"
    show_numbers(found, f"On {found['n']:,} {rows}")
    if not quiet:
        console.warn(found["warnings"])  # type: ignore[arg-type]


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="Two runs or more, as for evaluate.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder to write compare.html to.")
    ] = Path("compare"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Lay runs side by side, and rank them where their numbers can be compared."""
    folders = list(dict.fromkeys(place_of(name) for name in runs))
    if len(folders) < 2:
        raise VariedError(
            "Give two runs or more: `varied compare RUN RUN`; `varied runs` lists them."
        )
    with console.status("Measuring and drawing", quiet=as_json):
        from varied.runs.compare import HEADER, Comparison

        found = Comparison(folders)
        page = found.write(fresh(out, quiet=as_json))
    if as_json:
        console.show_json(found.to_json() | {"page": str(page)})
        return
    console.heading("Test numbers, in nats, each ± its standard error")
    lines = [HEADER, *found.rows()]
    if len(lines) <= 4:  # a column for each run, where these find room
        lines = list(zip(*lines, strict=True))
    console.table(lines[0], lines[1:])
    print()
    for sentence in found.sentences:
        console.say(sentence)
    console.say(f"Wrote {page}.")
