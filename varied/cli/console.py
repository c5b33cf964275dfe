"""Functions that print wrapped sentences, tables, JSON and a spinner.

The other modules of the command line print only with these functions, which replace control
characters in names and cells, so that no text from a file reaches the terminal unchanged.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from varied.errors import CONTROLS, DataWarning, printable

#: The maximum width of lines, since longer ones are hard to read.
MAX_WIDTH = 110


def width() -> int | None:
    """Return the width at which text is wrapped, or None if stdout is not a terminal."""
    if not sys.stdout.isatty():
        return None
    return min(shutil.get_terminal_size().columns, MAX_WIDTH)


def show(*lines: object, error: bool = False) -> None:
    """Print lines without wrapping them.

    Arguments:
        lines: The lines; none prints an empty line.
        error: Whether to print to stderr.
    """
    text = "\n".join(map(printable, lines))
    print(text, file=sys.stderr if error else sys.stdout, flush=True)


def say(text: str = "", indent: int = 0) -> None:
    """Print a sentence, wrapped to the width of the terminal."""
    lead, columns, text = " " * indent, width(), printable(text)
    if columns is None:
        print(lead + text)
        return
    wrapped = textwrap.fill(
        text,
        columns,
        initial_indent=lead,
        subsequent_indent=lead + "  " * bool(indent),
        break_long_words=False,
        break_on_hyphens=False,
    )
    print(wrapped)


def heading(text: str) -> None:
    """Print a heading after a blank line."""
    print(f"\n{_style(printable(text), '1')}")


def _style(text: str, code: str) -> str:
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plain or not sys.stdout.isatty() else f"\033[{code}m{text}\033[0m"


def warn(sentences: Iterable[str]) -> None:
    """Print each sentence as a warning, preceded by a blank line."""
    for sentence in sentences:
        show()
        say(f"Warning: {sentence}")


def show_data_warnings() -> None:
    """Print each `DataWarning` as a sentence on stderr, and other warnings as before."""
    show_other = warnings.showwarning

    def show_warning(message: Any, category: type[Warning], *args: Any, **kwargs: Any) -> None:
        if issubclass(category, DataWarning):
            show(f"Warning: {message}", error=True)
        else:
            show_other(printable(message), category, *args, **kwargs)

    warnings.showwarning = show_warning


def show_json(value: object) -> None:
    """Print a value as JSON; non-finite numbers become null."""
    from varied.atomic_io import nan_to_none

    lines = json.dumps(nan_to_none(value), indent=2, ensure_ascii=False).split("\n")
    show(*(CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", line) for line in lines))


def table(header: Sequence[str], rows: Iterable[Sequence[object]], indent: int = 2) -> None:
    """Print a table with right-aligned numbers, and wrap its last column to fit the terminal."""
    header, cells = list(map(printable, header)), [list(map(printable, row)) for row in rows]
    columns = list(zip(header, *cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [bool(cells) and all(map(_is_numeric, column[1:])) for column in columns]
    left = indent + sum(widths[:-1]) + 2 * (len(widths) - 1)
    room = max((width() or 10_000) - left, 20)
    for index, row in enumerate([header, *cells] if any(header) else cells):
        padded = [
            cell.rjust(n) if right else cell.ljust(n)
            for cell, n, right in zip(row, widths, numeric, strict=True)
        ]
        lead = " " * indent + "".join(f"{cell}  " for cell in padded[:-1])
        last = [padded[-1]] if numeric[-1] else textwrap.wrap(row[-1], room) or [""]
        text = (lead + f"\n{' ' * len(lead)}".join(last)).rstrip()
        print(_style(text, "2") if index == 0 and any(header) else text)


def _is_numeric(cell: str) -> bool:
    return cell in ("", "-") or cell.lstrip("-")[:1].isdigit()


@contextmanager
def status(text: str, *, quiet: bool = False) -> Iterator[None]:
    """Show a spinner while the body of a ``with`` statement runs, if stderr is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(printable(text))):  # without markup, as in "[red]"
        yield


def command_line() -> str:
    """Return the command as the user typed it."""
    return shlex.join(["varied", *sys.argv[1:]])
