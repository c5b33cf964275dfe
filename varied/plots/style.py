"""The common style of all figures: colors, fonts, number formats and saving."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray
from PIL import ImageFont

from varied.atomic_io import atomic_write
from varied.errors import printable

Array: TypeAlias = NDArray[Any]
StrPath: TypeAlias = str | os.PathLike[str]

INK, MUTED, AXIS, GRID = "#1c1c1c", "#5c5c5c", "#8a8a8a", "#dcdcdc"
BLUE, RUST = "#0072B2", "#BF4E00"  # Okabe-Ito, with the vermilion darkened to be legible as text
TITLE: dict[str, Any] = {"fontsize": 11, "color": INK}
LABEL: dict[str, Any] = {"fontsize": 9, "color": MUTED}
NOTE: dict[str, Any] = {"fontsize": 8, "color": MUTED}

# The Okabe-Ito palette without yellow, which is hard to see on white, and black, which is hard to
# distinguish from text, followed by darker hues of Tol's palettes. Pale colors are darkened to a
# contrast of 3:1 with white.
PALETTE = (
    *("#0072B2", "#C98500", "#009E73", "#D55E00", "#3C9AD3"),
    *("#C06A98", "#882255", "#8F8F2E", "#332288", "#6B6B6B"),
)
MARKERS = ("o", "^")
MAX_CLASSES = len(PALETTE) * len(MARKERS)

FONT = "DejaVu Sans"
#: Fonts for scripts that DejaVu Sans does not cover.
FALLBACK_FONTS = re.compile(
    "Noto Sans (CJK|Devanagari)|Source Han Sans|Hiragino Sans|PingFang|Microsoft YaHei|Yu Gothic"
    "|Malgun Gothic|WenQuanYi|Droid Sans Fallback|Nirmala UI"
)


def class_style(index: int) -> tuple[str, str]:
    """Return the color and the marker of a class; the first 20 combinations are distinct."""
    return PALETTE[index % len(PALETTE)], MARKERS[index // len(PALETTE) % len(MARKERS)]


@cache
def font(size: float) -> ImageFont.FreeTypeFont:
    """Return the font for all text; Pillow's default lacks the minus sign, accents and Greek."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def text_width(text: str, size: float) -> float:
    """Return the width of a string, in the same unit as the font size (points or pixels)."""
    return font(90).getlength(text) * size / 90


def truncate(text: object, size: float, width: float) -> str:
    """Return the text as a single line, shortened with an ellipsis to fit the width.

    Arguments:
        text: The text.
        size: The font size, in points or pixels.
        width: The available width, in the same unit.
    """
    line = printable(" ".join(str(text).split()))
    if text_width(line, size) <= width:
        return line
    while line and text_width(f"{line}…", size) > width:
        line = line[:-1].rstrip()
    return f"{line}…"


def format_number(value: float, spec: str = "") -> str:
    """Format a number with about three digits, thousands separators and a typographic minus sign.

    Arguments:
        value: The number.
        spec: A format specification that overrides the default number of digits.

    Example:
        >>> format_number(12345.6), format_number(91.23), format_number(-0.5)
        ('12,346', '91.2', '−0.50')
    """
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:{spec or f',.{digits}f'}}".replace("-", "−")


def format_tick(value: float, _: int | None = None) -> str:
    """Format a number as a short tick label, such as 2.5, 1200, 12k or 1.4M."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(size, 1e4):
            return f"{format_number(value / size, '.6g')}{suffix}"
    return format_number(value, ".6g")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure with a size in inches, without using pyplot."""
    return Figure(figsize=(width, height), dpi=150, facecolor="white", layout="constrained")


def prepare_axes(ax: Axes, title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """Remove the top and right spines, add light horizontal grid lines, and set the labels."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(AXIS)
    ax.tick_params(colors=MUTED, labelsize=9, length=3)
    ax.grid(axis="y", color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.xaxis.set_major_formatter(FuncFormatter(format_tick))
    ax.yaxis.set_major_formatter(FuncFormatter(format_tick))
    ax.set_title(title, loc="left", **TITLE)
    ax.set_xlabel(xlabel, fontsize=10, color=MUTED)
    ax.set_ylabel(ylabel, fontsize=10, color=MUTED)


def add_colorbar(ax: Axes, mappable: ScalarMappable, label: str = "") -> Colorbar:
    """Draw a color bar to the right of the axes, with the same height."""
    bar = ax.figure.colorbar(mappable, cax=ax.inset_axes((1.03, 0, 0.03, 1)))
    bar.outline.set_visible(False)
    bar.set_label(label, **LABEL)
    bar.ax.tick_params(colors=MUTED, labelsize=8, length=2)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(format_tick))
    return bar


def avoid_overlap(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Shift positions so that they are at least ``gap`` apart, and within the limits if possible.

    Example:
        >>> avoid_overlap([0.5, 0.5], 0.25, 0.0, 1.0)
        [0.5, 0.75]
    """
    order = np.argsort(positions, kind="stable")
    shifted = np.clip(np.asarray(positions, float), low, high)
    for below, above in pairwise(order):
        shifted[above] = max(shifted[above], shifted[below] + gap)
    shifted[order[-1:]] = np.minimum(shifted[order[-1:]], high)
    for above, below in pairwise(order[::-1]):
        shifted[below] = min(shifted[below], shifted[above] - gap)
    return [float(position) for position in shifted]


def save(figure: Figure, path: StrPath, *, tight: bool = True) -> Path:
    """Write a figure to a file in the format of the file extension, or as PNG if there is none.

    Arguments:
        figure: The figure.
        path: The file to write.
        tight: Whether to crop the figure to its content.
    """
    prepare_texts(figure)
    extension = Path(path).suffix.lstrip(".").lower() or "png"
    crop: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.12} if tight else {}
    with warnings.catch_warnings():
        # A character that no font contains is drawn as a box, so the warnings are not needed.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        return atomic_write(Path(path), lambda file: figure.savefig(file, format=extension, **crop))


def prepare_texts(figure: Figure) -> None:
    """Apply `text_properties` to all text in a figure, and replace control characters."""
    for text in figure.findobj(Text):
        lines = text.get_text().split("\n")
        text.set(text="\n".join(map(printable, lines)), **text_properties())


@cache
def text_properties() -> dict[str, Any]:
    """Return text properties that set the font families, and disable math parsing.

    Names may contain any character, including "$".
    """
    fallbacks = filter(FALLBACK_FONTS.match, fontManager.get_font_names())
    return {"fontfamily": [FONT, *fallbacks], "parse_math": False}
