"""What a person is told when something cannot be done: one sentence, with the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

__all__ = ["VariedError", "check_above", "check_at_least", "lookup", "suggest"]

T = TypeVar("T")

#: Words that one message lists at most.
LISTED = 60


class VariedError(ValueError):
    """A mistake that the person can mend; its text is one clear sentence with the way out.

    The command prints the text alone and exits with code 2; any other exception is a fault of ours.
    """


def suggest(word: str, known: Iterable[str], most: int = LISTED) -> str:
    """Return a hint to the nearest known word, or a list of known words where none is near.

    Arguments:
        word: What was said.
        known: What could have been said.
        most: Words that are listed at most.

    Example:
        >>> suggest("bernouli", ["bernoulli", "gaussian"])
        "did you mean 'bernoulli'?"
        >>> suggest("xyz", ["bernoulli", "gaussian"])
        'choose from bernoulli, gaussian.'
    """
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    more = f" and {len(known) - most:,} more" if len(known) > most else ""
    return f"choose from {', '.join(known[:most])}{more}."


def lookup(table: Mapping[str, T], name: str, what: str) -> T:
    """Return the entry of a table by its name.

    Raises:
        VariedError: If the table has no such name; the message suggests the nearest.
    """
    if name not in table:
        raise VariedError(f"There is no {what} '{name}': {suggest(name, table)}")
    return table[name]


def check_at_least(minimum: float, *, default: object = None, **values: float) -> None:
    """Check that no value is below a minimum.

    Arguments:
        minimum: The smallest valid value.
        default: The default, which the message suggests.
        values: The values by name.

    Raises:
        VariedError: Naming the first value that is below the minimum.

    Example:
        >>> check_at_least(1, default=128, width=0)
        Traceback (most recent call last):
        ...
        varied.errors.VariedError: width=0 must be at least 1; 128 is the default.
    """
    for name, value in values.items():
        if not value >= minimum:
            raise VariedError(f"{name}={value} must be at least {minimum}{_suggestion(default)}.")


def check_above(bound: float, *, default: object = None, **values: float) -> None:
    """Check that every value is greater than a bound; see `check_at_least`.

    Raises:
        VariedError: Naming the first value that is not above the bound.
    """
    for name, value in values.items():
        if not value > bound:
            raise VariedError(f"{name}={value} must be above {bound}{_suggestion(default)}.")


def _suggestion(default: object) -> str:
    return "" if default is None else f"; {default} is the default"
