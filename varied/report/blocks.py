"""The content of reports and model cards as plain values without markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """A key result at the top of the page.

    Arguments:
        name: What it is, such as "−ELBO" or "active units".
        value: The number with its error and unit, such as "91.2 ± 0.3 nats" or "19 of 32".
        note: The data it was measured on, or whether lower or higher is better.
    """

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Note:
    """A sentence about the data or the settings; warnings are listed first and highlighted."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class Table:
    """A table of numbers or words; the first column holds the names of the rows."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """An image file in the folder of the run.

    Arguments:
        file: File name relative to the folder: png, jpg, webp, svg or gif.
        title: The heading.
        alt: What the image shows, for readers who cannot see it.
        caption: What to look for.
    """

    file: str
    title: str
    alt: str
    caption: str = ""
