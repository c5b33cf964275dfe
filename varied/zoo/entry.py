"""What a row of the zoo is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Entry"]


@dataclass(frozen=True)
class Entry:
    """A named variant: the axes that it sets, and what a person should know of it.

    Axes that it does not set are chosen to suit the data.
    """

    title: str
    reference: str
    year: int
    link: str
    use_for: str
    benchmark: str
    parts: Mapping[str, Any] = field(default_factory=dict)
    conditional: bool = False
