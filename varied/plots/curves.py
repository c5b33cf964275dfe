"""Numbers with axes: KL by dimension, series, and runs against each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from varied.errors import VariedError
from varied.plots.style import (
    BLUE,
    HAIR,
    INK,
    MUTED,
    RUST,
    Array,
    StrPath,
    avoid_overlap,
    number,
    plain,
    save,
    sheet_of,
    style_axes,
)

__all__ = ["curves", "kl_bars", "rate_distortion"]


def kl_bars(rate: Array, active: Array, path: StrPath, *, spread: Array | None = None) -> Path:
    """Draw the KL of each latent dimension, largest first, active and inactive told apart.

    Arguments:
        rate: KL of each dimension, mean over the data, in nats, shape (D,).
        active: True where the dimension carries information, shape (D,).
        path: The picture to write.
        spread: Standard deviation of that KL over the data, in nats, shape (D,); drawn as whiskers.

    Returns:
        The path.
    """
    rate, active = np.nan_to_num(np.asarray(rate, float)), np.asarray(active, bool)
    order = np.argsort(-rate, kind="stable")
    figure = sheet_of(7.6, 3.9)
    ax = figure.subplots()
    title = f"KL by latent dimension: {active.sum()} of {len(rate)} active, "
    style_axes(ax, f"{title}{number(rate.sum())} nats in all", ylabel="nats")
    draw = _bars if len(rate) <= 64 else _steps
    draw(ax, rate[order], active[order], order)
    if spread is not None:
        whisker = np.nan_to_num(np.asarray(spread, float))[order]
        down = np.minimum(whisker, rate[order])
        ax.errorbar(
            range(len(rate)), rate[order], [down, whisker], fmt="none", ecolor=INK, elinewidth=0.7
        )
    ax.set_xlim(-0.7, len(rate) - 0.3)
    ax.set_ylim(bottom=0)
    names = (f"active ({active.sum()})", f"inactive ({(~active).sum()})")
    faces: list[Artist] = [
        Patch(label=names[0], **_face(True)),
        Patch(label=names[1], **_face(False)),
    ]
    if spread is not None:
        faces.append(Line2D([], [], color=INK, linewidth=0.7, label="± 1 s.d. over the data"))
    ax.legend(handles=faces, loc="upper right", frameon=False, fontsize=9)
    figure.tight_layout()
    return save(figure, path)


def _face(active: bool) -> dict[str, Any]:
    if active:
        return {"facecolor": BLUE, "edgecolor": BLUE, "linewidth": 0.8}
    return {"facecolor": "white", "edgecolor": "#7a7a7a", "linewidth": 0.8, "hatch": "////"}


def _bars(ax: Axes, rate: Array, active: Array, order: Array) -> None:
    for place, (height, on) in enumerate(zip(rate, active, strict=True)):
        ax.bar(place, height, width=0.8, **_face(bool(on)))
        ax.set_xticks(range(len(rate)), [f"z{index}" for index in order])
    for name, on in zip(ax.get_xticklabels(), active, strict=True):
        name.set_color(INK if on else "#757575")
    crowded = len(rate) > 20
    ax.tick_params(axis="x", length=0, rotation=90 * crowded, labelsize=7.5 if crowded else 9)


def _steps(ax: Axes, rate: Array, active: Array, _: Array) -> None:
    place = np.arange(len(rate))
    for on in (True, False):
        height = np.where(active == on, rate, 0.0)
        ax.fill_between(place, height, step="mid", **_face(on))
    ax.set_xlabel("latent dimensions, largest KL first")


def curves(
    rows: Array,
    path: StrPath,
    *,
    other: Array | None = None,
    columns: int = 4,
    titles: Sequence[str] | None = None,
) -> Path:
    """Draw series or vectors as small multiples on one scale, each with its reconstruction.

    Arguments:
        rows: The series, shape (N, L).
        path: The picture to write.
        other: Their reconstructions, shape (N, L); drawn dashed over the originals.
        columns: How many stand side by side.
        titles: A title for each, N of them.

    Returns:
        The path.
    """
    columns = min(columns, len(rows))
    deep = -(-len(rows) // columns)
    figure = sheet_of(2.4 * columns + 0.6, 1.6 * deep + 0.9)
    axes = figure.subplots(deep, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, row, title, twin in zip_longest(
        axes, rows, titles or (), () if other is None else other
    ):
        if row is None:
            ax.set_axis_off()
            continue
        style_axes(ax, plain(title or ""))
        ax.title.set_fontsize(9)
        ax.plot(row, color=INK, linewidth=1.2, label="original")
        if twin is not None:
            ax.plot(twin, color=RUST, linewidth=1.4, dashes=(3, 1.5), label="reconstruction")
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    top = 1.0 - 0.35 / figure.get_figheight()
    if other is not None:
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="upper center", ncols=2, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, top if other is not None else 1))
    return save(figure, path)


def rate_distortion(points: Sequence[tuple[str, float, float]], path: StrPath) -> Path:
    """Draw runs by what their code costs and what it loses; along a diagonal the -ELBO is equal.

    Arguments:
        points: Name, rate and distortion of each run, in nats per datum.
        path: The picture to write.

    Returns:
        The path.
    """
    fine = [point for point in points if np.isfinite(point[1:]).all()]
    if not fine:
        raise VariedError("No run here has a finite KL and reconstruction to draw.")
    rate, distortion = np.array([point[1:] for point in fine], float).T
    figure = sheet_of(6.6, 5.0)
    ax = figure.subplots()
    style_axes(ax, "", "KL, nats per datum (what the code costs)", "reconstruction, nats per datum")
    ax.set_title("Reconstruction against KL: down and left is better", loc="left", fontsize=11)
    ax.scatter(rate, distortion, s=42, color=BLUE, zorder=3)
    for limits, values in ((ax.set_xlim, rate), (ax.set_ylim, distortion)):
        pad = 0.15 * np.ptp(values) or 0.1 * abs(values[0]) or 1.0
        limits(values.min() - pad, values.max() + pad)
    _diagonals(ax)
    _name_points(ax, [name for name, *_ in fine], rate, distortion)
    figure.tight_layout()
    return save(figure, path)


def _diagonals(ax: Axes) -> None:
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    for total in MaxNLocator(7).tick_values(left + low, right + high):
        ax.plot((left, right), (total - left, total - right), color=HAIR, linewidth=0.9, zorder=1)
        if low < total - right < high:
            note = f"−ELBO {total:,.6g}".replace("-", "−")
            place = 1.01, (total - right - low) / (high - low)
            ax.annotate(note, place, xycoords="axes fraction", fontsize=8, color=MUTED, va="center")
    ax.set(xlim=(left, right), ylim=(low, high))
    ax.grid(visible=False)


def _name_points(ax: Axes, names: Sequence[str], rate: Array, distortion: Array) -> None:
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    heights = (distortion - low) / (high - low)
    for name, x, height in zip(names, rate, avoid_overlap(list(heights), 0.05, 0, 1), strict=True):
        far = (x - left) / (right - left) > 0.6
        place = ((x - left) / (right - left) + (-0.02 if far else 0.02), height)
        ax.annotate(
            plain(name),
            place,
            xycoords="axes fraction",
            ha="right" if far else "left",
            va="center",
            fontsize=9,
            color=INK,
        )
