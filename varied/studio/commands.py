"""Commands of Varied in other processes, which run the same code as this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from varied.atomic_io import nan_to_none
from varied.errors import VariedError, printable


def command(words: Sequence[str]) -> list[str]:
    """Return the arguments of a process that runs a command of Varied.

    Python files in its current folder, which contains the user's data, are not imported (``-P``).
    """
    return [sys.executable, "-P", "-m", "varied", *words]


def environment() -> dict[str, str]:
    """Return the environment of a process, in which it finds this version of Varied."""
    package = str(Path(__file__).resolve().parents[2])
    others = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (package, others)))}


def error_sentence(output: str, code: int | None) -> str:
    """Return the sentence with which a command ended, from its standard error."""
    lines = [line for line in output.splitlines() if line.startswith("varied: ")]
    if lines:
        return printable(lines[-1].removeprefix("varied: "))
    return f"The process ended with code {code}; start it in a terminal to see why."


def run_command(words: list[str], folder: Path, seconds: float) -> dict[str, Any]:
    """Run a command of Varied in another process, and return the JSON that it prints.

    Raises:
        VariedError: If it fails.
    """
    try:
        result = subprocess.run(
            command(words),
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise VariedError(
            f"The command took more than {seconds:.0f} s; run it in a terminal."
        ) from None
    if result.returncode != 0:
        raise VariedError(
            error_sentence(result.stderr.decode("utf-8", "replace"), result.returncode)
        )
    return parse_output(result.stdout)


def parse_output(content: bytes) -> dict[str, Any]:
    """Return the JSON object that a command printed, without NaN and infinities."""
    values = nan_to_none(json.loads(content))
    assert isinstance(values, dict)
    return values
