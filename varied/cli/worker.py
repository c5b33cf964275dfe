"""Run a command in one of several processes that train together."""

from __future__ import annotations

import io
import os
import signal
import threading
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from varied import atomic_io
from varied.cli import console
from varied.cli import main as run_command
from varied.cli.errors import INTERNAL, MISUSE
from varied.process_group import STOP, TorchGroup

#: The environment variable with the folder in which the process of rank 0 stores the exit code of
#: the command, so that `varied train --processes` can distinguish a command that fails from a
#: process that is killed, after which training is resumed.
EXIT_CODE_FOLDER = "VARIED_EXIT_CODE_FOLDER"


def run_worker(args: Sequence[str], group: TorchGroup) -> int:
    """Run ``varied train`` in a process of a group, and return the exit code."""
    if "train" not in args:
        if group.rank == 0:
            sentence = "Only `varied train` runs in several processes; use `varied` instead."
            console.show(f"varied: {sentence}", error=True)
        return MISUSE
    return _lead(args, group) if group.rank == 0 else _follow(args, group)


def _lead(args: Sequence[str], group: TorchGroup) -> int:
    code = run_command(args)
    if group.is_broken:
        return code
    path = _exit_code_file()
    if path:
        atomic_io.write_json(path, {"exit_code": code})
    if code != INTERNAL:  # otherwise, the others do not necessarily wait for an announcement
        group.release()
    return 0 if path else code


def _exit_code_file() -> Path | None:
    """Return the file for the exit code of this attempt to train, if it is wanted."""
    folder, attempt = map(os.environ.get, (EXIT_CODE_FOLDER, "TORCHELASTIC_RESTART_COUNT"))
    return Path(folder) / f"{attempt}.json" if folder else None


def _follow(args: Sequence[str], group: TorchGroup) -> int:
    """Train without output; errors are printed unless the process of rank 0 fails as well."""
    # The process of rank 0 decides when to stop.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as errors:
        try:
            code = run_command(args)
        except SystemExit:  # the process of rank 0 has ended
            return 0
    has_failed = code != 0 and not group.is_broken
    if has_failed and (group.has_started or group.agree(STOP) != STOP):
        text = f"Process {group.rank} of {group.world}: {errors.getvalue()}"
        console.show(*text.splitlines(), error=True)
    path = _exit_code_file()
    return 0 if path and path.exists() else code
