"""Maps of a latent space, in which examples are points in a plane, colored by label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import Normalize, to_rgba_array
from matplotlib.figure import Figure

from varied.plots import style
from varied.plots.style import Array, StrPath

UNLABELED = "#8f8f8f"
NAME_WIDTH = 140  # points: the maximum width of a class name


@dataclass(frozen=True)
class Labels:
    """The labels of points in a map.

    Arguments:
        values: The class index or number of each point, with shape (N); NaN without a label.
        names: The names of the classes; empty for numeric labels.
    """

    values: Array
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, labels: Array | None, classes: Sequence[str], count: int) -> Labels:
        """Return the labels of ``count`` points from the arguments of `latent_map`.

        Integers without class names are treated as classes if they have at most 20 distinct values,
        and as numbers otherwise. A point whose class index is out of range has no label.
        """
        if labels is None:
            return cls(np.full(count, np.nan))
        values = np.asarray(labels, float)
        if classes:
            names = tuple(style.truncate(name, 9, NAME_WIDTH) for name in classes)
            return cls(np.where((values >= 0) & (values < len(names)), values, np.nan), names)
        distinct, indices = np.unique(values, return_inverse=True)
        if np.asarray(labels).dtype.kind in "iub" and len(distinct) <= style.MAX_CLASSES:
            return cls(indices.astype(float), tuple(f"{value:g}" for value in distinct))
        return cls(values)

    @property
    def is_categorical(self) -> bool:
        """Whether each class has its own color and marker, which requires at most 20 classes."""
        return 0 < len(self.names) <= style.MAX_CLASSES

    @property
    def has_colorbar(self) -> bool:
        """Whether the map has a color bar."""
        return not self.is_categorical and bool(np.isfinite(self.values).any())

    @property
    def limits(self) -> tuple[float, float]:
        """The range of the color scale."""
        return float(np.nanmin(self.values)), float(np.nanmax(self.values))

    def colors(self) -> Array:
        """Return the RGBA color of each point, with shape (N, 4)."""
        known = np.isfinite(self.values)
        colors = np.repeat(to_rgba_array(UNLABELED), len(known), axis=0)
        if self.is_categorical:
            palette = to_rgba_array(style.PALETTE)
            colors[known] = palette[self.values[known].astype(int) % len(palette)]
        elif known.any():
            scaled = Normalize(*self.limits)(self.values[known])
            colors[known] = matplotlib.colormaps["viridis"](scaled)
        return colors


def latent_map(
    points: Array,
    path: StrPath,
    *,
    labels: Array | None = None,
    classes: Sequence[str] = (),
    axes: tuple[str, str] = ("", ""),
    title: str = "",
) -> Path:
    """Draw examples as points in a plane, colored by class or number.

    Arguments:
        points: The position of each example, with shape (N, 2).
        path: The file to write.
        labels: The class index or number of each example, with shape (N).
        classes: The names of the classes.
        axes: The names of the axes. Without names, no ticks are drawn, as for t-SNE, whose axes
            have no meaning.
        title: The title of the figure.

    Returns:
        The path.
    """
    points = np.asarray(points, float)
    finite = np.isfinite(points).all(axis=1)
    points, labels = points[finite], None if labels is None else np.asarray(labels)[finite]
    point_labels = Labels.of(labels, classes, len(points))
    limits = view_limits(points)
    figure, ax = map_figure(limits, axes, point_labels, 6.8)
    ax.set_title(title, loc="left", **style.TITLE)
    draw_points(ax, points, point_labels)
    if point_labels.is_categorical:
        _label_classes(figure, ax, points, point_labels)
    outside = ((points < limits[::2]) | (points > limits[1::2])).any(axis=1).sum()
    if outside:
        text = f"{outside:,} of {len(points):,} points are outside the map"
        ax.text(0.99, 0.01, text, transform=ax.transAxes, ha="right", **style.NOTE)
    return style.save(figure, path)


def view_limits(points: Array) -> tuple[float, float, float, float]:
    """Return the limits (left, right, bottom, top) that show all points except distant outliers.

    The shorter side is at least two thirds as long as the longer one.
    """
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return -1.0, 1.0, -1.0, 1.0
    low, high = np.quantile(points, [0.002, 0.998], axis=0)
    margin = 0.25 * np.where(high > low, high - low, 1.0)
    low = np.maximum(points.min(axis=0), low - margin)
    high = np.minimum(points.max(axis=0), high + margin)
    size = np.where(high > low, 1.1 * (high - low), 2.0)
    size = np.maximum(size, size.max() * 2 / 3)
    (left, bottom), (right, top) = (low + high - size) / 2, (low + high + size) / 2
    return float(left), float(right), float(bottom), float(top)


def map_figure(
    limits: tuple[float, float, float, float],
    axes: tuple[str, str],
    labels: Labels,
    size: float,
    legend_height: float = 0.0,
) -> tuple[Figure, Axes]:
    """Return a figure and the axes of a map whose longer side is about ``size`` inches long."""
    left, right, bottom, top = limits
    height = size * min(1.0, (top - bottom) / (right - left)) + 0.3 + legend_height
    colorbar_width = (1.6 if labels.names else 0.9) * labels.has_colorbar
    figure = style.new_figure(size + colorbar_width, height)
    ax = figure.subplots()
    style.prepare_axes(ax, "", *axes)
    ax.grid(visible=False)
    ax.spines[:].set(visible=True, color="#c4c4c4")
    if not any(axes):
        ax.set(xticks=[], yticks=[])
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    ax.set_anchor("W" if labels.has_colorbar else "C")
    return figure, ax


def draw_points(ax: Axes, points: Array, labels: Labels) -> list[tuple[PathCollection, Array]]:
    """Draw points in the colors of their labels, with a color bar if needed.

    Returns:
        The layers of points, each with the indices of its points.
    """
    size = float(np.clip(12000 / max(1, len(points)), 3, 28))  # smaller if there are more points
    options: dict[str, Any] = {"s": size, "alpha": 0.75, "linewidths": 0}
    known, colors, layers = np.isfinite(labels.values), labels.colors(), []
    group = np.where(known, labels.values // len(style.PALETTE) if labels.is_categorical else 0, -1)
    for number, marker in [(-1, "o"), *enumerate(style.MARKERS)]:  # unlabeled points first
        indices = np.flatnonzero(group == number)
        if len(indices):
            x, y = points[indices].T
            layers.append((ax.scatter(x, y, c=colors[indices], marker=marker, **options), indices))
    if labels.has_colorbar:
        bar = style.add_colorbar(ax, ScalarMappable(Normalize(*labels.limits), "viridis"))
        if labels.names:
            codes = np.unique(np.linspace(*labels.limits, 12).round().astype(int))
            bar.set_ticks(codes.tolist(), labels=[labels.names[code] for code in codes])
    return layers


def _label_classes(figure: Figure, ax: Axes, points: Array, labels: Labels) -> None:
    """Draw the name of each class near the median of its points, without overlap."""
    texts = []
    for code in np.unique(labels.values[np.isfinite(labels.values)]).astype(int):
        x, y = np.median(points[labels.values == code], axis=0)
        edge = style.class_style(code)[0]
        box = {"boxstyle": "round,pad=0.25", "fc": "#ffffffe6", "ec": edge, "lw": 1.6}
        name = labels.names[code]
        texts.append(ax.text(x, y, name, ha="center", va="center", fontsize=9, bbox=box))
    style.prepare_texts(figure)
    figure.draw_without_rendering()
    centers = ax.transData.transform([text.get_position() for text in texts])
    sizes = np.array([text.get_window_extent().size for text in texts]) + 14
    frame = ax.get_window_extent().get_points()
    placed = ax.transData.inverted().transform(separate_boxes(centers, sizes, frame))
    for text, position in zip(texts, placed, strict=True):
        text.set_position(tuple(position))


def separate_boxes(centers: Array, sizes: Array, frame: Array) -> Array:
    """Move overlapping boxes apart within a frame.

    Arguments:
        centers: The centers of the boxes, with shape (N, 2).
        sizes: The widths and heights of the boxes, with shape (N, 2).
        frame: The lower left and upper right corners of the frame, with shape (2, 2).

    Returns:
        The new centers, with shape (N, 2).
    """
    order = np.sign(np.subtract.outer(np.arange(len(centers)), np.arange(len(centers))))
    for _ in range(200):
        offset = centers[:, None] - centers
        overlap = (sizes[:, None] + sizes) / 2 - np.abs(offset)
        is_colliding = (overlap > 0).all(axis=-1) & (order != 0)
        if not is_colliding.any():
            break
        # Move along the axis with the smaller overlap, so that each name stays near its class.
        is_smaller = overlap == overlap.min(axis=-1, keepdims=True)
        direction = np.where(offset == 0, order[..., None], np.sign(offset))
        push = 0.5 * overlap * direction * is_smaller * is_colliding[..., None]
        centers = np.clip(centers + push.sum(axis=1), frame[0] + sizes / 2, frame[1] - sizes / 2)
    return centers
