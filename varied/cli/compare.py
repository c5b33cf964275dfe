"""`varied compare`: show the metrics of several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from varied.cli import console
from varied.cli.options import AsJson, option
from varied.cli.paths import resolve_run, unused_path
from varied.errors import VariedError

#: The table of metrics is transposed if it has at most this many rows, including the header.
MAX_ROWS = 4


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN RUN...", help="Two or more runs: folders, or names in runs/."),
    ],
    out: Annotated[Path, option("FOLDER", "Output folder for compare.html.")] = Path("compare"),
    all_metrics: Annotated[
        bool, typer.Option("--all", help="Compare every metric (takes minutes per run).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare runs, and rank those whose likelihoods are comparable."""
    folders = list(dict.fromkeys(resolve_run(name) for name in runs))
    if len(folders) < 2:
        raise VariedError("At least two runs are required; use `varied compare RUN RUN`.")
    with console.status("Evaluating and plotting", quiet=as_json):
        from varied.evaluate.suites import Comparison
        from varied.evaluate.suites.compare import HEADER

        comparison = Comparison(folders, all_metrics=all_metrics)
        page = comparison.write(unused_path(out, quiet=as_json))
    if as_json:
        console.show_json(comparison.to_json() | {"page": str(page)})
        return
    console.heading("Test metrics in nats, ± standard error")
    lines: list[tuple[str, ...]] = [HEADER, *comparison.rows()]
    if len(lines) <= MAX_ROWS:  # one column per run
        lines = list(zip(*lines, strict=True))
    console.table(lines[0], lines[1:])
    for table in comparison.metric_tables:
        console.heading(table.title)
        console.table(table.header, table.rows)
        console.say(table.note, 2)
    console.show()
    for sentence in comparison.sentences:
        console.say(sentence)
    console.say(f"Wrote {page}.")
