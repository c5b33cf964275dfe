"""The entry point of the command, which prints each error as one line and sets the exit code."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import typer

from varied.cli import console
from varied.cli.app import app
from varied.errors import VariedError

#: Exit codes for invalid usage and an internal error, and when the reader of stdout has ended. With
#: Ctrl-C and SIGTERM, the exit code is also 128 plus the signal number, as in shells.
MISUSE, INTERNAL, CLOSED = 2, 1, 141

#: The base class of typer's usage errors.
UsageError = typer.BadParameter.__mro__[2]


def main(args: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = list(sys.argv[1:] if args is None else args)
    _prepare_streams()
    try:
        with _exit_on_sigterm():
            code = _run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        code = CLOSED
    except OSError as error:  # the output cannot be written, for example if the disk is full
        code = MISUSE
        with suppress(OSError):
            _report(error)
    _silence_broken_streams()
    return code


def _prepare_streams() -> None:
    """Open the null device for each stream that is closed, and set how characters are encoded."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _silence_broken_streams() -> None:
    """Redirect broken streams, so that closing them at exit does not raise the same error again."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Exit with an exception on SIGTERM, unless it is ignored, so that temporary files are removed.

    The previous signal handler is restored on exit from the context.
    """
    is_ignored = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    if is_ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)


def _import_parts(args: list[str]) -> list[str]:
    """Import the file or module of each option ``--import``; return the other arguments."""
    rest: list[str] = []
    remaining = iter(args)
    for word in remaining:
        flag, equals, value = word.partition("=")
        if flag != "--import":
            rest.append(word)
            continue
        source = value if equals else next(remaining, "")
        if not source:
            raise VariedError("--import requires a value; use --import my_parts.py.")
        from varied.registry import import_parts

        import_parts(source)
    return rest


def _run(args: list[str]) -> int:
    try:
        command = typer.main.get_command(app)
        code = command.main(_import_parts(args), prog_name="varied", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        raise
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # typer exits with code 1
            raise error.__context__ from None
        raise
    except Exception as error:
        if "--traceback" in args or os.environ.get("VARIED_TRACEBACK", "") not in ("", "0"):
            raise
        return _report(error)


def _report(error: Exception) -> int:
    """Print an error on one line, and return the exit code."""
    if isinstance(error, UsageError):
        return _report_usage(error)
    if isinstance(error, VariedError):
        return _fail(_with_options(str(error)), MISUSE)
    if isinstance(error, OSError):
        path = f" ({error.filename})" if error.filename else ""
        return _fail(f"The operating system reports: {error.strerror or error}{path}.", MISUSE)
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return _fail("Out of memory; use a smaller --batch-size, --width or --image-size.", MISUSE)
    first_line = str(error).strip().partition("\n")[0]
    return _fail(
        f"Internal error ({type(error).__name__}: {first_line}). Please report it with the output "
        "of `varied doctor`; `varied --traceback ...` shows where it occurred.",
        INTERNAL,
    )


def _with_options(text: str) -> str:
    """Rewrite the arguments in a message of the library as command-line options."""
    if "varied.spec" not in sys.modules:  # raised by the command line itself
        return text
    from varied.cli.flags import in_flags

    command = typer.main.get_command(app)
    names = {param.name for each in command.commands.values() for param in each.params}  # type: ignore[attr-defined]
    return in_flags(text, names)


def _report_usage(error: Exception) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        console.show(*str(error).split("\n"))
        return 0
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "varied"
    text = error.format_message()  # type: ignore[attr-defined]
    possibilities = getattr(error, "possibilities", None)
    if possibilities:
        text = f"{getattr(error, 'message', text)}. Did you mean {' or '.join(possibilities)}?"
    text = re.sub(r"Input should be ([^,]*).*", r"it should be \1", text)
    stop = "" if text.endswith((".", "?")) else "."
    return _fail(f"{text}{stop} See `{command} --help`.", MISUSE)


def _fail(sentence: str, code: int) -> int:
    console.show(f"varied: {sentence}", error=True)
    return code
