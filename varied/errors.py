"""The exceptions for user errors, and functions that build their messages."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

#: Control characters, line breaks, characters that change the direction of text, and surrogates.
CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
#: The maximum number of characters of a message.
_MAX_MESSAGE = 2000


class VariedError(ValueError):
    r"""An error that the user can fix; its message describes the problem and how to fix it.

    The command-line interface prints only the message and exits with code 2. Any other exception
    is a bug in Varied. Since names from files may contain anything, control characters, which have
    an effect on a terminal, are replaced, and the middle of very long messages is omitted.

    Example:
        >>> VariedError("There is no 'a\x1b[31m'.")
        VariedError("There is no 'a�[31m'.")
    """

    def __init__(self, message: str) -> None:
        if len(message) > _MAX_MESSAGE:
            half = _MAX_MESSAGE // 2 - 3
            message = f"{message[:half]} ... {message[-half:]}"
        super().__init__(printable(message))


class OptionError(VariedError):
    """An error for an option that a kind of data does not support."""


class DataWarning(UserWarning):
    """A warning about the data that were passed to an operation."""


def suggest(name: str, choices: Iterable[str], limit: int = 60) -> str:
    """Return a hint: the choice most similar to a name, or all choices if none is similar.

    Arguments:
        name: The name that the user passed.
        choices: The valid names.
        limit: The maximum number of names to list.

    Example:
        >>> suggest("bernouli", ["bernoulli", "gaussian"])
        "did you mean 'bernoulli'?"
        >>> suggest("xyz", ["bernoulli", "gaussian"])
        'choose from bernoulli, gaussian.'
    """
    choices = [name if name.isprintable() else repr(name)[1:-1] for name in choices]
    if similar := difflib.get_close_matches(name, choices, n=1, cutoff=0.6):
        return f"did you mean '{similar[0]}'?"
    more = f" and {len(choices) - limit:,} more" if len(choices) > limit else ""
    return f"choose from {', '.join(choices[:limit])}{more}."


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """Return the entry with a given name from a table.

    Arguments:
        table: The entries by name.
        name: The name that the user passed.
        kind: The kind of entry for the error message, such as "likelihood".

    Raises:
        VariedError: If the table has no entry with this name.
    """
    if name not in table:
        raise VariedError(f"There is no {kind} {name!r}: {suggest(name, table)}")
    return table[name]


def printable(text: object) -> str:
    r"""Return a text as one line that is safe to print in a terminal.

    Control characters, such as those of a file name or a cell, are replaced.

    Example:
        >>> printable("a\x1b[31m.png")
        'a\ufffd[31m.png'
    """
    return CONTROLS.sub("\N{REPLACEMENT CHARACTER}", str(text))


def read_error(path: Path | str, error: OSError) -> VariedError:
    """Return the error for a file that cannot be read, with the operating system's reason."""
    reason = error.strerror or error
    return VariedError(f"{path} cannot be read ({reason}); check its name and its permissions.")


def check_at_least(minimum: float, *, default: object = None, **values: float) -> None:
    """Check that no value is below a minimum.

    Arguments:
        minimum: The smallest valid value.
        default: The default value, which the message suggests.
        values: The values by name.

    Raises:
        VariedError: If a value is below the minimum; the message names the first one.

    Example:
        >>> check_at_least(1, default=128, width=0)
        Traceback (most recent call last):
        ...
        varied.errors.VariedError: width=0 must be at least 1; the default is 128.
    """
    for name, value in values.items():
        if not value >= minimum:
            raise VariedError(f"{name}={value} must be at least {minimum}{_suggestion(default)}.")


def check_above(bound: float, *, default: object = None, **values: float) -> None:
    """Check that every value is greater than a bound; see `check_at_least`.

    Raises:
        VariedError: If a value is not above the bound; the message names the first one.
    """
    for name, value in values.items():
        if not value > bound:
            raise VariedError(f"{name}={value} must be above {bound}{_suggestion(default)}.")


def _suggestion(default: object) -> str:
    return "" if default is None else f"; the default is {default}"
