"""Whatever goes wrong is one sentence and an exit code; a traceback is for those who ask."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

import typer

from varied.cli.app import app
from varied.errors import VariedError

__all__ = ["main"]

#: A mistake that the person can mend; a fault of ours; stopped by the person.
MISTAKE, FAULT, STOPPED = 2, 1, 130
ISSUES = "the project's issue tracker"

#: The base of all that typer says of a command line that it cannot take.
UsageError = typer.BadParameter.__mro__[2]


def main(args: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = list(sys.argv[1:] if args is None else args)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        return _run(args)
    except Exception as error:
        if _wants_traceback(args):
            raise
        return _told(error)


def _run(args: Sequence[str]) -> int:
    try:
        command = typer.main.get_command(app)
        code = command.main(list(args), prog_name="varied", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = STOPPED
    except BrokenPipeError:
        _close_quietly()
        code = FAULT
    return code if isinstance(code, int) else 0


def _close_quietly() -> None:
    """Point stdout at nothing, so that closing it at exit meets no broken pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _wants_traceback(args: Sequence[str]) -> bool:
    return "--traceback" in args or os.environ.get("VARIED_TRACEBACK", "") not in ("", "0")


def _told(error: Exception) -> int:
    """Say what went wrong, and return the exit code."""
    if isinstance(error, UsageError):
        return _misuse(error)
    if isinstance(error, VariedError):
        return _fail(str(error), MISTAKE)
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        return _fail(f"The system says: {error.strerror or error}{place}.", MISTAKE)
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return _fail(
            "The memory is not enough: take a smaller --batch-size, --width or --image-size.", 2
        )
    kind = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return _fail(
        f"This is a fault of ours, not yours ({kind}). Please report it, with what "
        "`varied doctor` prints; `varied --traceback ...` shows where it arose.",
        FAULT,
    )


def _misuse(error: Exception) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error)
        return 0
    context = getattr(error, "ctx", None)
    place = context.command_path if context else "varied"
    text = error.format_message()  # type: ignore[attr-defined]
    near = getattr(error, "possibilities", None)
    if near:
        text = f"{getattr(error, 'message', text)}. Did you mean {' or '.join(near)}?"
    text = re.sub(r"Input should be ([^,]*).*", r"it should be \1", text)
    stop = "" if text.endswith((".", "?")) else "."
    return _fail(f"{text}{stop} `{place} --help` shows what there is.", MISTAKE)


def _fail(sentence: str, code: int) -> int:
    print(f"varied: {sentence}", file=sys.stderr)
    return code
