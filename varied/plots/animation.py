"""Films of a training: how the latent space unfolds, and how the samples come clear."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image, ImageDraw

from varied import atomic_io
from varied.plots.contact_sheet import clip, columns_for, font, sheet
from varied.plots.embedding import aligned_embeddings
from varied.plots.latent_map import (
    Layer,
    Legend,
    bounds,
    color_key,
    draw_layer,
    layers,
    legend_of,
    style_map,
)
from varied.plots.style import INK, MUTED, Array, StrPath, class_style, plain

__all__ = ["aligned_embeddings", "latent_gif", "samples_gif", "walk_gif"]

Frames: TypeAlias = list[Array]

LETTER = 14  # pixels: the size of the names of classes


def latent_gif(
    frames: Sequence[Array],
    path: StrPath,
    *,
    labels: Array | None = None,
    classes: Sequence[str] = (),
    captions: Sequence[str] | None = None,
    method_name: str = "",
    milliseconds: int = 120,
    hold_last: int = 1500,
) -> Path:
    """Write a film of points that move in the plane, on axes that stand still.

    Arguments:
        frames: Where each datum lies at each stage, T of shape (N, 2).
        path: The GIF to write.
        labels: Class indices or numbers, shape (N,).
        classes: The names of the classes.
        captions: A caption for each stage, such as "epoch 3.0".
        method_name: How the plane was made; written small in the corner.
        milliseconds: How long each stage is shown.
        hold_last: How long the last is shown, in milliseconds.

    Returns:
        The path.
    """
    frames = [np.nan_to_num(np.asarray(frame, float)) for frame in frames]
    legend = legend_of(labels, classes, len(frames[0]))
    figure, clouds = _stage(frames, legend, method_name, labeled=labels is not None)
    images = []
    for index, frame in enumerate(frames):
        for cloud, layer in clouds:
            cloud.set_offsets(frame[layer.index])
        figure.axes[0].set_title(plain(_caption(captions, index)), loc="left", fontsize=11)
        images.append(_photograph(figure))
    return _film(_one_palette(images, 160), path, _times(images, milliseconds, hold_last))


def _caption(captions: Sequence[str] | None, index: int) -> str:
    return captions[index] if captions is not None and index < len(captions) else ""


def _stage(
    frames: Frames, legend: Legend, method_name: str, *, labeled: bool
) -> tuple[Figure, list[tuple[PathCollection, Layer]]]:
    named = labeled and not legend.numbers
    names = [clip(name, LETTER, 150) for name in legend.names]
    cell = 40 + max((font(LETTER).getlength(name) for name in names), default=0)
    across = min(10, int(600 / cell))
    rows = -(-len(legend.names) // across) if named else 0
    edges = bounds(np.concatenate(frames))
    shape = (edges[3] - edges[2]) / (edges[1] - edges[0])
    beside = (1.9 if legend.names else 0.7) if labeled and not named else 0.0
    width, height = 5.2 / max(1.0, shape) + beside, 5.2 * min(1.0, shape) + 0.3 + 0.22 * rows
    width = max(width, 5.2) if named else width  # room for the names
    figure = Figure(figsize=(width, height), dpi=120, facecolor="white")
    ax = figure.subplots()
    plane = method_name == "latent plane"
    style_map(ax, " ", ("z0", "z1") if plane else ("", ""))
    ax.set(xlim=edges[:2], ylim=edges[2:])
    ax.set_aspect("equal")
    ax.set_title(plain(method_name), loc="right", fontsize=9, color=MUTED)
    clouds = [(draw_layer(ax, frames[0], layer), layer) for layer in layers(legend)]
    if named:
        _strip(figure, names, across)
    elif labeled:
        color_key(figure, ax, legend)
    figure.tight_layout(rect=(0, 0.21 * rows / height, 1, 1))
    return figure, clouds


def _strip(figure: Figure, names: Sequence[str], across: int) -> None:
    marks = []
    for code, name in enumerate(names):
        color, marker = class_style(code)
        marks.append(
            Line2D([], [], color=color, marker=marker, linestyle="", markersize=6, label=name)
        )
    figure.legend(
        handles=marks,
        loc="lower center",
        ncols=max(1, min(across, len(marks))),
        frameon=False,
        fontsize=LETTER * 72 / 120,
        handletextpad=0.1,
        columnspacing=1.0,
    )


def _photograph(figure: Figure) -> Image.Image:
    canvas: Any = FigureCanvasAgg(figure)  # its methods carry no types
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def samples_gif(
    frames: Array,
    path: StrPath,
    *,
    captions: Sequence[str] | None = None,
    columns: int = 8,
    milliseconds: int = 120,
    hold_last: int = 1500,
) -> Path:
    """Write a film of the same latent draws, decoded at each stage of training.

    Arguments:
        frames: uint8, shape (T, N, H, W) or (T, N, H, W, 3).
        path: The GIF to write.
        captions: A caption for each stage, such as "epoch 3.0".
        columns: How many pictures stand side by side.
        milliseconds: How long each stage is shown.
        hold_last: How long the last is shown, in milliseconds.

    Returns:
        The path.
    """
    columns = min(columns, columns_for(frames.shape[1]) if frames.shape[1] < columns else columns)
    scale = max(1, 640 // (columns * frames.shape[3]))
    sheets = [sheet(stage, columns=columns, scale=scale) for stage in frames]
    images = [
        _headed(image, _caption(captions, index), (index + 1) / len(sheets))
        for index, image in enumerate(sheets)
    ]
    gray = frames.ndim == 4 or frames.shape[-1] == 1
    film = [_few_grays(image) for image in images] if gray else _one_palette(images, 255)
    return _film(film, path, _times(film, milliseconds, hold_last))


def walk_gif(paths: Array, path: StrPath, *, milliseconds: int = 60, rest: int = 600) -> Path:
    """Write a film of pictures that become others and go back, without an end.

    Arguments:
        paths: uint8, shape (R, S, H, W) or (R, S, H, W, 3): a picture for each path.
        path: The GIF to write.
        milliseconds: How long each step is shown.
        rest: How long both ends are shown, in milliseconds.

    Returns:
        The path.
    """
    steps = [*range(paths.shape[1]), *range(paths.shape[1] - 2, 0, -1)]
    columns = columns_for(len(paths))
    scale = max(1, min(640 // (columns * paths.shape[3]), 8))
    sheets = [sheet(paths[:, step], columns=columns, scale=scale) for step in steps]
    film = [_few_grays(image) for image in sheets] if paths.ndim == 4 else _one_palette(sheets, 255)
    ends = {0, paths.shape[1] - 1}
    return _film(film, path, [rest if step in ends else milliseconds for step in steps])


def _few_grays(image: Image.Image) -> Image.Image:
    """Return the image in 64 grays: no eye sees the difference, and the file is much smaller."""
    return image.convert("L").point([round(level / 255 * 63) * 255 // 63 for level in range(256)])


def _headed(image: Image.Image, caption: str, done: float) -> Image.Image:
    """Return the image under a caption and a thin bar that says how far training has come."""
    whole = Image.new("RGB", (image.width, image.height + 24), image.getpixel((0, 0)))
    whole.paste(image, (0, 24))
    pen = ImageDraw.Draw(whole)
    pen.text((8, 15), caption, INK, font(13), anchor="lm")
    pen.rectangle((0, 0, round(done * image.width), 2), fill=MUTED)
    return whole


def _one_palette(images: list[Image.Image], colors: int) -> list[Image.Image]:
    """Return the images in one palette, since a palette for each would make the colors flicker."""
    pixels = np.concatenate([np.asarray(image).reshape(-1, 3) for image in images])
    some = pixels[:: max(1, len(pixels) // 250_000)]
    kinds = np.unique(some, axis=0)
    # White paper outnumbers everything: each color counts once more beside its number.
    strip = np.concatenate([kinds, kinds, some])[None]
    palette = Image.fromarray(strip).quantize(colors, Image.Quantize.MEDIANCUT, kmeans=1)
    _keep_white(palette)
    return [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]


def _keep_white(palette: Image.Image) -> None:
    """Make the entries near white white: a mean of white and grays is a dirty paper."""
    entries = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    entries[(entries > 244).all(axis=1)] = 255
    palette.putpalette(entries.tobytes())


def _times(images: list[Image.Image], milliseconds: int, hold_last: int) -> list[int]:
    return [milliseconds] * (len(images) - 1) + [hold_last]


def _film(images: list[Image.Image], path: StrPath, times: list[int]) -> Path:
    first, *rest = images

    def write(file: BinaryIO) -> None:
        first.save(
            file, "GIF", save_all=True, append_images=rest, duration=times, loop=0, optimize=False
        )

    return atomic_io.atomic_write(Path(path), write)
