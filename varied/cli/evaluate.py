"""`varied evaluate` and `varied compare`: how good, and which is better."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from varied.cli import console
from varied.cli.metrics_table import show_numbers
from varied.cli.paths import open_run, resolve_run, unused_path
from varied.errors import VariedError

if TYPE_CHECKING:
    from varied.runs import Run

__all__ = ["compare", "evaluate"]


def evaluate(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's folder, its name below runs/, or last.")
    ],
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="Other data; the run's own if not given.")
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="PART", help="Of the run's own data: test, validation or train.")
    ] = "test",
    samples: Annotated[
        int,
        typer.Option(metavar="K", min=0, help="Importance samples for log p(x); 0 leaves it out."),
    ] = 0,
    whole: Annotated[
        bool, typer.Option("--all", help="All that can be measured of its test rows; minutes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the numbers alone.")] = False,
) -> None:
    """Measure a run, each number with its standard error; the run is not changed."""
    here = open_run(run)
    if whole:
        if source is not None or split != "test" or samples:
            raise VariedError(
                "--all measures the run's own test rows in its own way: leave out SOURCE, --split "
                "and --samples, or leave out --all."
            )
        _whole(here, as_json=as_json, quiet=quiet)
        return
    with console.status("Measuring", quiet=quiet or as_json):
        found = here.evaluate(source, split=split, samples=samples).to_json()
    if as_json:
        console.show_json(found)
        return
    rows = f"{split} rows of {here.folder}" if source is None else f"rows of {source}"
    show_numbers(found, f"On {found['n']:,} {rows}")
    if not quiet:
        console.warn(found["warnings"])  # type: ignore[arg-type]


def _whole(run: Run, *, as_json: bool, quiet: bool) -> None:
    """Measure all, and print a table for each part."""
    from varied.evaluate.suites import evaluate_all

    with console.status("Measuring all of it: a few minutes", quiet=quiet or as_json):
        groups = evaluate_all(run)
    if as_json:
        console.show_json({"run": str(run.folder), "groups": [g.to_json() for g in groups]})
        return
    for group in groups:
        console.heading(group.title)
        console.say(group.note, 2)
        rows = [(m.name, str(m), m.better, m.topic, m.reference) for m in group.metrics]
        if rows:
            console.table(("", "", "better", "explained by", "reference"), rows)
        for text in () if quiet else group.warnings:
            console.say(f"Warning: {text}" if rows else text, 2)
    if not quiet:
        print()
        console.say("± is the standard error; `varied explain NAME` defines a figure.")


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="Two runs or more, as for evaluate.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The folder to write compare.html to.")
    ] = Path("compare"),
    whole: Annotated[
        bool, typer.Option("--all", help="All that can be measured, side by side; minutes a run.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Lay runs side by side, and rank them where their numbers can be compared."""
    folders = list(dict.fromkeys(resolve_run(name) for name in runs))
    if len(folders) < 2:
        raise VariedError(
            "Give two runs or more: `varied compare RUN RUN`; `varied runs` lists them."
        )
    with console.status("Measuring and drawing", quiet=as_json):
        from varied.evaluate.suites import Comparison, comparison_tables, evaluate_runs
        from varied.evaluate.suites.compare import HEADER

        found, more, groups = Comparison(folders), [], []
        if whole:
            groups = evaluate_runs(found.runs)
            more = comparison_tables(found.names, groups, found.incomparable)
        page = found.write(unused_path(out, quiet=as_json), more)
    if as_json:
        all_groups = [[group.to_json() for group in of_run] for of_run in groups]
        more_json = {"groups": all_groups} if whole else {}
        console.show_json(found.to_json() | more_json | {"page": str(page)})
        return
    console.heading("Test numbers, in nats, each ± its standard error")
    lines = [HEADER, *found.rows()]
    if len(lines) <= 4:  # a column for each run, where these find room
        lines = list(zip(*lines, strict=True))
    console.table(lines[0], lines[1:])
    for table in more:
        console.heading(table.title)
        console.table(table.header, table.rows)
        console.say(table.note, 2)
    print()
    for sentence in found.sentences:
        console.say(sentence)
    console.say(f"Wrote {page}.")
