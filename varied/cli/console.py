"""All that the command prints: sentences, tables, JSON, and where it goes."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["command_line", "heading", "say", "show_json", "status", "table", "warn", "width"]

#: Wider lines are hard to read, however wide the window is.
WIDEST = 110


def width() -> int | None:
    """Return the width to wrap at; None where no person reads along, so that lines stay whole."""
    if not sys.stdout.isatty():
        return None
    return min(shutil.get_terminal_size().columns, WIDEST)


def say(text: str = "", indent: int = 0) -> None:
    """Print a sentence; what does not fit stands under its beginning."""
    lead, wide = " " * indent, width()
    if wide is None:
        print(lead + text)
        return
    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    print(
        textwrap.fill(
            text, wide, initial_indent=lead, subsequent_indent=lead + "  " * bool(indent), **options
        )
    )


def heading(text: str) -> None:
    """Print a heading with an empty line before it."""
    strong = ("\033[1m", "\033[0m") if _colored() else ("", "")
    print(f"\n{strong[0]}{text}{strong[1]}")


def _colored() -> bool:
    import os

    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def warn(sentences: Iterable[str]) -> None:
    """Print what a person should beware of."""
    for sentence in sentences:
        print()
        say(f"Warning: {sentence}")


def show_json(value: object) -> None:
    """Print one JSON object; a number that is not finite becomes null."""
    from varied.atomic_io import nan_to_none

    print(json.dumps(nan_to_none(value), indent=2, ensure_ascii=False))


def table(header: Sequence[str], rows: Iterable[Sequence[object]], indent: int = 2) -> None:
    """Print rows in columns; the last column takes what is left and wraps.

    A column of numbers stands on its right edge.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    columns = list(zip(header, *cells, strict=True))
    wide = [max(map(len, column)) for column in columns]
    right = [bool(cells) and all(map(_numeric, column[1:])) for column in columns]
    left = indent + sum(wide[:-1]) + 2 * (len(wide) - 1)
    room = max((width() or 10_000) - left, 20)
    for index, row in enumerate([list(header), *cells] if any(header) else cells):
        _row(row, wide, right, indent, room, head=index == 0 and any(header))


def _numeric(cell: str) -> bool:
    return cell in ("", "-") or cell.lstrip("-")[:1].isdigit()


def _row(
    row: Sequence[str],
    wide: Sequence[int],
    right: Sequence[bool],
    indent: int,
    room: int,
    *,
    head: bool,
) -> None:
    *first, last = row
    padded = [
        cell.rjust(n) if flush else cell.ljust(n)
        for cell, n, flush in zip(first, wide, right, strict=False)
    ]
    tail = last.rjust(wide[-1]) if right[-1] else last
    lines = textwrap.wrap(tail, room, drop_whitespace=not right[-1]) or [""]
    lead = " " * indent + "".join(f"{cell}  " for cell in padded)
    text = f"\n{' ' * len(lead)}".join(lines)
    dim = ("\033[2m", "\033[0m") if head and _colored() else ("", "")
    print(f"{dim[0]}{(lead + text).rstrip()}{dim[1]}")


@contextmanager
def status(text: str, *, quiet: bool = False) -> Iterator[None]:
    """Show that something is under way, where a person looks on."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def command_line() -> str:
    """Return what was typed, to be typed again."""
    return shlex.join(["varied", *sys.argv[1:]])
