"""`varied runs`: the runs in a folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from varied.cli import console
from varied.cli.options import AsJson
from varied.cli.paths import all_runs
from varied.errors import VariedError

COLUMNS = ("run", "model", "data", "state", "-ELBO", "reconstruction", "KL", "active", "when")
#: Columns that are left out of a narrow terminal.
WIDE_COLUMNS = ("model", "data", "reconstruction", "KL")
NARROW = 100


def runs(
    root: Annotated[
        Path | None,
        typer.Argument(metavar="ROOT", help="Search below this folder; runs/ by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List runs, oldest first."""
    if root is not None and not root.is_dir():
        raise VariedError(f"There is no folder {root}.")
    found_runs = [describe_run(folder) for folder in all_runs(root)]
    if as_json:
        console.show_json({"runs": found_runs})
    elif not found_runs:
        where = f"below {root}" if root else "here"
        console.say(f"There are no runs {where} yet; `varied demo` makes one.")
    else:
        _print_table(found_runs)


def describe_run(folder: Path) -> dict[str, Any]:
    """Return a summary of a run from its text files."""
    from varied.atomic_io import read_json

    run: dict[str, Any] = {"run": str(folder), "model": "", "data": "", "evaluation": None}
    try:
        metadata = read_json(folder / "data.json")
        run |= {"model": metadata["model"], "data": Path(metadata["source"] or "arrays").stem}
        if (folder / "evaluation.json").exists():
            run["evaluation"] = read_json(folder / "evaluation.json")
        run["state"] = _state(folder)
    except (VariedError, KeyError):
        run["state"] = "damaged"
    modified = max(path.stat().st_mtime for path in folder.iterdir())
    return run | {"when": time.strftime("%Y-%m-%d %H:%M", time.localtime(modified))}


def _state(folder: Path) -> str:
    if (folder / "model.safetensors").exists():
        return "finished"
    checkpoints = sorted((folder / "checkpoints").glob("*.safetensors"))
    return f"step {int(checkpoints[-1].stem):,}" if checkpoints else "not started"


def _print_table(rows: list[dict[str, Any]]) -> None:
    narrow = (console.width() or 1000) < NARROW
    columns = [c for c in COLUMNS if not (narrow and c in WIDE_COLUMNS)]
    rows = [{**row, **_metrics(row["evaluation"])} for row in rows]
    console.table(columns, [[row[c] for c in columns] for row in rows], indent=0)


def _metrics(evaluation: dict[str, Any] | None) -> dict[str, str]:
    if not evaluation:
        return dict.fromkeys(("-ELBO", "reconstruction", "KL", "active"), "-")
    latent = evaluation.get("latent_dim", evaluation.get("latent"))
    signed = {"-ELBO": ("elbo", -1), "reconstruction": ("reconstruction", 1), "KL": ("kl", 1)}
    values = {
        title: "-" if evaluation.get(name) is None else f"{sign * evaluation[name]:.2f}"
        for title, (name, sign) in signed.items()
    }
    return values | {"active": f"{evaluation['active_units']:.0f} of {latent}"}
