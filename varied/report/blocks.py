"""The content of reports and model cards, as plain text without markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """A key result, shown at the top of the page.

    Arguments:
        name: The name of the quantity, such as "−ELBO" or "active units".
        value: The value with its error and unit, such as "91.2 ± 0.3 nats" or "19 of 32".
        note: A note, such as the data used for the measurement, or whether lower is better.
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
    """A table of numbers or words; the first column contains the row names."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """An image file in the run folder.

    Arguments:
        file: The file name relative to the folder; the format is png, jpg, webp, svg or gif.
        title: The heading.
        alt: The alternative text, for readers who cannot see the image.
        caption: The caption below the image.
        audio: The name of a .flac or .wav file in the folder that is played below the image.
    """

    file: str
    title: str
    alt: str
    caption: str = ""
    audio: str = ""
