"""The table of measured numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from varied.cli import console

__all__ = ["rows_of", "show_numbers"]


def rows_of(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, number and unit of each."""
    from varied.evaluate.words import NAMES, active, estimate

    names = [n for n in NAMES if n != "log_likelihood" or found.get(n) is not None]
    rows = [
        (NAMES[n], estimate(found, n), "nats" if found.get(n) is not None else "") for n in names
    ]
    return [*rows, ("active units", active(found), "")]


def show_numbers(found: Mapping[str, Any], title: str) -> None:
    """Print the numbers of an evaluation."""
    console.heading(title)
    console.table(("", "", ""), rows_of(found))
    samples = found.get("importance_samples")
    if samples:
        console.say(f"log p(x) by {samples:,} importance samples of each row.", 2)
    console.say(f"The likelihood is {found['likelihood']}; ± is the standard error.", 2)
