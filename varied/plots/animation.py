"""Animated GIFs of a training run (latent space and samples) and of interpolations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image, ImageDraw

from varied.atomic_io import atomic_write
from varied.plots import style
from varied.plots.image_grid import compose, num_columns
from varied.plots.latent_map import Labels, draw_points, map_figure, view_limits
from varied.plots.style import Array, StrPath

MAP_SIZE = 4.8  # inches
FONT_SIZE = 9  # points
MAX_WIDTH = 640  # pixels: the maximum width of an image grid
HEADER = 24  # pixels: the height of the caption above a grid


def latent_gif(
    frames: Sequence[Array],
    path: StrPath,
    *,
    labels: Array | None = None,
    classes: Sequence[str] = (),
    captions: Sequence[str] | None = None,
    method_name: str = "",
) -> Path:
    """Write an animation of points that move in a plane with fixed axes.

    Arguments:
        frames: The positions of the examples at each stage: T arrays with shape (N, 2).
        path: The GIF file to write.
        labels: The class index or number of each point, with shape (N).
        classes: The names of the classes.
        captions: A caption for each stage, such as "epoch 3.0".
        method_name: The name of the embedding method, drawn in the upper right corner.

    Returns:
        The path.
    """
    frames = [np.nan_to_num(np.asarray(frame, float)) for frame in frames]
    figure, layers = _first_frame(frames, Labels.of(labels, classes, len(frames[0])), method_name)
    ax = figure.axes[0]
    title = ax.set_title(" ", loc="left", **style.TITLE)
    for artist in (title, *(collection for collection, _ in layers)):
        artist.set_animated(True)  # such artists are not part of the background
    canvas: Any = FigureCanvasAgg(figure)  # its methods have no type hints
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    images = []
    for frame, caption in zip(frames, captions or [""] * len(frames), strict=True):
        canvas.restore_region(background)
        for collection, index in layers:
            collection.set_offsets(frame[index])
            ax.draw_artist(collection)
        title.set_text(caption)
        ax.draw_artist(title)
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    return _write_gif(_share_palette(images, 160), path, _stage_durations(len(images)))


def _first_frame(
    frames: Sequence[Array], labels: Labels, method_name: str
) -> tuple[Figure, list[tuple[PathCollection, Array]]]:
    """Return the figure and its layers of points, which move from frame to frame."""
    names = labels.names if labels.is_categorical else ()
    longest = max((style.text_width(name, FONT_SIZE) for name in names), default=0)
    columns = max(1, min(len(names), int(72 * MAP_SIZE / (longest + 30))))
    rows = -(-len(names) // columns)
    limits = view_limits(np.concatenate(frames))
    axes = ("z0", "z1") if method_name == "latent plane" else ("", "")
    figure, ax = map_figure(limits, axes, labels, MAP_SIZE, legend_height=0.2 * rows)
    figure.set_dpi(125)
    ax.set_title(method_name, loc="right", **style.LABEL)
    if names:
        handles = []
        for index, name in enumerate(names):
            color, marker = style.class_style(index)
            handles.append(Line2D([], [], color=color, marker=marker, ls="", ms=6, label=name))
        columns = -(-len(names) // rows)
        # Matplotlib fills a legend by column; with this order, the classes are listed by row.
        by_row = [handle for column in range(columns) for handle in handles[column::columns]]
        options: dict[str, Any] = {"ncols": columns, "frameon": False, "fontsize": FONT_SIZE}
        options |= {"handletextpad": 0.1, "columnspacing": 1.0}
        figure.legend(handles=by_row, loc="outside lower center", **options)
    layers = draw_points(ax, frames[0], labels)
    ax.set_title(" ", loc="left", **style.TITLE)  # reserves space for the captions
    style.prepare_texts(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # otherwise each frame would get a new layout
    return figure, layers


def samples_gif(frames: Array, path: StrPath, *, captions: Sequence[str] | None = None) -> Path:
    """Write an animation of images that change during training, such as samples.

    Arguments:
        frames: The N images at each of T stages, uint8 with shape (T, N, H, W) or (T, N, H, W, 3).
        path: The GIF file to write.
        captions: A caption for each stage, such as "epoch 3.0".

    Returns:
        The path.
    """
    count = len(frames)
    grids = zip(_grids(frames), captions or [""] * count, strict=True)
    images = [_add_header(grid, text, (i + 1) / count) for i, (grid, text) in enumerate(grids)]
    return _write_gif(_quantize(images, frames), path, _stage_durations(count))


def _stage_durations(count: int) -> list[int]:
    return [120] * (count - 1) + [1500]


def interpolation_gif(images: Array, path: StrPath) -> Path:
    """Write an animation that loops through interpolations, back and forth.

    Arguments:
        images: The images, uint8 with shape (R, S, H, W) or (R, S, H, W, 3): R interpolations with
            S steps each.
        path: The GIF file to write.

    Returns:
        The path.
    """
    last = images.shape[1] - 1
    steps = [*range(last + 1), *range(last - 1, 0, -1)]
    frames = images.swapaxes(0, 1)[steps]
    durations = [600 if step in (0, last) else 60 for step in steps]
    return _write_gif(_quantize(_grids(frames), frames), path, durations)


def _grids(frames: Array) -> list[Image.Image]:
    """Arrange the images of each frame in a grid."""
    columns = num_columns(frames.shape[1])
    scale = max(1, min(MAX_WIDTH // (columns * frames.shape[3]), 12))
    return [compose(images, columns=columns, scale=scale) for images in frames]


def _add_header(image: Image.Image, caption: str, progress: float) -> Image.Image:
    """Return the image with a thin progress bar and a caption above it."""
    canvas = Image.new("RGB", (image.width, image.height + HEADER), image.getpixel((0, 0)))
    canvas.paste(image, (0, HEADER))
    draw = ImageDraw.Draw(canvas)
    draw.text((8, 15), caption, style.INK, style.font(13), anchor="lm")
    draw.rectangle((0, 0, round(progress * image.width), 2), fill=style.MUTED)
    return canvas


def _quantize(images: list[Image.Image], frames: Array) -> list[Image.Image]:
    """Reduce colors to a palette, or gray images to 64 levels; smaller files look the same."""
    if frames.ndim == 4 or frames.shape[-1] == 1:
        grays = [round(level / 255 * 63) * 255 // 63 for level in range(256)]
        return [image.convert("L").point(grays) for image in images]
    return _share_palette(images, 255)


def _share_palette(images: list[Image.Image], colors: int) -> list[Image.Image]:
    """Convert all frames to a common palette; with separate palettes, colors would flicker."""
    pixels = np.concatenate([np.asarray(image).reshape(-1, 3) for image in images])
    sample = pixels[:: max(1, len(pixels) // 250_000)]
    # Colors as integers are sorted much faster than rows, in the same order.
    codes = np.unique(sample.astype(np.int32) @ (1 << 16, 1 << 8, 1))
    distinct = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], 1).astype(np.uint8)
    # Each distinct color is added twice, so that the white background does not outweigh the rest.
    weighted = np.concatenate([distinct, distinct, sample])[None]
    palette = Image.fromarray(weighted).quantize(colors, Image.Quantize.MEDIANCUT, kmeans=1)
    entries = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    entries[(entries > 244).all(axis=1)] = 255  # averages of white and light grays would look dirty
    palette.putpalette(entries.tobytes())
    return [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]


def _write_gif(images: list[Image.Image], path: StrPath, durations: list[int]) -> Path:
    """Write a looping animation; the durations are in milliseconds."""
    first, *rest = images

    def write(file: BinaryIO) -> None:
        options: dict[str, Any] = {"duration": durations, "loop": 0, "optimize": False}
        first.save(file, "GIF", save_all=True, append_images=rest, **options)

    return atomic_write(Path(path), write)
