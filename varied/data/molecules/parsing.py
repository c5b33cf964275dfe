"""Parsing of molecules in a child process with limits on time and memory.

RDKit is a C++ library, so a molecule in a file from an unknown source may hang or crash the process
that parses it.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from varied.errors import VariedError

_WORKER = Path(__file__).with_name("parsing_worker.py")
#: The time limits in seconds for a molecule and for starting the process, and the memory limit of
#: the process in bytes.
_MAX_SECONDS, _MAX_START, _MAX_BYTES = 10.0, 120.0, 4 * 2**30
#: The maximum number of molecules that hang or crash the process, so that a file with many of them
#: takes limited time.
_MAX_FAILURES = 20


class ParseResult(NamedTuple):
    """The result of parsing a molecule.

    Arguments:
        smiles: The canonical SMILES of the largest fragment.
        reason: The reason why the molecule cannot be used, or "" if it can.
        has_fragments: Whether there were several fragments, such as the ions of a salt.
    """

    smiles: str
    reason: str
    has_fragments: bool


def parse(
    texts: Sequence[str], form: str = "smiles", *, max_seconds: float = _MAX_SECONDS
) -> list[ParseResult]:
    """Parse molecules in a child process.

    Arguments:
        texts: The molecules.
        form: "smiles", or "sdf" for records of an SDF file.
        max_seconds: The time limit for each molecule.

    Raises:
        VariedError: If the process does not start, or too many molecules hang or crash it.
    """
    results: list[ParseResult] = []
    n_failures = 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "molecules.json"
        file.write_text(json.dumps(list(texts)), encoding="utf-8")
        while len(results) < len(texts):
            reason = _parse_rest(file, form, results, len(texts), max_seconds)
            if reason:
                results.append(ParseResult("", reason, False))
                n_failures += 1
            if n_failures > _MAX_FAILURES:
                raise VariedError(
                    f"More than {_MAX_FAILURES} molecules hang or crash RDKit; remove them (the "
                    f"last one is number {len(results):,})."
                )
    return results


def _parse_rest(
    file: Path, form: str, results: list[ParseResult], n: int, max_seconds: float
) -> str:
    """Append results until a molecule hangs or crashes RDKit; return the reason, or "" if none."""
    # With -P, the files in the folder of the script do not shadow modules of the same name.
    command = [sys.executable, "-P", str(_WORKER), str(file), form, str(len(results))]
    process = subprocess.Popen(
        [*command, str(_MAX_BYTES)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    lines: queue.Queue[str] = queue.Queue()
    threads = [
        threading.Thread(target=_copy_lines, args=(process, lines), daemon=True),
        threading.Thread(target=process.stderr.read, daemon=True),  # type: ignore[union-attr]
    ]
    for thread in threads:
        thread.start()
    try:
        if not lines.get(timeout=_MAX_START):
            raise VariedError("RDKit does not start in a child process; check its installation.")
        while len(results) < n:
            line = lines.get(timeout=max_seconds)
            if not line:
                return "it crashes RDKit"
            results.append(ParseResult(*json.loads(line)))
    except queue.Empty:
        return f"RDKit takes more than {max_seconds:g} seconds"
    finally:
        process.kill()
        process.wait()
        for thread in threads:
            thread.join()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    return ""


def _copy_lines(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    """Put the lines that a process writes into a queue, and an empty string at the end."""
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put("")
