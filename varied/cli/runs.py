"""`varied runs`: list the runs in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from varied.cli import console
from varied.cli.options import AsJson
from varied.errors import VariedError
from varied.run_list import COLUMNS, list_runs

#: The columns that are not shown in a narrow terminal.
WIDE_COLUMNS = ("model", "data", "reconstruction", "KL")
NARROW = 100


def runs(
    root: Annotated[
        Path | None,
        typer.Argument(
            metavar="ROOT", help="Folder to search; by default runs/ and the current folder."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List runs, oldest first."""
    if root is not None and not root.is_dir():
        raise VariedError(f"There is no folder {root}; specify a folder that contains runs.")
    rows = list_runs(root).rows
    if as_json:
        names = ("run", "model", "data", "evaluation", "state", "when")
        console.show_json({"runs": [{name: row[name] for name in names} for row in rows]})
    elif not rows:
        where = f"in {root}" if root else "in the current folder or in runs/"
        console.say(f"There are no runs {where} yet; `varied demo` trains one in a minute.")
    else:
        _print_table(rows)


def _print_table(rows: list[dict[str, Any]]) -> None:
    is_narrow = (console.width() or 1000) < NARROW
    columns = [c for c in COLUMNS if not (is_narrow and c in WIDE_COLUMNS)]
    console.table(columns, [[row[c] for c in columns] for row in rows], indent=0)
