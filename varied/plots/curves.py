"""Charts of the KL divergence of each unit, of series, and of the rate-distortion plane."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from varied.errors import VariedError
from varied.plots import style
from varied.plots.style import Array, StrPath

MAX_BARS = 64
# The hatching distinguishes inactive units without color.
ACTIVE: dict[str, Any] = {"facecolor": style.BLUE, "edgecolor": style.BLUE}
INACTIVE: dict[str, Any] = {"facecolor": "white", "edgecolor": "#7a7a7a", "hatch": "////"}


def kl_bars(kl: Array, active: Array, path: StrPath) -> Path:
    """Draw the KL divergence of each latent unit in decreasing order.

    Arguments:
        kl: The KL of each unit in nats, averaged over the data, with shape (D).
        active: Whether each unit is active, with shape (D).
        path: The file to write.

    Returns:
        The path.
    """
    kl, active = np.nan_to_num(np.asarray(kl, float)), np.asarray(active, bool)
    order = np.argsort(-kl, kind="stable")
    kl, active, positions = kl[order], active[order], np.arange(len(kl))
    figure = style.new_figure(7.6, 3.9)
    ax = figure.subplots()
    total = f"{active.sum()} of {len(kl)} active, {style.format_number(kl.sum())} nats in total"
    style.prepare_axes(ax, f"KL by latent unit: {total}", "latent unit, by KL", "KL (nats)")
    for face, mask in ((ACTIVE, active), (INACTIVE, ~active)):
        if len(kl) <= MAX_BARS:
            ax.bar(positions[mask], kl[mask], width=0.8, linewidth=0.8, **face)
        else:
            ax.fill_between(positions, np.where(mask, kl, 0), step="mid", linewidth=0.8, **face)
    if len(kl) <= MAX_BARS:
        is_crowded = len(kl) > 20
        ax.set_xticks(positions, [f"z{unit}" for unit in order], rotation=90 * is_crowded)
        ax.tick_params(axis="x", length=0, labelsize=7.5 if is_crowded else 9)
        for label, is_active in zip(ax.get_xticklabels(), active, strict=True):
            label.set_color(style.INK if is_active else "#757575")
    ax.set(xlim=(-0.7, len(kl) - 0.3), ylim=(0, None))
    handles = [
        Patch(label=f"active ({active.sum()})", **ACTIVE),
        Patch(label=f"inactive ({(~active).sum()})", **INACTIVE),
    ]
    ax.legend(handles=handles, loc="upper right", frameon=False, fontsize=9)
    return style.save(figure, path)


def curves(
    series: Array,
    path: StrPath,
    *,
    overlay: Array | None = None,
    names: tuple[str, str] = ("original", "reconstruction"),
    columns: int = 4,
    titles: Sequence[str] | None = None,
) -> Path:
    """Draw series or vectors as small multiples on a common scale.

    Arguments:
        series: The series, with shape (N, L).
        path: The file to write.
        overlay: The second series, such as reconstructions, with shape (N, L), which are drawn as
            dashed lines over the first ones.
        names: The names of the series and of the overlay in the legend.
        columns: The number of columns.
        titles: A title for each series.

    Returns:
        The path.
    """
    columns = min(columns, len(series))
    rows, length = -(-len(series) // columns), np.shape(series)[1]
    width = 1.1 * max(length - 1, 1)  # of one chart, in the units of the horizontal axis
    marker = "." if length == 1 else None  # a line with a single point would be invisible
    figure = style.new_figure(2.4 * columns + 0.6, 1.6 * rows + 0.9)
    # The charts of a row share their axes, since drawing many axes is slow.
    axes = figure.subplots(rows, 1, sharey=True, squeeze=False).ravel()
    for ax in axes:
        style.prepare_axes(ax)
        ax.spines[:].set_visible(False)
        ax.grid(visible=False)
        ax.set(xlim=(0, (1.06 * columns - 0.06) * width), xticks=())
    lefts = 1.06 * width * (np.arange(len(series)) % columns)
    for index, left in enumerate(lefts):
        ax, x = axes[index // columns], left + 0.05 * width + np.arange(length)
        lines = ax.plot(x, series[index], marker=marker, color=style.INK, linewidth=1.2)
        if overlay is not None:
            dashed: dict[str, Any] = {"color": style.RUST, "linewidth": 1.4, "dashes": (3, 1.5)}
            lines += ax.plot(x, overlay[index], marker=marker, **dashed)
        if titles:
            ax.text(left, 1.03, titles[index], fontsize=9, transform=ax.get_xaxis_transform())
    for row, ax in enumerate(axes):
        _draw_frames(ax, lefts[row * columns :][:columns], width)
        # A chart has horizontal ticks if no chart is below it.
        starts = lefts[max(row * columns, len(series) - columns) : (row + 1) * columns]
        ticks = np.asarray(MaxNLocator(4, integer=True).tick_values(0, length - 1))
        ticks = ticks[(ticks >= 0) & (ticks <= length - 1)]
        positions = np.add.outer(starts + 0.05 * width, ticks).ravel()
        ax.set_xticks(positions, [style.format_tick(tick) for tick in ticks] * len(starts))
    if overlay is not None:
        options: dict[str, Any] = {"ncols": 2, "frameon": False, "fontsize": 9}
        figure.legend(lines, names, loc="outside upper center", **options)
    return style.save(figure, path)


def _draw_frames(ax: Axes, lefts: Array, width: float) -> None:
    """Draw the left and bottom axis lines and the horizontal grid lines of the charts in a row."""
    sides = [((left, 0), (left, 1)) for left in lefts]
    bottoms = [((left, 0), (left + width, 0)) for left in lefts]
    frames = LineCollection(sides + bottoms, colors=style.AXIS, linewidth=0.8, clip_on=False)
    frames.set_transform(ax.get_xaxis_transform())
    ax.add_artist(frames)
    grid = [((left, y), (left + width, y)) for left in lefts for y in ax.get_yticks()]
    ax.add_artist(LineCollection(grid, colors=style.GRID, linewidth=0.6, zorder=0))


def rate_distortion(points: Sequence[tuple[str, float, float]], path: StrPath) -> Path:
    """Draw runs in the plane of KL and reconstruction; the ELBO is constant along diagonals.

    Arguments:
        points: The name, KL (rate) and reconstruction (distortion) of each run, in nats per
            example.
        path: The file to write.

    Returns:
        The path.

    Raises:
        VariedError: If no run has a finite KL and reconstruction.
    """
    points = [point for point in points if np.isfinite(point[1:]).all()]
    if not points:
        raise VariedError(
            "No run has both a finite KL and a finite reconstruction; pass at least one such run."
        )
    kl, reconstruction = np.array([point[1:] for point in points], float).T
    figure = style.new_figure(6.6, 5.0)
    ax = figure.subplots()
    title = "Reconstruction and KL (lower left is better)"
    style.prepare_axes(ax, title, "KL (nats)", "reconstruction (nats)")
    ax.grid(visible=False)
    ax.scatter(kl, reconstruction, s=42, color=style.BLUE, zorder=3)
    for set_limits, values in ((ax.set_xlim, kl), (ax.set_ylim, reconstruction)):
        margin = 0.15 * np.ptp(values) or 0.1 * abs(values[0]) or 1.0
        set_limits(values.min() - margin, values.max() + margin)
    _draw_diagonals(ax)
    # Each name is drawn next to its point, on the side with more space.
    places = ax.transAxes.inverted().transform(ax.transData.transform([p[1:] for p in points]))
    heights = style.avoid_overlap(list(places[:, 1]), 0.05, 0, 1)
    for (name, *_), x, y in zip(points, places[:, 0], heights, strict=True):
        place, side = (x - 0.02, "right") if x > 0.6 else (x + 0.02, "left")
        ax.text(place, y, name, transform=ax.transAxes, ha=side, va="center", fontsize=9)
    return style.save(figure, path)


def _draw_diagonals(ax: Axes) -> None:
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for total in MaxNLocator(7).tick_values(left + bottom, right + top):
        ends = (total - left, total - right)
        ax.plot((left, right), ends, color=style.GRID, linewidth=0.9, zorder=1)
        if bottom < total - right < top:
            text = f"−ELBO {style.format_number(total, ',.6g')}"
            place = 1.01, (total - right - bottom) / (top - bottom)
            ax.annotate(text, place, xycoords="axes fraction", va="center", **style.NOTE)
    ax.set(xlim=(left, right), ylim=(bottom, top))
