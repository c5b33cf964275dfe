"""List the runs in a folder from their text files, without loading torch or a model."""

from __future__ import annotations

import time
from html import escape
from pathlib import Path
from typing import Any

from varied.atomic_io import read_json

COLUMNS = ("run", "model", "data", "state", "-ELBO", "reconstruction", "KL", "active", "when")


class RunList(list[Path]):
    """A list of run folders, which notebooks display as a table."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A summary of each run; see `describe_run`."""
        return [describe_run(folder) for folder in self]

    def _repr_html_(self) -> str:
        """Return the table of the runs, for notebooks."""
        lines = [COLUMNS, *([row[name] for name in COLUMNS] for row in self.rows)]
        cells = ("".join(f"<td>{escape(str(cell))}</td>" for cell in line) for line in lines)
        return f"<table>{''.join(f'<tr>{line}</tr>' for line in cells)}</table>"


def list_runs(root: Path | str | None = None) -> RunList:
    """Return all run folders, oldest first.

    Arguments:
        root: The folder to search, including its subfolders. If None, search ``runs/`` with its
            subfolders, and the folders in the current folder.
    """
    if root is None:
        specs = [*Path("runs").glob("**/spec.toml"), *Path().glob("*/spec.toml")]
    else:
        specs = [*Path(root).glob("**/spec.toml")]
    folders = {path.parent for path in specs}
    return RunList(sorted(folders, key=lambda folder: (folder / "spec.toml").stat().st_mtime))


def describe_run(folder: Path) -> dict[str, Any]:
    """Return a run's value for each column in `COLUMNS`, and the contents of evaluation.json."""
    run: dict[str, Any] = {"run": str(folder), "model": "", "data": "", "evaluation": None}
    try:
        metadata = read_json(folder / "data.json")
        run |= {"model": metadata["model"], "data": Path(metadata["source"] or "arrays").stem}
        if (folder / "evaluation.json").exists():
            run["evaluation"] = read_json(folder / "evaluation.json")
        run |= _metrics(run["evaluation"]) | {"state": _state(folder)}
    except (KeyError, TypeError, ValueError):
        run |= _metrics(None) | {"state": "corrupted"}
    modified = max(path.stat().st_mtime for path in folder.iterdir())
    run["when"] = time.strftime("%Y-%m-%d %H:%M", time.localtime(modified))
    return run


def _state(folder: Path) -> str:
    if (folder / "model.safetensors").exists():
        return "finished"
    checkpoints = sorted((folder / "checkpoints").glob("*.safetensors"))
    return f"step {int(checkpoints[-1].stem):,}" if checkpoints else "not started"


def _metrics(evaluation: dict[str, Any] | None) -> dict[str, str]:
    if not evaluation:
        return dict.fromkeys(("-ELBO", "reconstruction", "KL", "active"), "-")
    latent = evaluation.get("latent_dim", evaluation.get("latent"))  # "latent" in format 1
    signed = {"-ELBO": ("elbo", -1), "reconstruction": ("reconstruction", 1), "KL": ("kl", 1)}
    values = {
        title: "-" if evaluation.get(name) is None else f"{sign * evaluation[name]:.2f}"
        for title, (name, sign) in signed.items()
    }
    active = f"{evaluation['active_units']:.0f} of {latent}"
    if evaluation.get("codebook_size"):
        active = f"{100 * evaluation['codebook_usage']:.0f}% of {evaluation['codebook_size']} codes"
    return values | {"active": active}
