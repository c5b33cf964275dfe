"""Pictures of what was changed: strips of strengths, other people's style, squares of four."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from varied.atomic_io import atomic_write
from varied.plots.contact_sheet import sheet
from varied.plots.style import Array, StrPath

__all__ = ["crossed", "edits", "square"]


def edits(
    originals: Array, pictures: Array, strengths: Sequence[float], outside: Array, path: StrPath
) -> Path:
    """Lay out data as an attribute is taken away and added: a row for each datum.

    Arguments:
        originals: uint8, shape (R, H, W) or (R, H, W, 3).
        pictures: uint8, shape (R, S, H, W) or (R, S, H, W, 3).
        strengths: How far each column goes, shape (S,).
        outside: Which of them have left the data, bool with shape (R, S); they are marked.
        path: The picture to write.

    Returns:
        The path.
    """
    heads = ["original", *(signed(strength) for strength in strengths)]
    cells = [
        picture for first, row in zip(originals, pictures, strict=True) for picture in (first, *row)
    ]
    notes = ["outside" if out else "" for row in outside for out in (False, *row)]
    captions = notes if outside.any() else None
    return _laid(cells, path, columns=len(heads), captions=captions, column_titles=heads)


def signed(value: float) -> str:
    """Return a strength as it is read: with a true minus, and a plus.

    Example:
        >>> signed(-1.0), signed(0.0), signed(0.25)
        ('−1', '0', '+0.25')
    """
    return f"{value:+.3g}".replace("-", "−") if value else "0"


def crossed(
    styles: Array,
    pictures: Array,
    path: StrPath,
    *,
    contents: Array | None = None,
    titles: Sequence[str] | None = None,
    first: str = "style",
) -> Path:
    """Lay out each style, and beside it what it makes of each content.

    Arguments:
        styles: uint8, shape (R, H, W) or (R, H, W, 3); the first column.
        pictures: uint8, shape (R, C, H, W) or (R, C, H, W, 3).
        path: The picture to write.
        contents: The data above the columns, shape (C, H, W) or (C, H, W, 3), if they are data.
        titles: The names of the contents, C of them, if they have names.
        first: The name of the first column, beside these.

    Returns:
        The path.
    """
    columns = pictures.shape[1] + 1
    cells: list[Array | None] = [] if contents is None else [None, *contents]
    for style, row in zip(styles, pictures, strict=True):
        cells += [style, *row]
    heads = None if titles is None else [first, *titles]
    return _laid(cells, path, columns=columns, column_titles=heads)


def square(pictures: Array, path: StrPath) -> Path:
    """Lay out what lies between the four pictures in the corners.

    Arguments:
        pictures: uint8, shape (S, S, H, W) or (S, S, H, W, 3).
        path: The picture to write.

    Returns:
        The path.
    """
    cells = [picture for row in pictures for picture in row]
    return _laid(cells, path, columns=pictures.shape[1])


def _laid(cells: Sequence[Array | None], path: StrPath, **how: Any) -> Path:
    image = sheet(cells, **how)
    return atomic_write(Path(path), lambda file: image.save(file, "PNG"))
