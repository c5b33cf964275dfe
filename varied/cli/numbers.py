"""Measured numbers as a person reads them: each with its standard error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from varied.cli import console

__all__ = ["estimate", "rows_of", "show_numbers"]

#: The sign of the ELBO is turned, so that all of them are costs: lower is better.
NAMES = {
    "elbo": "-ELBO",
    "reconstruction": "reconstruction",
    "kl": "KL",
    "log_likelihood": "-log p(x)",
}
NO_DENSITY = "none: a point posterior has no density"


def estimate(found: Mapping[str, Any], name: str) -> str:
    """Return a number with its standard error, or why there is none."""
    value, error = found.get(name), found.get(f"{name}_error")
    if value is None:
        return NO_DENSITY if name in ("elbo", "kl") else "none"
    sign = -1 if name in ("elbo", "log_likelihood") else 1
    if error is None:
        return f"{sign * value:.2f}"
    digits = _digits(error)
    return f"{sign * value:.{digits}f} ± {error:.{digits}f}"


def _digits(error: float) -> int:
    """Return how many digits show two that count of an error: at least 2, at most 6."""
    return min(max(2, 1 - math.floor(math.log10(error))), 6) if error > 0 else 2


def active(found: Mapping[str, Any]) -> str:
    """Return the active units among all."""
    error = found.get("active_units_error")
    spread = f" ± {error:.1f}" if error else ""
    return f"{found['active_units']:.0f}{spread} of {found['latent']}"


def rows_of(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, number and unit of each."""
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
