"""From the name that a person gives to a run, and to a new file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from varied.cli import console
from varied.errors import VariedError, suggest

if TYPE_CHECKING:
    from varied.runs import Run

__all__ = ["all_runs", "open_run", "resolve_run", "unused_path"]

#: Where runs are by default.
ROOT = Path("runs")


def all_runs(root: Path | None = None) -> list[Path]:
    """Return the folders of runs, oldest first: below a folder, or below runs/ and right here."""
    found = (root or ROOT).glob("**/spec.toml")
    here = [] if root else Path().glob("*/spec.toml")
    folders = {path.parent for path in (*found, *here)}
    return sorted(folders, key=lambda folder: (folder / "spec.toml").stat().st_mtime)


def resolve_run(name: str) -> Path:
    """Return the folder of a run.

    Arguments:
        name: A folder, a name below runs/, or "last" for the newest that has been trained.

    Raises:
        VariedError: If there is no such run; the message names the nearest.
    """
    known = all_runs()
    if name == "last" and not Path(name).exists():
        trained = [folder for folder in known if _trained(folder)]
        if not trained:
            raise VariedError("There are no runs here yet; `varied demo` makes one in a minute.")
        return trained[-1]
    for folder in (Path(name), ROOT / name):
        if (folder / "spec.toml").is_file():
            return folder
    if Path(name).exists():
        raise VariedError(f"{name} holds no run; `varied runs` lists those there are.")
    if not known:
        raise VariedError(f"There is no run '{name}', nor any other here; `varied demo` makes one.")
    names = [str(folder) for folder in known] if "/" in name else [f.name for f in known]
    raise VariedError(f"There is no run '{name}': {suggest(name, [*names[-10:], 'last'])}")


def _trained(folder: Path) -> bool:
    return (folder / "model.safetensors").exists() or any((folder / "checkpoints").glob("*"))


def open_run(name: str) -> Run:
    """Open a run by the name that a person gives."""
    folder = resolve_run(name)
    with console.status(f"Opening {folder}"):
        from varied.runs import Run

        return Run(folder)


def unused_path(path: Path, *, quiet: bool = False) -> Path:
    """Return the path, or the first of its kind that is free: samples.png, samples-2.png."""
    tried, number = path, 1
    while tried.exists():
        number += 1
        tried = path.with_name(f"{path.stem}-{number}{path.suffix}")
    if tried != path and not quiet:
        console.say(f"{path} is there already, so this one is {tried}.")
    return tried
