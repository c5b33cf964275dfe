"""The runs below a folder: their opaque ids, their states and what their text files contain."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import threading
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from varied.atomic_io import is_locked, read_json, read_jsonl, read_text
from varied.errors import VariedError, printable
from varied.run_list import describe_run
from varied.spec import Plan
from varied.studio.failures import not_found
from varied.studio.schemas import History, RunSummary

#: Folders that are not searched, and how deep and how many folders are searched.
_SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages", "uploads"})
_MAX_DEPTH, _MAX_FOLDERS = 6, 20_000
#: The number of seconds for which the list of folders is used again.
_FRESH_SECONDS = 1.0
#: The extensions of the files of a run that the page shows.
_FIGURES = {".png": "image/png", ".gif": "image/gif"}
#: The number of recent rows of the log from which the speed is computed.
_RECENT_ROWS = 20


def run_id(relative: str) -> str:
    """Return the id of a run: 12 hex digits that depend only on its path below the root."""
    return hashlib.sha256(relative.encode("utf-8", "surrogatepass")).hexdigest()[:12]


@dataclass(frozen=True)
class LockHolder:
    """The process that trains in a folder."""

    pid: int
    is_here: bool


def lock_holder(folder: Path) -> LockHolder | None:
    """Return the process that trains in a folder, or None if there is none."""
    path = folder / ".lock"
    if not path.is_file() or path.is_symlink():
        return None
    match = re.match(r"process (\d+) on (.*), since ", _read_start(path))
    if match is None:
        return None
    holder = LockHolder(int(match[1]), match[2] == platform.node())
    # The process is tested first, since testing the lock takes it for a moment if it is free.
    is_held = (not holder.is_here or _is_alive(holder.pid)) and is_locked(path)
    return holder if is_held else None


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # os.kill would end the process
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _read_start(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(300).decode("utf-8", "replace")
    except OSError:
        return ""


class Workspace:
    """The runs below a folder, or a single run.

    Arguments:
        root: The folder.
        run: The folder of the only run that is served; None serves all runs below the root.
    """

    def __init__(self, root: Path, run: Path | None = None) -> None:
        self.root = root.resolve()
        self.run = None if run is None else run.resolve()
        self._lock = threading.Lock()
        self._folders: dict[str, Path] = {}
        self._time = -math.inf

    @property
    def is_single_run(self) -> bool:
        """Whether only one run is served, which is not changed."""
        return self.run is not None

    def folders(self) -> dict[str, Path]:
        """Return the folders of the runs by id."""
        if self.run is not None:
            return {run_id(self.relative(self.run)): self.run}
        with self._lock:
            if time.monotonic() - self._time > _FRESH_SECONDS:
                self._folders = {run_id(self.relative(f)): f for f in _find_runs(self.root)}
                self._time = time.monotonic()
            return self._folders

    def find(self, id: str) -> Path:
        """Return the run folder.

        Raises:
            RequestError: If there is no run with this id.
        """
        known = self._folders.get(id)
        if known is not None and (known / "spec.toml").is_file():
            return known
        folders = self.folders()
        if id not in folders:
            raise not_found("run", "/api/runs")
        return folders[id]

    def relative(self, folder: Path) -> str:
        """Return the path of a folder, relative to the root."""
        return os.path.relpath(folder, self.root).replace(os.sep, "/")

    def hide_root(self, text: str) -> str:
        """Return a message with the paths below the root relative to it."""
        return text.replace(f"{self.root}{os.sep}", "").replace(str(self.root), self.root.name)

    def summarize(self, folder: Path, *, is_running: bool = False, error: str = "") -> RunSummary:
        """Return a summary of a run.

        Arguments:
            folder: The folder, which need not exist if a process has just been started.
            is_running: Whether a process of this server trains in the folder.
            error: Why the training failed.
        """
        relative = self.relative(folder)
        row = describe_run(folder) if (folder / "spec.toml").is_file() else {}
        log = _read_log(folder)
        evaluation = row.get("evaluation") or {}
        last = evaluation or _last_validation(log)
        elbo = _finite(evaluation.get("elbo"))
        step = _finite(log[-1].get("step")) if log else None
        active = last.get("active_units")
        minus_elbo = -elbo if elbo is not None else _sum(last, "reconstruction", "kl")
        return RunSummary(
            id=run_id(relative),
            name=printable(folder.name),
            model=printable(row.get("model", "")),
            data=self._data_name(folder, row),
            state=_state(folder, row, is_running),
            step=None if step is None else int(step),
            minus_elbo=_finite(minus_elbo),
            reconstruction=_finite(last.get("reconstruction")),
            kl=_finite(last.get("kl")),
            active=str(row["active"]) if evaluation else None if active is None else f"{active}",
            modified=_modification_time(folder),
            parent=printable(relative.rpartition("/")[0]),
            error=self.hide_root(error) or None,
        )

    def _data_name(self, folder: Path, row: dict[str, Any]) -> str:
        """Return the name of the data, which for an upload is the name of the uploaded file."""
        try:
            source = Path(str(read_json(folder / "data.json").get("source") or ""))
            described = source.parent / "upload.json"
            if source.parent.parent.name == "uploads" and described.is_file():
                return printable(read_json(described)["name"])
        except (VariedError, KeyError):
            pass
        return printable(row.get("data", ""))

    # Files of a run

    def figures(self, folder: Path) -> dict[str, Path]:
        """Return the images of a run by name."""
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.is_file(follow_symlinks=False))
        return {n: folder / n for n in names if Path(n).suffix in _FIGURES and n == printable(n)}

    def read_figure(self, folder: Path, name: str) -> tuple[bytes, str]:
        """Return the content and the media type of an image of a run.

        Raises:
            RequestError: If the run has no such image.
        """
        figures = self.figures(folder)
        if name not in figures:
            raise not_found("figure", "the list of figures of the run")
        return figures[name].read_bytes(), _FIGURES[figures[name].suffix]


def _find_runs(root: Path) -> Iterator[Path]:
    """Yield the folders of runs; links are not followed, and runs are not searched."""
    waiting, n_folders = [(root, 0)], 0
    while waiting and n_folders < _MAX_FOLDERS:
        folder, depth = waiting.pop()
        n_folders += 1
        try:
            with os.scandir(folder) as entries:
                names = {e.name: e.is_dir(follow_symlinks=False) for e in entries}
        except OSError:
            continue
        if names.get("spec.toml") is False:
            yield folder
            continue
        if depth < _MAX_DEPTH:
            inner = sorted(n for n in names if names[n] and n not in _SKIPPED and n[0] != ".")
            waiting += [(folder / name, depth + 1) for name in inner]


def _state(folder: Path, row: dict[str, Any], is_running: bool) -> Any:
    if is_running or lock_holder(folder) is not None:
        return "training"
    if row.get("state") == "corrupted":
        return "corrupted"
    return "finished" if (folder / "model.safetensors").is_file() else "stopped"


def _modification_time(folder: Path) -> float:
    try:
        with os.scandir(folder) as entries:
            return max((e.stat(follow_symlinks=False).st_mtime for e in entries), default=0.0)
    except OSError:
        return time.time()


def _read_log(folder: Path) -> list[dict[str, Any]]:
    try:
        return read_jsonl(folder / "metrics.jsonl")
    except VariedError:
        return []


def _last_validation(log: list[dict[str, Any]]) -> dict[str, Any]:
    rows = [row for row in log if row.get("split") == "validation"]
    return rows[-1] if rows else {}


def _finite(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _sum(row: dict[str, Any], *names: str) -> float | None:
    values = [_finite(row.get(name)) for name in names]
    numbers = [value for value in values if value is not None]
    return sum(numbers) if len(numbers) == len(values) else None


# The history of a run


def read_history(folder: Path) -> History:
    """Return the log of a run as columns, and how long training still takes."""
    log = _read_log(folder)
    names = dict.fromkeys(printable(name) for row in log for name in row)
    columns = {name: [_cell(row.get(name)) for row in log] for name in names}
    is_trained = (folder / "model.safetensors").is_file()
    total, budget = _length(folder)
    remaining = None if is_trained else _remaining(log, total, budget)
    return History(columns=columns, total_steps=total, remaining_seconds=remaining)


def row_to_json(row: dict[str, Any]) -> str:
    """Return a row of the log as JSON on one line."""
    return json.dumps({printable(name): _cell(value) for name, value in row.items()})


def _cell(value: Any) -> float | str | None:
    if isinstance(value, str):
        return printable(value)
    return float(value) if isinstance(value, bool) else _finite(value)


def _length(folder: Path) -> tuple[int | None, float]:
    """Return the total number of steps, if it is known, and the time limit in seconds."""
    try:
        plan = Plan(**tomllib.loads(read_text(folder / "spec.toml")).get("plan", {}))
        n_training = int(read_json(folder / "data.json")["train"])
        steps_per_epoch = n_training // min(plan.batch_size, n_training)
        total = plan.steps or math.ceil(plan.epochs * steps_per_epoch)
    except (VariedError, ValueError, KeyError, TypeError, ZeroDivisionError, OverflowError):
        return None, 0.0
    return (int(total) if total else None), 60 * float(plan.minutes)


def _remaining(log: list[dict[str, Any]], total: int | None, budget: float) -> float | None:
    rows = [row for row in log if row.get("split") == "train"][-_RECENT_ROWS:]
    if not rows or (total is None and not budget):
        return None
    first, last = rows[0], rows[-1]
    try:
        seconds, steps = last["seconds"] - first["seconds"], last["step"] - first["step"]
        pace = seconds / steps if steps > 0 else last["seconds"] / max(last["step"], 1)
        by_steps = math.inf if total is None else (total - last["step"]) * pace
        by_time = budget - last["seconds"] if budget else math.inf
        return max(0.0, min(by_steps, by_time))
    except (KeyError, TypeError):
        return None
