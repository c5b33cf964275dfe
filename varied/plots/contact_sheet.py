"""The sheet: exact pixels side by side, enlarged by whole numbers only, with small text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from varied.plots.style import INK, MUTED, Array

__all__ = ["as_image", "clip", "columns_for", "font", "paper_for", "scale_for", "sheet"]

GUTTER, MARGIN, BAND = 3, 8, 10  # pixels: between pictures, around the whole, between bands of rows
TITLE, CAPTION, LONGEST = 13, 12, 190  # pixels: the sizes of text, and the widest title of a row


@dataclass(frozen=True)
class Places:
    """Where everything is on a sheet, in pixels."""

    columns: int
    wide: int
    tall: int
    left: int
    top: int
    under: int
    band: int

    def corner(self, index: int) -> tuple[int, int]:
        """Return the upper left corner of a picture."""
        row, column = divmod(index, self.columns)
        above, within = divmod(row, self.band)
        step = self.tall + GUTTER
        gap = self.under + (BAND if self.band > 1 else 0)
        y = self.top + above * (self.band * step + gap) + within * step
        return self.left + column * (self.wide + GUTTER), y

    def size(self, count: int) -> tuple[int, int]:
        """Return the size of a sheet with so many pictures."""
        right, low = self.corner(self.columns - 1)[0], self.corner(max(0, count - 1))[1]
        return right + self.wide + MARGIN, low + self.tall + self.under + MARGIN


def sheet(
    pictures: Sequence[Array | None] | Array,
    *,
    columns: int | None = None,
    captions: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
    column_titles: Sequence[str] | None = None,
    scale: int | None = None,
    band: int = 1,
) -> Image.Image:
    """Return the sheet that `grid` writes.

    Arguments:
        pictures: As for `grid`; sizes may differ, and None leaves a place empty.
        columns: As for `grid`, and so are the captions, titles and scale.
        captions: See there.
        row_titles: See there.
        column_titles: See there.
        scale: See there.
        band: How many rows belong together; the captions and a gap come after them.

    Returns:
        An RGB image.
    """
    cells = [None if picture is None else as_image(picture) for picture in pictures]
    columns = columns or columns_for(len(cells))
    titles = [clip(title, TITLE, LONGEST) for title in row_titles or ()]
    left = MARGIN + max((round(font(TITLE).getlength(title)) + 10 for title in titles), default=0)
    wide, tall = (max((c.size[axis] for c in cells if c), default=1) for axis in (0, 1))
    scale = scale or scale_for(columns, wide, left)
    top = MARGIN + (20 if column_titles is not None else 0)
    under = 18 if captions is not None else 0
    places = Places(columns, wide * scale, tall * scale, left, top, under, band)
    whole = Image.new("RGB", places.size(len(cells)), paper_for(cells))
    for index, cell in enumerate(cells):
        if cell is not None:
            _paste(whole, cell, places, places.corner(index))
    _write(ImageDraw.Draw(whole), places, captions or (), titles, column_titles or ())
    return whole


def _paste(whole: Image.Image, cell: Image.Image, places: Places, corner: tuple[int, int]) -> None:
    grow = min(places.wide // cell.width, places.tall // cell.height)
    large = cell.resize((cell.width * grow, cell.height * grow), Image.Resampling.NEAREST)
    middle = (places.wide - large.width) // 2, (places.tall - large.height) // 2
    whole.paste(large, (corner[0] + middle[0], corner[1] + middle[1]))


def _write(
    pen: ImageDraw.ImageDraw,
    places: Places,
    captions: Sequence[str],
    row_titles: Sequence[str],
    column_titles: Sequence[str],
) -> None:
    half = places.wide // 2
    for index, text in enumerate(captions):
        x, y = places.corner(index)
        text = clip(text, CAPTION, places.wide)
        pen.text((x + half, y + places.tall + 2), text, MUTED, font(CAPTION), anchor="ma")
    for row, text in enumerate(row_titles):
        x, y = places.corner(row * places.columns)
        pen.text((x - 10, y + places.tall // 2), text, INK, font(TITLE), anchor="rm")
    for column, text in enumerate(column_titles):
        x = places.corner(column)[0] + half
        pen.text((x, MARGIN), clip(text, TITLE, places.wide), INK, font(TITLE), anchor="ma")


def as_image(picture: Array) -> Image.Image:
    """Return the picture as an image with the same pixels.

    Raises:
        ValueError: If it is not uint8 with shape (H, W), (H, W, 1) or (H, W, 3).
    """
    picture = np.asarray(picture)
    if picture.ndim == 3 and picture.shape[-1] == 1:
        picture = picture[..., 0]
    good = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[-1] == 3)
    if picture.dtype != np.uint8 or not good:
        got = f"{picture.dtype} {picture.shape}"
        raise ValueError(f"A picture is uint8 with shape (H, W) or (H, W, 3), not {got}.")
    return Image.fromarray(np.ascontiguousarray(picture))


def columns_for(count: int, widest: int = 16) -> int:
    """Return a number of columns near the square root, and without a gap where there is one.

    Example:
        >>> columns_for(5), columns_for(10), columns_for(64), columns_for(23)
        (5, 5, 8, 5)
    """
    if count <= 6:
        return max(1, count)
    root = int(np.ceil(np.sqrt(count)))
    even = [width for width in range(root, min(2 * root, widest) + 1) if count % width == 0]
    return even[0] if even else min(root, widest)


def scale_for(columns: int, width: int, margin: int = 0) -> int:
    """Return the whole number that makes a row of pictures about 600 to 1,200 pixels wide."""
    row = columns * width
    aim = max(-(-600 // row), 900 // row if columns >= 7 else 1)
    return max(1, min(aim, (1200 - margin) // row))


def paper_for(cells: Sequence[Image.Image | None]) -> str:
    """Return white, or gray where the pictures themselves are white and would melt into it."""
    edges = [np.asarray(cell.convert("L"))[[0, -1]].mean() for cell in cells if cell]
    return "#dedede" if edges and np.mean(edges) > 200 else "#ffffff"


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the face of the plots, and not Pillow's own, which has no minus, accents or Greek."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def clip(text: str, size: int, width: float) -> str:
    """Return the text on one line, cut where it would be wider than so many pixels."""
    text = " ".join(str(text).split())
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
