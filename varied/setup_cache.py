"""A cache of measured step durations, so that a machine always chooses the same compute settings.

The duration of a step varies from one measurement to the next. If each run measured it, two runs
of the same command could use different precisions, and would end with different weights. Each file
of the cache has the measurements for one training step on one kind of processor.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from varied import atomic_io
from varied.data.download import cache_folder
from varied.errors import VariedError

#: The measured seconds of a step by precision and number of threads.
Timings = dict[tuple[str, int], float]


def setup_folder() -> Path:
    """Return the folder of the cache."""
    return cache_folder() / "setups"


def read_timings(key: Any) -> Timings | None:
    """Return the measurements of a training step, or None if there are none.

    Arguments:
        key: A JSON-serializable description of the training step and the machine.
    """
    return _read(_path(key))


def _read(path: Path) -> Timings | None:
    try:
        rows = atomic_io.read_json(path)["timings"]
        return {(str(precision), int(threads)): float(s) for precision, threads, s in rows}
    except (VariedError, KeyError, TypeError, ValueError):
        return None


def write_timings(key: Any, timings: Timings) -> Timings:
    """Store measurements, and return them.

    If another process has stored measurements of the same step, those are kept and returned.
    """
    if (stored := read_timings(key)) is not None:
        return stored
    rows = [[precision, threads, seconds] for (precision, threads), seconds in timings.items()]
    with suppress(VariedError):  # if the cache is not writable, each run measures
        atomic_io.write_json(_path(key), {"timings": rows})
    return timings


def list_fastest() -> dict[str, int]:
    """Return the number of training steps for which each choice is the fastest."""
    counts = Counter[str]()
    for file in setup_folder().glob("*.json"):
        timings = _read(file)
        if timings:
            precision, threads = min(timings, key=timings.__getitem__)
            counts[f"{precision} on {threads} thread{'s' * (threads > 1)}"] += 1
    return dict(counts.most_common())


def clear_timings() -> int:
    """Remove all measurements, and return their number."""
    files = list(setup_folder().glob("*.json"))
    for file in files:
        atomic_io.remove(file)
    return len(files)


def _path(key: Any) -> Path:
    text = json.dumps(key, sort_keys=True)
    return setup_folder() / f"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}.json"
