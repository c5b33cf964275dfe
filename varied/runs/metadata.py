"""The metadata that are used when a run is opened."""

from __future__ import annotations

from typing import Any, TypedDict


class RequiredMetadata(TypedDict):
    """The metadata that every run has."""

    source: str | None
    options: dict[str, Any]
    digest: str
    train: int
    validation: int
    test: int
    notes: tuple[str, ...]


class Metadata(RequiredMetadata, total=False):
    """All metadata that are used when a run is opened; a run may contain more."""

    n: int
    classes: tuple[str, ...]
    label_columns: tuple[str, ...]
    label_column: str | None
    n_labels: int | None
