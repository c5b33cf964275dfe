"""Labeled grids of images with exact pixels; images are enlarged by integer factors only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from varied.atomic_io import atomic_write
from varied.plots import style
from varied.plots.style import Array, StrPath

T = TypeVar("T")

GUTTER, MARGIN, GAP = 3, 8, 10  # pixels: between images, around the grid, between groups of rows
TITLE_SIZE, CAPTION_SIZE, MAX_TITLE_WIDTH = 13, 12, 190  # pixels


def compose(
    images: Sequence[Array | None] | Array,
    *,
    columns: int | None = None,
    captions: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
    column_titles: Sequence[str] | None = None,
    scale: int | None = None,
    rows_per_group: int = 1,
) -> Image.Image:
    """Arrange images in a grid, and return it as an RGB image.

    Arguments:
        images: See `grid`.
        columns: See `grid`.
        captions: See `grid`.
        row_titles: See `grid`.
        column_titles: See `grid`.
        scale: The factor by which images are enlarged; None chooses one that makes the grid
            about 600 to 1,200 pixels wide.
        rows_per_group: See `grid`.
    """
    cells = [None if image is None else to_pillow(image) for image in images]
    columns = columns or num_columns(len(cells))
    titles = [style.truncate(title, TITLE_SIZE, MAX_TITLE_WIDTH) for title in row_titles or ()]
    margins = (round(style.text_width(title, TITLE_SIZE)) + 10 for title in titles)
    left = MARGIN + max(margins, default=0)
    width, height = (max((cell.size[axis] for cell in cells if cell), default=1) for axis in (0, 1))
    scale = scale or choose_scale(columns, width, left)
    width, height = scale * width, scale * height

    footer = 0 if captions is None else 18
    gap = footer + (GAP if rows_per_group > 1 else 0)
    top = MARGIN if column_titles is None else MARGIN + 20
    xs = [left + i * (width + GUTTER) for i in range(columns)]
    ys = [
        top + i * (height + GUTTER) + i // rows_per_group * gap
        for i in range(max(1, -(-len(cells) // columns)))
    ]
    size = (xs[-1] + width + MARGIN, ys[-1] + height + footer + MARGIN)
    canvas = Image.new("RGB", size, _background(cells))
    corners = [(x, y) for y in ys for x in xs]
    for cell, (x, y) in zip(cells, corners, strict=False):
        if cell:
            factor = min(width // cell.width, height // cell.height)
            tile = ImageOps.scale(cell, factor, Image.Resampling.NEAREST)
            canvas.paste(tile, (x + (width - tile.width) // 2, y + (height - tile.height) // 2))

    draw = ImageDraw.Draw(canvas)
    small, large = style.font(CAPTION_SIZE), style.font(TITLE_SIZE)
    for (x, y), caption in zip(corners, captions or (), strict=False):
        text = style.truncate(caption, CAPTION_SIZE, width)
        draw.text((x + width // 2, y + height + 2), text, style.MUTED, small, anchor="ma")
    for y, title in zip(ys, titles, strict=False):
        draw.text((left - 10, y + height // 2), title, style.INK, large, anchor="rm")
    for x, title in zip(xs, column_titles or (), strict=False):
        text = style.truncate(title, TITLE_SIZE, width)
        draw.text((x + width // 2, MARGIN), text, style.INK, large, anchor="ma")
    return canvas


def to_pillow(image: Array) -> Image.Image:
    """Convert an array to a Pillow image with the same pixels.

    Raises:
        ValueError: If the array is not uint8 with shape (H, W), (H, W, 1) or (H, W, 3).
    """
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.dtype != np.uint8 or not (image.ndim == 2 or image.shape[2:] == (3,)):
        kind = f"{image.dtype} with shape {image.shape}"
        raise ValueError(f"An image must be uint8 with shape (H, W) or (H, W, 3), got {kind}.")
    return Image.fromarray(np.ascontiguousarray(image))


def num_columns(count: int, limit: int = 16) -> int:
    """Return a number of columns near the square root of ``count``, if possible with full rows.

    Example:
        >>> num_columns(5), num_columns(10), num_columns(64), num_columns(23)
        (5, 5, 8, 5)
    """
    if count <= 6:
        return max(1, count)
    root = int(np.ceil(np.sqrt(count)))
    divisors = (n for n in range(root, min(2 * root, limit) + 1) if count % n == 0)
    return next(divisors, min(root, limit))


def choose_scale(columns: int, width: int, margin: int = 0) -> int:
    """Return the integer factor that scales a row of images to about 600 to 1,200 pixels."""
    row = columns * width
    target = max(-(-600 // row), 900 // row if columns >= 7 else 1)
    return max(1, min(target, (1200 - margin) // row))


def _background(cells: Sequence[Image.Image | None]) -> str:
    """Return a white background, or a gray one if the images have white upper and lower edges."""
    edges = [np.asarray(cell.convert("L"))[[0, -1]].mean() for cell in cells if cell]
    return "#dedede" if edges and np.mean(edges) > 200 else "#ffffff"


def grid(
    images: Sequence[Array | None] | Array,
    path: StrPath,
    *,
    columns: int | None = None,
    captions: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
    column_titles: Sequence[str] | None = None,
    rows_per_group: int = 1,
) -> Path:
    """Draw images in a grid, enlarged by an integer factor without interpolation.

    Arguments:
        images: The images, uint8 with shape (N, H, W), (N, H, W, 1) or (N, H, W, 3); or a sequence
            of images with different sizes, in which None leaves a cell empty.
        path: The PNG file to write.
        columns: The number of columns; by default about the square root of N.
        captions: A short text below each image.
        row_titles: A title to the left of each row.
        column_titles: A title above each column.
        rows_per_group: The number of rows that belong together; captions and a gap are drawn below
            each group.

    Returns:
        The path.

    Raises:
        ValueError: If the images are not uint8 or do not have one of these shapes.
    """
    canvas = compose(
        images,
        columns=columns,
        captions=captions,
        row_titles=row_titles,
        column_titles=column_titles,
        rows_per_group=rows_per_group,
    )
    return atomic_write(Path(path), lambda file: canvas.save(file, "PNG"))


def pairs(
    originals: Array,
    reconstructions: Array,
    path: StrPath,
    *,
    captions: Sequence[str] | None = None,
    titles: tuple[str, str] = ("original", "reconstruction"),
) -> Path:
    """Draw originals with their reconstructions below them.

    Arguments:
        originals: The originals, uint8 with shape (N, H, W) or (N, H, W, 3).
        reconstructions: The reconstructions, uint8 with the same shape.
        path: The PNG file to write.
        captions: A short text below each pair.
        titles: The titles of the two rows.

    Returns:
        The path.

    Raises:
        ValueError: If the numbers of images differ.
    """
    count = len(originals)
    if count != len(reconstructions):
        raise ValueError(
            f"The number of originals ({count}) must equal the number of reconstructions "
            f"({len(reconstructions)})."
        )
    columns = -(-count // -(-count // 10))
    parts = [slice(start, start + columns) for start in range(0, count, columns)]
    rows = [images[part] for part in parts for images in (originals, reconstructions)]
    cells: list[Array | None] = _pad(rows, columns, None)
    texts = None
    if captions is not None:
        texts = _pad([row for part in parts for row in ([], captions[part])], columns, "")
    row_titles = [*titles] * len(parts)
    return grid(
        cells, path, columns=columns, captions=texts, row_titles=row_titles, rows_per_group=2
    )


def _pad(rows: Iterable[Iterable[T]], columns: int, value: T) -> list[T]:
    """Pad each row with a value to a given number of columns, and concatenate the rows."""
    return [item for row in rows for item in islice(chain(row, repeat(value)), columns)]


def traversals(
    images: Array, kl: Array, values: Array, path: StrPath, *, units: Sequence[int] | None = None
) -> Path:
    """Draw latent traversals, with a row for each latent unit and a column for each value.

    Arguments:
        images: The images, uint8 with shape (D, S, H, W) or (D, S, H, W, 3).
        kl: The KL of each unit in nats, with shape (D); NaN if unknown.
        values: The values that each unit takes, with shape (S).
        path: The PNG file to write.
        units: The index of the unit in each row; 0 to D - 1 by default.

    Returns:
        The path.
    """
    names = [f"z{unit}" for unit in (range(len(images)) if units is None else units)]
    titles = [
        name if np.isnan(nats) else f"{name} · {_decimal(nats)} nats"
        for name, nats in zip(names, kl, strict=True)
    ]
    heads = [_decimal(value) for value in values]
    cells = _flatten(images)
    return grid(cells, path, columns=len(heads), row_titles=titles, column_titles=heads)


def _flatten(rows: Array) -> Array:
    return rows.reshape(-1, *rows.shape[2:])


def interpolations(images: Array, path: StrPath) -> Path:
    """Draw interpolations between pairs of images, one per row.

    Arguments:
        images: The images, uint8 with shape (R, S, H, W) or (R, S, H, W, 3), from one end of each
            interpolation to the other.
        path: The PNG file to write.

    Returns:
        The path.
    """
    steps = images.shape[1]
    heads = ["from", *[""] * (steps - 2), "to"][:steps]
    return grid(_flatten(images), path, columns=steps, column_titles=heads)


def side_by_side(rows: Sequence[tuple[str, Array]], path: StrPath) -> Path:
    """Draw the images of several runs, one run per row.

    Arguments:
        rows: The title of each run, and its uint8 images with shape (N, H, W) or (N, H, W, 3);
            their sizes and numbers may differ.
        path: The PNG file to write.

    Returns:
        The path.
    """
    titles = [title for title, _ in rows]
    columns = max(len(images) for _, images in rows)
    cells: list[Array | None] = _pad([images for _, images in rows], columns, None)
    return grid(cells, path, columns=columns, row_titles=titles)


def variants(
    originals: Array,
    images: Array,
    path: StrPath,
    *,
    first: str = "original",
    titles: Sequence[str] | None = None,
    captions: Sequence[Sequence[str]] | None = None,
    contents: Array | None = None,
) -> Path:
    """Draw each original in the first column, and its variants in the same row.

    Arguments:
        originals: The originals, uint8 with shape (R, H, W) or (R, H, W, 3).
        images: The variants, uint8 with shape (R, S, H, W) or (R, S, H, W, 3).
        path: The PNG file to write.
        first: The title of the first column, which is drawn only if ``titles`` is set.
        titles: A title for each column of variants.
        captions: A short text below each variant: R sequences of S strings.
        contents: The images above the columns of variants, with shape (S, H, W) or (S, H, W, 3).

    Returns:
        The path.
    """
    cells: list[Array | None] = [] if contents is None else [None, *contents]
    for original, row in zip(originals, images, strict=True):
        cells += [original, *row]
    heads = None if titles is None else [first, *titles]
    texts = None if captions is None else [text for row in captions for text in ("", *row)]
    return grid(cells, path, columns=images.shape[1] + 1, captions=texts, column_titles=heads)


def manifold(images: Array, values: Sequence[float], path: StrPath) -> Path:
    """Draw images that are decoded from a square grid in a latent plane, as a map with axes.

    Arguments:
        images: The images, uint8 with shape (G², H, W) or (G², H, W, 3); image ``i * G + j`` is
            decoded from z0 = ``values[j]`` and z1 = ``values[i]``.
        values: The G values on both axes, in increasing order.
        path: The file to write.

    Returns:
        The path.
    """
    side = len(values)
    tiles = np.stack([np.asarray(to_pillow(image).convert("RGB")) for image in images])
    height, width = tiles.shape[1:3]
    rows = tiles.reshape(side, side, height, width, 3)[::-1].transpose(0, 2, 1, 3, 4)
    # The figure size is chosen so that each image pixel covers a whole number of screen pixels.
    scale = choose_scale(side, width, 80)
    left, bottom, margin = 92, 60, 14
    across, up = side * width * scale, side * height * scale
    total = np.array([left + across + margin, bottom + up + margin])
    figure = style.new_figure(*(total / 150))
    figure.set_layout_engine("none")
    box = np.array([[left, bottom], [across, up]]) / total
    ax = figure.add_axes(tuple(box.ravel()))
    style.prepare_axes(ax, xlabel="z0", ylabel="z1")
    image = rows.reshape(side * height, side * width, 3)
    ax.imshow(image, interpolation="nearest", extent=(0, side, 0, side), aspect="auto")
    ax.grid(visible=False)
    indices = range(0, side, -(-side // 9))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(
            [i + 0.5 for i in indices], [_decimal(values[i]) for i in indices], fontsize=8
        )
    return style.save(figure, path, tight=False)


def _decimal(value: float) -> str:
    return style.format_number(round(value, 1) + 0.0, ".1f")  # adding 0 turns -0 into 0
