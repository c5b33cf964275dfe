"""The one look of all pictures: colors, numbers, bare axes, and files that are whole or absent."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from varied.atomic_io import atomic_write

__all__ = [
    "BLUE",
    "HAIR",
    "INK",
    "MUTED",
    "RUST",
    "Array",
    "StrPath",
    "avoid_overlap",
    "class_style",
    "number",
    "plain",
    "save",
    "sheet_of",
    "style_axes",
]

Array: TypeAlias = NDArray[Any]
StrPath: TypeAlias = str | os.PathLike[str]

INK, MUTED, HAIR = "#1c1c1c", "#5c5c5c", "#dcdcdc"
BLUE, RUST = "#0072B2", "#BF4E00"  # Okabe-Ito; its vermilion darkened until it can be read as text

# Okabe-Ito without yellow and black, which vanish on white or among text, then Tol's darker hues;
# the pale ones darkened until they stand out from white by 3 to 1.
PALETTE = (
    *("#0072B2", "#C98500", "#009E73", "#D55E00", "#3C9AD3"),
    *("#C06A98", "#882255", "#8F8F2E", "#332288", "#6B6B6B"),
)
MARKERS = ("o", "^")

# The face of all text, and beginnings of the names of faces with the letters that it has not.
FACE = "DejaVu Sans"
OTHERS = (
    *(
        "Noto Sans CJK",
        "Source Han Sans",
        "Hiragino Sans",
        "PingFang",
        "Microsoft YaHei",
        "Yu Gothic",
    ),
    *("Malgun Gothic", "WenQuanYi", "Droid Sans Fallback", "Nirmala UI", "Noto Sans Devanagari"),
)


def class_style(index: int) -> tuple[str, str]:
    """Return the color and the marker of one class; the pairs are distinct for 20 classes."""
    return PALETTE[index % len(PALETTE)], MARKERS[index // len(PALETTE) % len(MARKERS)]


def plain(text: object) -> str:
    """Return the text on one line, with nothing in it that matplotlib would read as mathematics."""
    return " ".join(str(text).split()).replace("$", r"\$")


def number(value: float) -> str:
    """Return a number as a person reads it: about three digits, thousands apart, a true minus.

    Example:
        >>> number(12345.6), number(91.23), number(-0.5)
        ('12,346', '91.2', '−0.50')
    """
    if not math.isfinite(value):
        return "not a number"
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:,.{digits}f}".replace("-", "−")


def _tick(value: float, _: int | None = None) -> str:
    return f"{value:,.8g}".replace("-", "−")


def sheet_of(width: float, height: float) -> Figure:
    """Return an empty figure, in inches, that belongs to no global state."""
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def style_axes(ax: Axes, title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """Take away the frame, and give light guides, readable thousands and quiet labels."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#8a8a8a")
    ax.tick_params(colors=MUTED, labelsize=9, length=3)
    ax.grid(axis="y", color=HAIR, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.xaxis.set_major_formatter(FuncFormatter(_tick))
    ax.yaxis.set_major_formatter(FuncFormatter(_tick))
    ax.set_title(title, loc="left", fontsize=11, color=INK)
    ax.set_xlabel(xlabel, fontsize=10, color=MUTED)
    ax.set_ylabel(ylabel, fontsize=10, color=MUTED)


def avoid_overlap(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return the places moved as little as keeps them `gap` apart, within limits where they fit.

    Example:
        >>> avoid_overlap([0.5, 0.5], 0.25, 0.0, 1.0)
        [0.5, 0.75]
    """
    order = np.argsort(places, kind="stable")
    moved = np.clip(np.asarray(places, float), low, high)
    for below, above in pairwise(order):
        moved[above] = max(moved[above], moved[below] + gap)
    if len(order):
        moved[order[-1]] = min(moved[order[-1]], high)
    for above, below in pairwise(order[::-1]):
        moved[below] = min(moved[below], moved[above] - gap)
    return [float(place) for place in moved]


def save(figure: Figure, path: StrPath, *, tight: bool = False) -> Path:
    """Write a figure in the format that the name ends with; tight cuts it to what is drawn."""
    kind = Path(path).suffix.lstrip(".").lower() or "png"
    cut: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.12} if tight else {}
    for text in figure.findobj(Text):
        text.set_fontfamily(_faces())
    with warnings.catch_warnings():
        # A letter that no face has is drawn as a box, which says as much as a warning for each.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        return atomic_write(Path(path), lambda file: figure.savefig(file, format=kind, **cut))


@cache
def _faces() -> list[str]:
    """Return the face of all text, and those on this machine that have more letters."""
    return [FACE, *(name for name in fontManager.get_font_names() if name.startswith(OTHERS))]
