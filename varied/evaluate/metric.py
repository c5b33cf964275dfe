"""Metrics with their units, standard errors and reference values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from varied.atomic_io import nan_to_none
from varied.evaluate.estimate import Estimate
from varied.evaluate.formatting import format_estimate


@dataclass(frozen=True)
class Metric:
    """A single measured property of a model.

    Arguments:
        name: The name of the metric.
        estimate: The value, its standard error (NaN if unknown), and the number of examples.
        unit: The unit; empty for fractions and scores.
        better: The direction that is better; empty if neither is.
        reference: A reference for the value: the same metric for real data or raw data, or the
            chance level.
        topic: The topic of `varied explain` that defines the metric.
    """

    name: str
    estimate: Estimate
    unit: str = ""
    better: Literal["lower", "higher", ""] = ""
    reference: str = ""
    topic: str = ""

    def __str__(self) -> str:
        return format_estimate(self.estimate.value, self.estimate.error, self.unit)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-serializable values, with None for non-finite numbers."""
        values = asdict(self)
        values |= values.pop("estimate")
        return {key: nan_to_none(value) for key, value in values.items()}


@dataclass(frozen=True)
class MetricGroup:
    """Related metrics that are computed from the same examples.

    Arguments:
        title: The title of the group.
        note: The examples and features from which the metrics were computed.
        metrics: The metrics.
        warnings: Caveats about the model or the reliability of the metrics.
        fingerprint: The fingerprint of the features. Metrics with different fingerprints are not
            comparable.
    """

    title: str
    note: str
    metrics: Sequence[Metric]
    warnings: Sequence[str] = field(default_factory=list)
    fingerprint: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return JSON-serializable values."""
        return {
            "title": self.title,
            "note": self.note,
            "fingerprint": self.fingerprint,
            "metrics": [metric.to_json() for metric in self.metrics],
            "warnings": list(self.warnings),
        }
