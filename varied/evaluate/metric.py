"""A figure with all that a reader needs to trust it: its unit, its error, and what it is from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from varied.evaluate.estimate import Estimate

__all__ = ["Metric", "MetricGroup"]

Better = Literal["lower", "higher", ""]


@dataclass(frozen=True)
class Metric:
    """One figure.

    Arguments:
        name: What it is called.
        estimate: Its value, its standard error (NaN where none is known) and how many rows or
            draws it is from.
        unit: Its unit; "" for a share or a score.
        better: Which way is better; "" where neither is.
        beside: What to hold it against: the same figure of real data, of chance, of raw data.
        lesson: The name under which `varied explain` defines it.
    """

    name: str
    estimate: Estimate
    unit: str = ""
    better: Better = ""
    beside: str = ""
    lesson: str = ""

    @property
    def value(self) -> str:
        """The figure as a person reads it, with its unit."""
        value, error = self.estimate.value, self.estimate.error
        if not math.isfinite(value):
            return "infinite" if math.isinf(value) else "none"
        if not math.isfinite(error) or error == 0:
            said = f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
        else:
            digits = min(max(1 - math.floor(math.log10(error)), 0), 4)
            said = f"{value:,.{digits}f} ± {error:.{digits}f}"
        return f"{said} {self.unit}".strip()

    def to_json(self) -> dict[str, Any]:
        """Return plain values; what is not finite is None."""
        told = {"value": self.estimate.value, "error": self.estimate.error}
        plain = {key: v if math.isfinite(v) else None for key, v in told.items()}
        rest = {"unit": self.unit, "better": self.better, "beside": self.beside}
        return {"name": self.name, **plain, "n": self.estimate.n, **rest, "explain": self.lesson}


@dataclass(frozen=True)
class MetricGroup:
    """Figures that belong together, on the same rows.

    Arguments:
        title: What they are about.
        note: What they are from: rows, samples, features.
        measures: The figures.
        warnings: What a reader should know first, a sentence each.
        fingerprint: That of the features; figures of two fingerprints do not compare.
    """

    title: str
    note: str
    measures: Sequence[Metric]
    warnings: Sequence[str] = field(default_factory=list)
    fingerprint: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        plain = {"title": self.title, "note": self.note, "features": self.fingerprint}
        figures = [one.to_json() for one in self.measures]
        return plain | {"measures": figures, "warnings": list(self.warnings)}
