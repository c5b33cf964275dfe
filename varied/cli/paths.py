"""Functions that find runs by name, and functions that choose unused names for new files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from varied.cli import console
from varied.errors import VariedError, suggest
from varied.run_list import list_runs

if TYPE_CHECKING:
    from varied.runs import Run

#: The default folder that contains runs.
ROOT = Path("runs")


def resolve_run(name: str) -> Path:
    """Return the run folder that a name refers to.

    Arguments:
        name: A folder, a name in runs/, or "last" for the newest run with a trained model.

    Raises:
        VariedError: If there is no such run; the message suggests a similar name.
    """
    folders = list_runs()
    if name == "last" and not Path(name).exists():
        trained = [folder for folder in folders if _is_trained(folder)]
        if not trained:
            raise VariedError(
                "There are no trained runs in the current folder or in runs/; `varied demo` trains "
                "one in a minute."
            )
        return trained[-1]
    for folder in (Path(name), ROOT / name):
        if (folder / "spec.toml").is_file():
            return folder
    if Path(name).exists():
        raise VariedError(f"{name} is not a run folder; `varied runs` lists the available runs.")
    if not folders:
        raise VariedError(
            f"There is no run '{name}', and no other run; `varied demo` trains one in a minute."
        )
    names = [str(folder) for folder in folders] if "/" in name else [f.name for f in folders]
    raise VariedError(f"There is no run '{name}': {suggest(name, [*names[-10:], 'last'])}")


def _is_trained(folder: Path) -> bool:
    return (folder / "model.safetensors").exists() or any((folder / "checkpoints").glob("*"))


def open_run(name: str) -> Run:
    """Open a run by its folder or name."""
    folder = resolve_run(name)
    with console.status(f"Opening {folder}"):
        from varied.runs import Run

        return Run(folder)


def unused_path(path: Path, *, quiet: bool = False) -> Path:
    """Return the path if it is unused, otherwise the first unused variant, as in samples-2.png."""
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    if free != path and not quiet:
        console.say(f"{path} exists; writing to {free} instead.")
    return free
