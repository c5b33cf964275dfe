"""Start, stop and continue training runs, each of which is a process of ``varied train``."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from varied.atomic_io import read_json, write_json
from varied.data.catalog import CATALOG
from varied.errors import printable
from varied.spec import Spec
from varied.studio.commands import command, environment, error_sentence, run_command
from varied.studio.failures import RequestError
from varied.studio.options import to_flags
from varied.studio.schemas import Estimate, NewRun, RunSummary
from varied.studio.uploads import Uploads
from varied.studio.workspace import LockHolder, Workspace, lock_holder, run_id

#: The maximum number of runs that are trained at once.
_MAX_TRAININGS = 4
#: The maximum number of characters of the output that is read for an error message.
_MAX_OUTPUT = 20_000
#: The number of seconds after which an estimate is ended.
_ESTIMATE_SECONDS = 600
_MAX_RUNS = 10_000
#: The file next to an upload with the request of each run that was started with it.
_REQUESTS = "runs.json"


@dataclass
class Training:
    """A process that trains in a folder.

    Arguments:
        folder: The run folder.
        process: The process.
        output: A temporary file with the standard error of the process.
        is_stopping: Whether it has been interrupted.
    """

    folder: Path
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    is_stopping: bool = False

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    @property
    def error(self) -> str:
        """Why the training failed, or "" if it did not."""
        code = self.process.poll()
        if code in (None, 0, 128 + signal.SIGINT, 128 + signal.SIGTERM):
            return ""
        self.output.seek(0)
        text = self.output.read(_MAX_OUTPUT).decode("utf-8", "replace")
        return error_sentence(text, code)


class Trainings:
    """The training runs that this server starts, and those of other processes.

    Arguments:
        workspace: The runs.
        uploads: The uploaded data.
    """

    def __init__(self, workspace: Workspace, uploads: Uploads) -> None:
        self.workspace, self.uploads = workspace, uploads
        self._lock = threading.Lock()
        self._trainings: dict[str, Training] = {}

    # Runs

    def folders(self) -> dict[str, Path]:
        """Return the folders of all runs by id, including those that are being created."""
        with self._lock:
            started = {id: training.folder for id, training in self._trainings.items()}
        folders = self.workspace.folders()
        gone = [id for id in started.keys() - folders.keys() if not self._is_shown(id)]
        return folders | {id: f for id, f in started.items() if id not in gone}

    def _is_shown(self, id: str) -> bool:
        """Return whether a run without files is listed: while it starts, or after an error."""
        training = self._trainings[id]
        return training.is_running or bool(training.error)

    def find(self, id: str) -> Path:
        """Return the run folder, which may not have been created yet.

        Raises:
            RequestError: If there is no run with this id.
        """
        training = self._trainings.get(id)
        if training is not None:
            is_created = (training.folder / "spec.toml").is_file()
            if is_created or training.is_running or training.error:
                return training.folder
        return self.workspace.find(id)

    def summarize(self, id: str) -> RunSummary:
        """Return a summary of a run.

        Raises:
            RequestError: If there is no run with this id.
        """
        training = self._trainings.get(id)
        is_running = training is not None and training.is_running
        error = training.error if training is not None else ""
        return self.workspace.summarize(self.find(id), is_running=is_running, error=error)

    def list_runs(self) -> list[RunSummary]:
        """Return summaries of all runs, newest first."""
        summaries = [self.summarize(id) for id in self.folders()]
        return sorted(summaries, key=lambda run: (run.state != "training", -run.modified))

    # Processes

    def start(self, new: NewRun) -> str:
        """Start a training run, and return its id.

        Raises:
            VariedError: If an option is unknown, the folder exists, or too many runs are trained.
        """
        self._require_studio()
        arguments = self._to_arguments(new)
        with self._lock:
            self._check_count()
            folder = self._new_folder(new)
            path = self.uploads.path(new.upload).parent / _REQUESTS
            requests = read_json(path) if path.is_file() else {}
            stored = new.model_dump(mode="json", exclude={"name"})
            write_json(path, requests | {self.workspace.relative(folder): stored})
            return self._launch(folder, arguments)

    def stop(self, id: str) -> RunSummary:
        """Interrupt the training of a run, which saves a checkpoint.

        Raises:
            RequestError: If the run is not being trained on this machine.
        """
        self._require_studio()
        folder, holder = self.find(id), lock_holder(self.find(id))
        training = self._trainings.get(id)
        if training is not None and training.is_running:
            if not training.is_stopping or holder is None:  # a second signal ends it at once
                training.is_stopping = True
                training.process.send_signal(signal.SIGINT)
        elif holder is not None:
            _interrupt(holder)
        else:
            raise RequestError(409, f"{printable(folder.name)} is not being trained.")
        return self.summarize(id)

    def resume(self, id: str) -> RunSummary:
        """Continue an interrupted training run with the command that started it.

        Raises:
            VariedError: If the run is finished or being trained, or its data are not available.
        """
        self._require_studio()
        folder = self.find(id)
        with self._lock:
            training = self._trainings.get(id)
            if (training is not None and training.is_running) or lock_holder(folder) is not None:
                raise RequestError(409, f"{printable(folder.name)} is being trained.")
            if (folder / "report.html").is_file():
                raise RequestError(409, f"The training of {printable(folder.name)} is complete.")
            if not (folder / "spec.toml").is_file():
                raise RequestError(409, "The run was not created; start a new one.")
            self._check_count()
            self._launch(folder, self._arguments(folder))
        return self.summarize(id)

    def _require_studio(self) -> None:
        if self.workspace.is_single_run:
            raise RequestError(
                403, "`varied serve` does not change its run; use `varied studio` to train."
            )

    def _check_count(self) -> None:
        if sum(training.is_running for training in self._trainings.values()) >= _MAX_TRAININGS:
            raise RequestError(
                409, f"{_MAX_TRAININGS} runs are being trained; wait until one of them ends."
            )

    def _new_folder(self, new: NewRun) -> Path:
        """Return the folder for a new run, which does not exist.

        Raises:
            RequestError: If the run has a name, and the folder exists.
        """
        root = self.workspace.root
        parent = root if root.name == "runs" else root / "runs"
        used = {training.folder for training in self._trainings.values() if training.is_running}
        if new.name is not None:
            folder = parent / new.name
            if folder.exists() or folder in used:
                raise RequestError(409, f"There is already a run '{new.name}'; use another name.")
            return folder
        stem = self.uploads.name(new.upload).partition(".")[0]
        words = re.sub(r"[^a-z0-9]+", "-", stem.lower())[:30].strip("-")
        prefix = f"{words or 'data'}-{new.model or 'vae'}"
        folders = (parent / f"{prefix}-{i:02d}" for i in range(1, _MAX_RUNS))
        return next(folder for folder in folders if not folder.exists() and folder not in used)

    def _launch(self, folder: Path, arguments: list[str]) -> str:
        output = tempfile.TemporaryFile()  # noqa: SIM115
        process = subprocess.Popen(
            command(["train", *arguments, f"--out={folder}", "--quiet"]),
            cwd=self.workspace.root,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            start_new_session=True,  # Ctrl-C in the terminal of the server does not stop it
        )
        id = run_id(self.workspace.relative(folder))
        self._trainings[id] = Training(folder, process, output)
        return id

    # Commands

    def _to_arguments(self, new: NewRun) -> list[str]:
        """Return the arguments of ``varied train`` for a new run, without its folder.

        Raises:
            VariedError: If there is no such upload or option.
        """
        model = [] if new.model is None else [f"--model={new.model}"]
        return [str(self.uploads.path(new.upload)), *model, *to_flags(new.options)]

    def _arguments(self, folder: Path) -> list[str]:
        """Return the arguments of ``varied train`` with which a run continues.

        A run that was started by a server has the same command again. Otherwise, the command is
        derived from the files of the run.
        """
        metadata = read_json(folder / "data.json")
        source = str(metadata.get("source") or "")
        if source not in CATALOG and not (Path(source).is_absolute() and Path(source).exists()):
            raise RequestError(
                409,
                "The data of this run are not available on this machine, or were passed in "
                "Python; continue it in Python.",
            )
        path = Path(source).parent / _REQUESTS
        if path.is_file() and path.parent.parent == self.uploads.folder:
            with suppress(ValueError):  # the file may have been changed
                return self._to_arguments(
                    NewRun.model_validate(read_json(path).get(self.workspace.relative(folder)))
                )
        options = metadata.get("options") or {}
        given = {name: _option_text(value) for name, value in options.items() if value is not None}
        if metadata.get("n_labels"):
            given["n_labels"] = int(metadata["n_labels"])
        given.pop("kind", None)
        flags = to_flags(given)
        return [source, f"--spec={folder / 'spec.toml'}", *flags]

    # Estimates

    def estimate(self, new: NewRun) -> Estimate:
        """Return the configuration, and the measured time and memory, of a training run.

        Raises:
            VariedError: If the model cannot be trained on the data.
        """
        self._require_studio()
        words = ["train", *self._to_arguments(new), "--dry-run", "--measure", "--json"]
        values = run_command(words, self.workspace.root, _ESTIMATE_SECONDS)
        return Estimate(
            sentences=[printable(text) for text in values["sentences"]],
            spec=Spec.parse(**values["spec"]).to_toml(),
            minutes=values["minutes"],
            memory_bytes=values["memory_bytes"],
        )


def _option_text(value: Any) -> str | float | int | bool:
    """Return a stored option as it is written on the command line."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={kind}" for name, kind in value.items())
    if isinstance(value, list | tuple):
        separator = "x" if all(isinstance(item, int) for item in value) else ","
        return separator.join(map(str, value))
    return value if isinstance(value, str | float | int | bool) else str(value)


def _interrupt(holder: LockHolder) -> None:
    """Interrupt a training process that another program has started."""
    if not holder.is_here:
        raise RequestError(409, "The run is being trained on another machine; stop it there.")
    try:
        os.kill(holder.pid, signal.SIGINT)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise RequestError(
            409, "Another user trains the run; only that user can stop it."
        ) from None
