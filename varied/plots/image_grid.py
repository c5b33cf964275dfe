"""Pictures of pictures: exact pixels on a plain sheet, enlarged by whole numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from varied.atomic_io import atomic_write
from varied.plots.contact_sheet import as_image, scale_for, sheet
from varied.plots.style import Array, StrPath, save, sheet_of, style_axes

__all__ = ["grid", "interpolations", "manifold", "pairs", "side_by_side", "traversals"]


def grid(
    pictures: Array,
    path: StrPath,
    *,
    columns: int | None = None,
    captions: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
    column_titles: Sequence[str] | None = None,
    scale: int | None = None,
) -> Path:
    """Lay pictures out in rows, their pixels exact.

    Arguments:
        pictures: uint8, shape (N, H, W), (N, H, W, 1) or (N, H, W, 3).
        path: The picture to write.
        columns: How many stand side by side; about a square where it is not given.
        captions: A short text under each picture.
        row_titles: A title at the left of each row.
        column_titles: A title over each column.
        scale: Screen pixels for a picture's pixel; chosen so that the whole is 600 to 1,200 wide.

    Returns:
        The path.

    Raises:
        ValueError: If the pictures are not uint8 or not of those shapes.
    """
    whole = sheet(
        pictures,
        columns=columns,
        captions=captions,
        row_titles=row_titles,
        column_titles=column_titles,
        scale=scale,
    )
    return _write(whole, path)


def pairs(
    originals: Array,
    reconstructions: Array,
    path: StrPath,
    *,
    captions: Sequence[str] | None = None,
    titles: tuple[str, str] = ("original", "reconstruction"),
) -> Path:
    """Lay out originals with their reconstructions beneath them.

    Arguments:
        originals: uint8, shape (N, H, W) or (N, H, W, 3).
        reconstructions: The same shape.
        path: The picture to write.
        captions: A short text under each pair.
        titles: What the two rows are.

    Returns:
        The path.
    """
    if len(originals) != len(reconstructions):
        raise ValueError(f"{len(originals)} originals, {len(reconstructions)} reconstructions")
    columns = -(-len(originals) // -(-len(originals) // 10))
    cells: list[Array | None] = []
    texts: list[str] = []
    for start in range(0, len(originals), columns):
        blank = [None] * (columns - len(originals[start : start + columns]))
        for part in (originals, reconstructions):
            cells += [*part[start : start + columns], *blank]
        if captions is not None:
            under = list(captions[start : start + columns])
            texts += [""] * columns + under + [""] * len(blank)
    every = [*titles] * (len(cells) // (2 * columns))
    return _write(
        sheet(cells, columns=columns, captions=texts or None, row_titles=every, band=2), path
    )


def traversals(
    pictures: Array,
    rates: Array,
    values: Array,
    path: StrPath,
    *,
    dims: Sequence[int] | None = None,
) -> Path:
    """Lay out what each latent dimension does: a row for each dimension, a column for each value.

    Arguments:
        pictures: uint8, shape (D, S, H, W) or (D, S, H, W, 3), in the caller's order (KL, falling).
        rates: KL of each dimension, in nats, shape (D,); NaN where there is none.
        values: What the dimension was set to, shape (S,).
        path: The picture to write.
        dims: Which dimension each row is; 0 to D-1 where it is not given.

    Returns:
        The path.
    """
    names = range(len(pictures)) if dims is None else dims
    costs = ("" if np.isnan(rate) else f" · {_signed(rate)} nats" for rate in rates)
    titles = [f"z{name}{cost}" for name, cost in zip(names, costs, strict=True)]
    heads = [_signed(value) for value in values]
    cells = [picture for row in pictures for picture in row]
    whole = sheet(cells, columns=len(heads), row_titles=titles, column_titles=heads)
    return _write(whole, path)


def interpolations(pictures: Array, path: StrPath) -> Path:
    """Lay out paths from one picture to another, a row for each.

    Arguments:
        pictures: uint8, shape (R, S, H, W) or (R, S, H, W, 3); the ends are first and last.
        path: The picture to write.

    Returns:
        The path.
    """
    steps = pictures.shape[1]
    heads = ["from", *[""] * (steps - 2), "to"][:steps]
    cells = [picture for row in pictures for picture in row]
    return _write(sheet(cells, columns=steps, column_titles=heads), path)


def side_by_side(rows: Sequence[tuple[str, Array]], path: StrPath) -> Path:
    """Lay out the pictures of several runs, a row for each, in the same order.

    Arguments:
        rows: The title of each run and its pictures, uint8, (N, H, W) or (N, H, W, 3); sizes and
            numbers may differ.
        path: The picture to write.

    Returns:
        The path.
    """
    columns = max(len(pictures) for _, pictures in rows)
    cells: list[Array | None] = []
    for _, pictures in rows:
        cells += [*pictures, *[None] * (columns - len(pictures))]
    return _write(sheet(cells, columns=columns, row_titles=[title for title, _ in rows]), path)


def manifold(pictures: Array, G: int, path: StrPath, limits: Sequence[float]) -> Path:
    """Lay out the pictures decoded on a G x G lattice of a plane of latents, as a map with axes.

    Arguments:
        pictures: uint8, shape (G * G, H, W) or (G * G, H, W, 3); number i * G + j is decoded at
            z0 = value j and z1 = value i, and z1 rises upwards on the map.
        G: Pictures along each side.
        path: The picture to write.
        limits: The first and the last value where they are evenly spaced, or all G values (the
            quantiles of the prior, say).

    Returns:
        The path.
    """
    values = np.linspace(limits[0], limits[1], G) if len(limits) == 2 else np.asarray(limits)
    tiles = np.stack([np.asarray(as_image(picture).convert("RGB")) for picture in pictures])
    height, width = tiles.shape[1:3]
    rows = tiles.reshape(G, G, height, width, 3)[::-1].transpose(0, 2, 1, 3, 4)
    scale = scale_for(G, width, 80)
    across, down = G * width * scale, G * height * scale
    left, bottom, rest = 92, 60, 14
    figure = sheet_of((across + left + rest) / 150, (down + bottom + rest) / 150)
    full = (across + left + rest, down + bottom + rest)
    ax = figure.add_axes((left / full[0], bottom / full[1], across / full[0], down / full[1]))
    style_axes(ax, xlabel="z0", ylabel="z1")
    ax.imshow(rows.reshape(G * height, G * width, 3), interpolation="nearest", extent=(0, G, 0, G))
    ax.set_aspect("auto")
    ax.grid(visible=False)
    chosen = np.arange(0, G, -(-G // 9))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(chosen + 0.5, [_signed(values[index]) for index in chosen], fontsize=7)
        axis.label.set_fontsize(8)
        axis.labelpad = 2
    return save(figure, path)


def _signed(value: float) -> str:
    return f"{value:.1f}".replace("-", "−").replace("−0.0", "0.0")


def _write(image: Image.Image, path: StrPath) -> Path:
    return atomic_write(Path(path), lambda file: image.save(file, "PNG"))
