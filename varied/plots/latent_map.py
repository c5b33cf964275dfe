"""Points in the plane: the latent space as a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure

from varied.plots.style import (
    INK,
    MUTED,
    Array,
    StrPath,
    class_style,
    plain,
    save,
    sheet_of,
    style_axes,
)

__all__ = ["Layer", "Legend", "bounds", "color_key", "latent_map", "layers", "legend_of"]

MOST_CLASSES = 20  # colors and markers can tell no more apart


@dataclass(frozen=True)
class Layer:
    """Points drawn with one marker: which they are, and the color of each."""

    index: Array
    colors: Array
    marker: str


@dataclass(frozen=True)
class Legend:
    """What the labels mean: the names of a few classes, or a range of numbers or many classes."""

    codes: Array
    names: tuple[str, ...] = ()
    span: tuple[float, float] = (0.0, 1.0)
    numbers: bool = False


def legend_of(labels: Array | None, classes: Sequence[str], count: int) -> Legend:
    """Read labels as classes where there are at most 20 of them, else as numbers.

    Arguments:
        labels: Class indices or numbers, shape (N,); negative or NaN class indices have no label.
        classes: The names of the classes.
        count: N, for the case without labels.
    """
    if labels is None:
        return Legend(np.full(count, np.nan))
    values = np.asarray(labels, float)
    whole = np.asarray(labels).dtype.kind in "iub"
    if not classes and whole:
        kinds = np.unique(values)
        if len(kinds) <= MOST_CLASSES:
            names = tuple(f"{kind:g}" for kind in kinds)
            return Legend(np.searchsorted(kinds, values).astype(float), names)
    if classes:
        values = np.where((values >= 0) & (values < len(classes)), values, np.nan)
    fine = values[np.isfinite(values)]
    span = (float(fine.min()), float(fine.max())) if len(fine) else (0.0, 1.0)
    many = len(classes) > MOST_CLASSES or not classes
    return Legend(values, tuple(map(plain, classes)), span, numbers=many)


def layers(legend: Legend) -> list[Layer]:
    """Return the points by marker; those without a label are gray and lie undermost."""
    known = np.isfinite(legend.codes)
    found = [Layer(np.flatnonzero(~known), _paint(["#8f8f8f"] * int((~known).sum())), "o")]
    if legend.numbers:
        tint = matplotlib.colormaps["viridis"](Normalize(*legend.span)(legend.codes[known]))
        found.append(Layer(np.flatnonzero(known), np.asarray(tint), "o"))
    else:
        for marker in ("o", "^"):
            index = [
                i for i in np.flatnonzero(known) if class_style(int(legend.codes[i]))[1] == marker
            ]
            paint = _paint([class_style(int(legend.codes[i]))[0] for i in index])
            found.append(Layer(np.array(index, int), paint, marker))
    return [layer for layer in found if len(layer.index)]


def _paint(colors: Sequence[str]) -> Array:
    return np.array([to_rgba(color) for color in colors]).reshape(-1, 4)


def bounds(points: Array) -> tuple[float, float, float, float]:
    """Return left, right, low, high that hold the points, but for the few that lie far away."""
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return -1.0, 1.0, -1.0, 1.0
    edges: list[float] = []
    for values in points.T:
        low, high = np.quantile(values, [0.002, 0.998])
        room = high - low or 1.0
        near = values[(values >= low - 0.25 * room) & (values <= high + 0.25 * room)]
        low, high = near.min(), near.max()
        pad = 0.05 * (high - low) or 1.0
        edges += [float(low - pad), float(high + pad)]
    return _roomy(*edges)


def _roomy(left: float, right: float, low: float, high: float) -> tuple[float, float, float, float]:
    """Return the box, widened until its shorter side is at least two thirds of the longer."""
    least = max(right - left, high - low) * 2 / 3
    across, up = max(0.0, least - (right - left)) / 2, max(0.0, least - (high - low)) / 2
    return left - across, right + across, low - up, high + up


def latent_map(
    points: Array,
    path: StrPath,
    *,
    labels: Array | None = None,
    classes: Sequence[str] = (),
    axes: tuple[str, str] = ("", ""),
    title: str = "",
) -> Path:
    """Draw data as points of the latent plane, colored by class or number.

    Arguments:
        points: Where each datum lies, shape (N, 2).
        path: The picture to write.
        labels: Class indices or numbers, shape (N,).
        classes: The names of the classes.
        axes: What the two directions are; without names there are no ticks, since the directions of
            a t-SNE mean nothing.
        title: The title.

    Returns:
        The path.
    """
    points = np.asarray(points, float)
    fine = np.isfinite(points).all(axis=1)
    points, labels = points[fine], None if labels is None else np.asarray(labels)[fine]
    legend = legend_of(labels, classes, len(points))
    edges = bounds(points)
    shape = (edges[3] - edges[2]) / (edges[1] - edges[0])
    beside = 0.9 if legend.numbers and labels is not None else 0.0
    figure = sheet_of(6.8 / max(1.0, shape) + beside, 6.8 * min(1.0, shape) + 0.3)
    ax = figure.subplots()
    style_map(ax, plain(title), axes)
    for layer in layers(legend):
        draw_layer(ax, points, layer)
    ax.set(xlim=edges[:2], ylim=edges[2:])
    ax.set_aspect("equal")
    if legend.numbers and labels is not None:
        color_key(figure, ax, legend)
    figure.tight_layout()
    _name_classes(figure, ax, points, legend)
    _count_hidden(figure, ax, points)
    return save(figure, path, tight=True)


def style_map(ax: Axes, title: str, axes: tuple[str, str]) -> None:
    """Give a map its title and, where its directions mean something, its ticks."""
    style_axes(ax, title, plain(axes[0]), plain(axes[1]))
    ax.grid(visible=False)
    ax.spines[:].set_visible(True)
    ax.spines[:].set_color("#c4c4c4")
    if not any(axes):
        ax.set(xticks=[], yticks=[])


def draw_layer(ax: Axes, points: Array, layer: Layer) -> PathCollection:
    """Draw the points of one marker, the smaller the more they are."""
    size = float(np.clip(12000 / max(1, len(points)), 3, 28))
    return ax.scatter(
        points[layer.index, 0],
        points[layer.index, 1],
        s=size,
        c=layer.colors,
        marker=layer.marker,
        alpha=0.75,
        linewidths=0,
    )


def color_key(figure: Figure, ax: Axes, legend: Legend) -> None:
    """Draw the bar that says which color is which number, or which of many classes."""
    paint = ScalarMappable(Normalize(*legend.span), "viridis")
    # An axes within the map's own, since the map keeps its shape and a bar beside it would not.
    bar = figure.colorbar(paint, cax=ax.inset_axes((1.02, 0, 0.03, 1)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=MUTED, labelsize=9)
    if legend.names:
        some = np.unique(np.linspace(*legend.span, 12).round().astype(int))
        bar.set_ticks(some.tolist(), labels=[legend.names[index][:24] for index in some])


def _name_classes(figure: Figure, ax: Axes, points: Array, legend: Legend) -> None:
    """Write each class's name at its median, and move names apart that would cover each other."""
    if legend.numbers or not legend.names:
        return
    held = [code for code in range(len(legend.names)) if (legend.codes == code).any()]
    figure.draw_without_rendering()
    texts = []
    for code in held:
        middle = np.median(points[legend.codes == code], axis=0)
        edge = {
            "boxstyle": "round,pad=0.25",
            "fc": "#ffffffe6",
            "ec": class_style(code)[0],
            "lw": 1.6,
        }
        name = legend.names[code]
        name = name if len(name) <= 24 else f"{name[:23]}…"
        texts.append(
            ax.text(
                middle[0],
                middle[1],
                name,
                ha="center",
                va="center",
                fontsize=9,
                color=INK,
                bbox=edge,
            )
        )
    places = np.array([ax.transData.transform(text.get_position()) for text in texts])
    sizes = np.array([[(b := t.get_window_extent()).width, b.height] for t in texts])
    for text, place in zip(texts, _apart(places, sizes + 14, ax), strict=True):
        text.set_position(tuple(ax.transData.inverted().transform(place)))


def _apart(places: Array, sizes: Array, ax: Axes) -> Array:
    """Return the centers of boxes (n, 2), in pixels, pushed apart and kept inside the axes."""
    frame = ax.get_window_extent()
    for _ in range(200):
        moved = False
        for a in range(len(places)):
            for b in range(a):
                gap = places[a] - places[b]
                over = (sizes[a] + sizes[b]) / 2 - np.abs(gap)
                if (over > 0).all():
                    # Along the axis of least overlap, so that a name stays near its class.
                    axis = int(np.argmin(over))
                    push = 0.5 * over[axis] * (1.0 if gap[axis] >= 0 else -1.0)
                    places[a][axis] += push
                    places[b][axis] -= push
                    moved = True
        places = np.clip(places, [frame.x0, frame.y0] + sizes / 2, [frame.x1, frame.y1] - sizes / 2)
        if not moved:
            break
    return places


def _count_hidden(figure: Figure, ax: Axes, points: Array) -> None:
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    x, y = points.T
    hidden = int(((x < left) | (x > right) | (y < low) | (y > high)).sum())
    if hidden:
        text = f"{hidden:,} of {len(points):,} points lie beyond the edge"
        ax.text(0.99, 0.01, text, transform=ax.transAxes, ha="right", fontsize=8, color=MUTED)
