"""The table of measured numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from varied.cli import console

__all__ = ["of_table", "rows_of", "show_numbers"]

#: Columns that are named.
DEAREST = 5


def rows_of(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, number and unit of each."""
    from varied.evaluate.formatting import LABELS, format_active_units, format_metric

    names = [n for n in LABELS if n != "log_likelihood" or found.get(n) is not None]
    rows = [
        (LABELS[n], format_metric(found, n), "nats" if found.get(n) is not None else "")
        for n in names
    ]
    return [*rows, ("active units", format_active_units(found), "")]


def show_numbers(found: Mapping[str, Any], title: str) -> None:
    """Print the numbers of an evaluation."""
    console.heading(title)
    console.table(("", "", ""), rows_of(found))
    samples = found.get("importance_samples")
    if samples:
        console.say(f"log p(x) by {samples:,} importance samples of each row.", 2)
    console.say(f"The likelihood is {found['likelihood']}; ± is the standard error.", 2)
    for sentence in of_table(found):
        console.say(sentence, 2)


def of_table(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is said of a run on a table: what its columns cost, how like made rows are."""
    costs, alike = found.get("columns") or {}, found.get("likeness") or {}
    if costs:
        dearest = sorted(costs, key=lambda name: -costs[name][0])[:DEAREST]
        told = ", ".join(f"{name} {costs[name][0]:.2f}" for name in dearest)
        yield f"Dearest columns, in nats: {told}."
    if alike:
        told = " and ".join(f"{value:.2f} by {name}" for name, value in alike.items())
        yield f"Made rows are like test rows: {told}, of 1."
