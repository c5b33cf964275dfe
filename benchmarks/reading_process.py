"""Read files in a child process with limits on time and memory, and say how each reading ended."""

from __future__ import annotations

import json
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

#: The memory that a child process may reserve in addition to that of its imports, in bytes.
ADDED_BYTES = 3 * 2**30
#: The time limit for starting a child process, in seconds.
_MAX_START = 120
#: The maximum length of a message.
_MAX_MESSAGE = 2000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]")

READ, REFUSED, FAULT = "read", "refused", "fault"


class Outcome(NamedTuple):
    """How the reading of a file ended.

    Arguments:
        name: The name of the file.
        result: "read"; "refused" if a `VariedError` with one sentence was raised; or "fault".
        message: A summary of the data, or the error.
        seconds: The CPU time that was needed.
        megabytes: The peak memory in addition to that before reading.
    """

    name: str
    result: str
    message: str
    seconds: float
    megabytes: float


def read_files(paths: Iterable[Path], folder: Path, timeout: float) -> Iterator[Outcome]:
    """Read files in a child process, which is replaced if it crashes or does not answer.

    Arguments:
        paths: The files, and the folders of runs.
        folder: The current folder of the process.
        timeout: The time limit for each file, in seconds.
    """
    process = None
    for path in paths:
        process = process or _Child(folder)
        outcome = process.read(path, timeout)
        yield outcome
        if not process.is_alive:
            process = None
    if process is not None:
        process.stop()


class _Child:
    def __init__(self, folder: Path) -> None:
        root = str(Path(__file__).resolve().parent.parent)
        start = f"import sys; sys.path.insert(0, {root!r}); " + (
            "from benchmarks.reading_process import main; main()"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            text=True,
            encoding="utf-8",
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._copy_lines, daemon=True).start()
        self.is_alive = self._lines.get(timeout=_MAX_START) != ""

    def _copy_lines(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def read(self, path: Path, timeout: float) -> Outcome:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(str(path)) + "\n")
        self._process.stdin.flush()
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            return self._fail(path, f"Reading does not end within {timeout:g} s.", timeout)
        if not line:
            code = self._process.wait()
            return self._fail(path, f"The process ends with code {code}.", 0)
        return Outcome(path.name, *json.loads(line))

    def _fail(self, path: Path, message: str, seconds: float) -> Outcome:
        self.stop()
        return Outcome(path.name, FAULT, message, seconds, 0)

    def stop(self) -> None:
        self.is_alive = False
        self._process.kill()
        self._process.wait()


def main() -> None:
    """Answer each path on the standard input with the outcome of reading it."""
    import warnings

    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    _warm_up()
    _limit_memory()
    print("ready", flush=True)
    for line in sys.stdin:
        before, start = _memory("VmRSS"), time.process_time()
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        result, message = try_reading(Path(json.loads(line)))
        seconds, megabytes = time.process_time() - start, _memory("VmHWM") - before
        answer = result, message[: _MAX_MESSAGE + 1], round(seconds, 3), round(megabytes, 1)
        print(json.dumps(answer), flush=True)


def _warm_up() -> None:
    """Read a valid file of each format, so that all libraries are loaded."""
    from benchmarks.mutations import seeds

    with tempfile.TemporaryDirectory() as folder:
        for name, contents in seeds().items():
            path = Path(folder) / name
            path.write_bytes(contents)
            result, message = try_reading(path)
            assert result == READ, f"{name}: {message}"


def try_reading(path: Path) -> tuple[str, str]:
    """Read a file, and return how the reading ended, with a summary or the error."""
    from varied.errors import VariedError

    try:
        return READ, str(_read(path))
    except VariedError as error:
        message = str(error)
        return (REFUSED if is_sentence(message) else FAULT), message
    except BaseException as error:
        return FAULT, f"{type(error).__name__}: {error}"


def is_sentence(message: str) -> bool:
    """Return whether a message is one line that can be printed on a terminal."""
    is_short = len(message) <= _MAX_MESSAGE and not _CONTROL.search(message)
    return is_short and message.endswith((".", "?")) and "Internal error" not in message


def _read(path: Path) -> Any:
    from varied.atomic_io import read_json, read_jsonl, read_text
    from varied.compression.container import unpack
    from varied.data import read
    from varied.data.image_files import as_mask
    from varied.runs import Run
    from varied.spec import Spec
    from varied.tensor_io import read_tensors

    readers = {
        ".safetensors": read_tensors,
        ".toml": lambda path: Spec.from_toml(read_text(path)),
        ".json": read_json,
        ".jsonl": read_jsonl,
        ".varied": lambda path: unpack(path.read_bytes()),
    }
    if (path / "spec.toml").exists():
        return Run(path)
    if path.name.startswith("mask"):
        return as_mask(path, (8, 8)).sum()
    if path.suffix in readers:
        return type(readers[path.suffix](path))
    return read(path, min_rows=1)


def _limit_memory() -> None:
    import resource

    n_bytes = int(_memory("VmSize") * 2**20) + ADDED_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))


def _memory(field: str) -> float:
    """Return a field of /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024
