"""The live events of a run, by following its files, as server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from varied.studio.schemas import RunSummary
from varied.studio.workspace import row_to_json

#: The number of seconds between two looks at the files, and between two comments.
_POLL_SECONDS, _COMMENT_SECONDS = 0.5, 15.0
#: The maximum number of bytes of the log that are read at once.
_MAX_READ = 2**22


class LogFollower:
    """Reads the rows that are appended to ``metrics.jsonl``.

    A run that resumes from an earlier checkpoint shortens its log; all rows are then read again.

    Arguments:
        path: The log.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._restart()

    def _restart(self) -> None:
        self.number, self._offset, self._file = 0, 0, (0, 0)

    def read(self) -> tuple[bool, list[tuple[int, dict[str, Any]]]]:
        """Return whether the log was replaced, and the new rows with their numbers, from 1."""
        try:
            status = self.path.stat()
        except OSError:
            return False, []
        file, was_replaced = (status.st_dev, status.st_ino), False
        if status.st_size < self._offset or (self._offset and file != self._file):
            self._restart()
            was_replaced = True
        self._file = file
        if status.st_size == self._offset:
            return was_replaced, []
        with self.path.open("rb") as log:
            log.seek(self._offset)
            content = log.read(_MAX_READ)
        complete = content[: content.rfind(b"\n") + 1]
        self._offset += len(complete)
        return was_replaced, list(self._parse(complete))

    def _parse(self, content: bytes) -> list[tuple[int, dict[str, Any]]]:
        rows = []
        for line in content.splitlines():
            self.number += 1
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                rows.append((self.number, row))
        return rows


async def follow_run(
    folder: Path,
    summarize: Callable[[], RunSummary],
    list_figures: Callable[[], dict[str, Path]],
    last_id: int,
    is_closing: Callable[[], bool],
) -> AsyncIterator[bytes]:
    """Yield the events of a run until the client or the server ends.

    Arguments:
        folder: The run folder.
        summarize: Returns the summary of the run.
        list_figures: Returns the images of the run by name.
        last_id: The number of the last row that the client has received, or 0.
        is_closing: Returns whether the server ends.
    """
    follower = LogFollower(folder / "metrics.jsonl")
    state, figures, last_time = None, None, time.monotonic()
    yield b"retry: 2000\n\n"
    while not is_closing():
        events = []
        was_replaced, rows = await asyncio.to_thread(follower.read)
        if was_replaced or (last_id and not was_replaced and follower.number < last_id and rows):
            last_id = 0
            events.append(_format("reset", "{}", 0))
        events += [_format("metrics", row_to_json(row), n) for n, row in rows if n > last_id]
        new_state = await asyncio.to_thread(_summarize, summarize)
        if new_state is not None and new_state != state:
            state = new_state
            events.append(_format("state", state))
        new_figures = await asyncio.to_thread(_figure_times, list_figures)
        changed = [n for n, t in new_figures.items() if figures is None or figures.get(n) != t]
        if changed or figures is None:
            events.append(_format("figures", json.dumps(changed)))
        figures = new_figures
        if not events and time.monotonic() - last_time > _COMMENT_SECONDS:
            events.append(b": waiting\n\n")
        if events:
            last_time = time.monotonic()
            yield b"".join(events)
        await asyncio.sleep(_POLL_SECONDS)


def _format(event: str, data: str, number: int | None = None) -> bytes:
    lines = [f"event: {event}", f"data: {data}"]
    if number is not None:
        lines.append(f"id: {number}")
    return ("\n".join(lines) + "\n\n").encode()


def _summarize(summarize: Callable[[], RunSummary]) -> str | None:
    try:
        return summarize().model_dump_json()
    except (ValueError, OSError):  # the folder is being created or removed
        return None


def _figure_times(list_figures: Callable[[], dict[str, Path]]) -> dict[str, int]:
    times = {}
    try:
        for name, path in list_figures().items():
            times[name] = path.stat().st_mtime_ns
    except OSError:
        pass
    return times
