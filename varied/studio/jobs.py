"""Long operations: a job has a state and, once it is finished, a result; it can be canceled."""

from __future__ import annotations

import logging
import secrets
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from varied.errors import VariedError
from varied.studio.commands import command, environment, error_sentence, parse_output
from varied.studio.failures import RequestError, not_found
from varied.studio.schemas import Job

#: The maximum number of jobs that run at once, and of jobs that are remembered.
_MAX_RUNNING, _MAX_JOBS = 2, 200
_LOGGER = logging.getLogger("varied.studio")


@dataclass
class _Task:
    """A job, and how it can be stopped."""

    job: Job
    stop: Callable[[], object] = lambda: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def update(self, **values: Any) -> None:
        """Change the state of the job, unless it has already ended."""
        with self.lock:
            if self.job.state == "running":
                self.job = self.job.model_copy(update=values)


class Jobs:
    """The jobs of a server, which end with it.

    Arguments:
        clean: A function that removes from a message what clients need not know.
    """

    def __init__(self, clean: Callable[[str], str]) -> None:
        self.clean = clean
        self._tasks: dict[str, _Task] = {}
        self._lock = threading.Lock()

    def find(self, id: str) -> Job:
        """Return a job.

        Raises:
            RequestError: If there is no job with this id.
        """
        return self._find(id).job

    def cancel(self, id: str) -> Job:
        """Cancel a job, unless it has ended.

        Raises:
            RequestError: If there is no job with this id.
        """
        task = self._find(id)
        task.update(state="canceled")
        task.stop()
        return task.job

    def close(self) -> None:
        """Cancel all jobs."""
        for id in list(self._tasks):
            self.cancel(id)

    def start(self, operation: str, function: Callable[[], dict[str, Any] | None]) -> Job:
        """Call a function in a thread; if the job is canceled, its result is ignored."""
        return self._start(operation, lambda task: function())

    def start_command(self, operation: str, words: list[str], folder: Path) -> Job:
        """Run a command of Varied that prints JSON, in another process."""
        return self._start(operation, lambda task: _run(task, words, folder))

    def _find(self, id: str) -> _Task:
        if id not in self._tasks:
            raise not_found("job", "the response of the request that started it")
        return self._tasks[id]

    def _start(self, operation: str, function: Callable[[_Task], dict[str, Any] | None]) -> Job:
        job = Job(
            id=secrets.token_hex(8),
            operation=operation,
            state="running",
            progress=None,
            error=None,
            result=None,
        )
        task = _Task(job)
        with self._lock:
            running = [t for t in self._tasks.values() if t.job.state == "running"]
            if len(running) >= _MAX_RUNNING:
                raise RequestError(
                    409, "Other jobs are running; wait until one ends, or cancel it."
                )
            for id in list(self._tasks)[: 1 - _MAX_JOBS]:
                if self._tasks[id].job.state != "running":
                    del self._tasks[id]
            self._tasks[job.id] = task
        threading.Thread(target=self._work, args=(task, function), daemon=True).start()
        return job

    def _work(self, task: _Task, function: Callable[[_Task], dict[str, Any] | None]) -> None:
        try:
            task.update(state="finished", progress=1.0, result=function(task))
        except VariedError as error:
            task.update(state="failed", error=self.clean(str(error)))
        except Exception:
            _LOGGER.exception("Error in the job %s", task.job.operation)
            sentence = "The operation failed; the terminal of the server shows the error."
            task.update(state="failed", error=sentence)


def _run(task: _Task, words: list[str], folder: Path) -> dict[str, Any]:
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command(words),
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        task.stop = lambda: process.send_signal(signal.SIGINT)
        if task.job.state != "running":  # canceled before the process existed
            task.stop()
        code = process.wait()
        output.seek(0)
        errors.seek(0)
        if code != 0:
            raise VariedError(error_sentence(errors.read().decode("utf-8", "replace"), code))
        return parse_output(output.read())
