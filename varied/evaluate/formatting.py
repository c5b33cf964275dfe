"""Formatting of metric values with their standard errors and units."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

#: Labels of the metrics of an evaluation. The sign of log-likelihoods is reversed, so lower is
#: better for all metrics.
LABELS = {
    "elbo": "-ELBO",
    "reconstruction": "reconstruction",
    "kl": "KL",
    "log_likelihood": "-log p(x)",
}
#: The likelihoods that assign probabilities to discrete levels, such as 8-bit values.
LEVEL_LIKELIHOODS = ("discretized-logistic", "discretized-logistic-mixture", "categorical")
NO_DENSITY = "none: a deterministic posterior has no density"


def format_estimate(
    value: float, error: float | None = None, unit: str = "", *, signed: bool = False
) -> str:
    """Return a value with its standard error and unit, as a string.

    The error is rounded to two significant digits, or to an integer if it is above 100, and the
    value is rounded to the same decimal place. Neither has more than six decimals. If the error is
    unknown, infinite or rounds to 0, the value is rounded to four significant digits, unless it is
    an integer.

    Arguments:
        value: The value.
        error: The standard error; None or NaN if it is unknown.
        unit: The unit, separated from the number by a space unless it is "%".
        signed: Whether to write a plus sign before positive values.

    Example:
        >>> format_estimate(91.2345, 0.253, "nats")
        '91.23 ± 0.25 nats'
        >>> format_estimate(12345.6, 120.0), format_estimate(0.5, signed=True)
        ('12,346 ± 120', '+0.5')
    """
    sign, suffix = "+" if signed else "", unit if unit in ("", "%") else f" {unit}"
    if error is None or not (5e-7 <= error < math.inf and math.isfinite(value)):
        digits = ",.0f" if float(value).is_integer() else ".4g"
        return f"{value:{sign}{digits}}{suffix}"
    decimals = min(max(1 - math.floor(math.log10(error)), 0), 6)
    return f"{value:{sign},.{decimals}f} ± {error:,.{decimals}f}{suffix}"


def format_metric(evaluation: Mapping[str, Any], name: str) -> str:
    """Return a formatted metric of an evaluation, or the reason why it is not available.

    Arguments:
        evaluation: The JSON-serializable values of an `Evaluation`.
        name: The name of the metric, which is a key of `LABELS`.
    """
    value = evaluation.get(name)
    if value is None:
        return NO_DENSITY if name in ("elbo", "kl") else "none"
    sign = -1 if name in ("elbo", "log_likelihood") else 1
    return format_estimate(sign * value, evaluation.get(f"{name}_error"))


def format_active_units(evaluation: Mapping[str, Any]) -> str:
    """Return the number of active units, such as "3 of 10", from the values of an `Evaluation`."""
    active = format_estimate(evaluation["active_units"], evaluation.get("active_units_error"))
    return f"{active} of {evaluation['latent_dim']}"


def format_bits(evaluation: Mapping[str, Any]) -> str | None:
    """Return the bits per dimension; None without an ELBO or a likelihood of discrete levels."""
    if evaluation["likelihood"] not in LEVEL_LIKELIHOODS or evaluation.get("elbo") is None:
        return None
    scale = 1 / (evaluation["dimensions"] * math.log(2))
    error = evaluation.get("elbo_error")
    return format_estimate(-scale * evaluation["elbo"], None if error is None else scale * error)


def metric_rows(evaluation: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the name, value and unit of each metric, from the values of an `Evaluation`."""
    rows = []
    for name, label in LABELS.items():
        is_known = evaluation.get(name) is not None
        if is_known or name != "log_likelihood":
            rows.append((label, format_metric(evaluation, name), "nats" if is_known else ""))
        bits = format_bits(evaluation) if name == "elbo" else None
        rows += [("", bits, "bits per dimension")] if bits else []
    return [*rows, ("active units", format_active_units(evaluation), "")]


def html_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as HTML, for notebooks."""

    def row(cells: Iterable[object], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(str(cell))}</{tag}>' for cell in cells)}</tr>"

    return f"<table>{row(header, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"
