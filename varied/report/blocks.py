"""What reports and cards are made of: plain values, and no markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Fact", "Figure", "Sentence", "Table"]


@dataclass(frozen=True)
class Fact:
    """A number for the top of the page.

    Arguments:
        name: What it is: "−ELBO", "active units".
        value: The number with its error and unit: "91.2 ± 0.3 nats", "19 of 32".
        note: What it was measured on, or which way is better.
    """

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Sentence:
    """What was understood or chosen; a warning is marked as one."""

    text: str
    kind: Literal["note", "warning"] = "note"


@dataclass(frozen=True)
class Table:
    """Rows of numbers or words under a header; the first column names the row."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture in the run's folder.

    Arguments:
        file: Its name, relative to the folder: png, jpg, webp, svg or gif.
        title: Its heading.
        alt: What it shows, for a person who does not see it; from the data.
        caption: What to look for.
    """

    file: str
    title: str
    alt: str
    caption: str = ""
