"""Tables as pictures: columns side by side, pairs of columns, the first rows, parts of the loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import ScaledTranslation

from varied.errors import VariedError
from varied.plots import style
from varied.plots.contact_sheet import font
from varied.plots.style import BLUE, HAIR, INK, MUTED, RUST, Array, StrPath, number, style_axes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["column_shapes", "pair_trends", "rows", "shares"]

# The most that a picture shows of each, and the columns whose names can stand beside a matrix.
BINS, CATEGORIES, COLUMNS, BARS, NAMED = 40, 8, 10, 30, 40
NUMBERS = ("float", "int", "uint")
WIDE, TALL, GAP = 2.45, 2.1, 0.4  # inches: one of the small multiples, and between two
SMALL = 7.5  # points: the text within them
PALE = "#a9cbe2"  # BLUE on white, so faint that a line shows over it


def column_shapes(
    real: pd.DataFrame,
    made: pd.DataFrame,
    path: StrPath,
    *,
    most: int = 16,
    scores: Mapping[str, float] | None = None,
) -> Path:
    """Draw each column of real rows and of made rows over each other, as small multiples.

    Numbers and dates are histograms over the same bins, categories bars, most frequent first.

    Arguments:
        real: Real rows.
        made: Made rows, with the same columns.
        path: The picture to write.
        most: How many columns are drawn: the least alike of more, where there are scores, else the
            first.
        scores: How alike each column is, in [0, 1], by its name.

    Returns:
        The path.
    """
    known = {str(name): score for name, score in (scores or {}).items() if isfinite(score)}
    names = list(real.columns)
    if len(names) > most:
        kept = sorted(names, key=lambda name: known.get(str(name), 2.0))[:most]
        names = [name for name in names if name in kept]
    across = min(4, len(names))
    deep = -(-len(names) // across)
    wide = max(WIDE, 4.6 / across - GAP)
    width, height = (wide + GAP) * across, TALL * deep + 0.75
    figure = style.sheet_of(width, height)
    for index, name in enumerate(names):
        left, top = 0.15 + index % across * (wide + GAP), 0.75 + index // across * TALL
        ax = figure.add_axes((0, 0, 1, 1))
        indent = _panel(ax, real[name], made[name])
        box = np.array([left + indent, height - top - 0.26 - 1.24, wide - indent, 1.24])
        ax.set_position(tuple(box / (width, height, width, height)))
        y = 1 - (top + 0.13) / height
        figure.text(left / width, y, _cut(name, 26), fontsize=9.5, color=INK, va="center")
        if str(name) in known:
            said, x = f"{known[str(name)]:.2f}", (left + wide) / width
            figure.text(x, y, said, fontsize=9, color=MUTED, va="center", ha="right")
    title = _shapes_title(known, len(names), len(real.columns))
    figure.text(0.15 / width, 1 - 0.22 / height, title, fontsize=11, color=INK, va="center")
    faces = [
        Patch(facecolor=PALE, edgecolor=BLUE, label=f"real ({len(real):,} rows)"),
        Patch(facecolor="white", edgecolor=RUST, label=f"made ({len(made):,} rows)"),
    ]
    key = figure.legend(handles=faces, ncols=2, frameon=False, fontsize=9, labelcolor=MUTED)
    key.set(loc="center left", bbox_to_anchor=(0.07 / width, 1 - 0.5 / height))
    return style.save(figure, path)


def _shapes_title(scores: Mapping[str, float], drawn: int, count: int) -> str:
    some = f" ({drawn} of {count} columns)" if drawn < count else ""
    if not scores:
        return f"Real and made rows, column by column{some}"
    worst = min(scores, key=lambda name: scores[name])
    least = f"; least alike: {_cut(worst, 24)}, {scores[worst]:.2f}" if len(scores) > 1 else ""
    return f"Column shapes {np.mean(list(scores.values())):.2f} of 1{least}{some}"


def _cut(text: object, most: int) -> str:
    """Return the text on one line, with an ellipsis where it is cut."""
    line = " ".join(str(text).split())
    return style.plain(line if len(line) <= most else f"{line[: most - 1].rstrip()}…")


def _panel(ax: Axes, real: pd.Series, made: pd.Series) -> float:
    """Draw one column and say what is not drawn; return the room for names beside it, in inches."""
    style_axes(ax)
    ax.grid(visible=False)
    ax.tick_params(labelsize=SMALL, length=2)
    kind, indent = str(real.dtype).lower(), 0.0
    lost = [float(one.isna().mean()) for one in (real, made)]
    notes = [f"missing: {_both(lost)}"] if any(lost) else []
    kept = [one.dropna() for one in (real, made)]
    if not any(map(len, kept)):
        ax.set(xticks=[], yticks=[])
        ax.spines["left"].set_visible(False)
        ax.text(0.5, 0.5, "no values", transform=ax.transAxes, ha="center", color=MUTED, fontsize=9)
    elif kind.startswith("datetime"):
        place = dates.AutoDateLocator(minticks=2, maxticks=4)  # type: ignore[no-untyped-call]
        ax.xaxis.set_major_locator(place)
        ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(place))  # type: ignore[no-untyped-call]
        ax.xaxis.get_offset_text().set(fontsize=SMALL, color=MUTED)
        days = [one.to_numpy("datetime64[us]").astype("int64") / 86400e6 for one in kept]
        notes += _histogram(ax, days, whole=False)
    elif kind.startswith(NUMBERS):
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.xaxis.set_major_formatter(FuncFormatter(_short))
        numbers = [one.to_numpy("float64") for one in kept]
        notes += _histogram(ax, numbers, whole=not kind.startswith("float"))
    else:
        indent = _bars(ax, [Counter(map(str, one)) for one in kept])
    below = ax.transAxes + ScaledTranslation(-indent, -0.24, ax.figure.dpi_scale_trans)
    ax.text(0, 0, "\n".join(notes), fontsize=SMALL, color=MUTED, va="top", transform=below)
    return indent


def _both(pair: Sequence[float]) -> str:
    """Return two shares in words."""
    real, made = ("< 0.1 %" if 0 < one < 0.001 else f"{round(100 * one, 1):g} %" for one in pair)
    return f"{real} real, {made} made"


def _short(value: float, _: int | None = None) -> str:
    """Return a number for a small tick: 12k, 1.4M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(size, 1e4):
            return f"{value / size:.4g}{letter}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def _histogram(ax: Axes, pair: Sequence[Array], *, whole: bool) -> list[str]:
    """Draw two histograms over the same bins; return what lies beyond them, in words."""
    pair = [one[np.isfinite(one)] for one in pair]
    edges = _edges(pair, whole=whole)
    heights = [np.histogram(one, edges)[0] / max(len(one), 1) for one in pair]
    ax.stairs(heights[0], edges, fill=True, facecolor=PALE)
    ax.stairs(heights[0], edges, color=BLUE, linewidth=0.9)
    ax.stairs(heights[1], edges, color=RUST, linewidth=1.2)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xlim(edges[0], edges[-1])
    top = np.maximum(*heights)
    first, second = np.sort([*top, 0.0])[::-1][:2]
    ax.set_ylim(0, 1.08 * first)
    if first > 5 * second > 0:
        # One bin holds nearly all: the others would be a flat line, so it runs out of the panel.
        ax.set_ylim(0, 2.2 * second)
        place = int(np.argmax(top))
        right = place >= len(top) / 2
        x = edges[place] if right else edges[place + 1]
        words, gap = f"↑ {_both([one[place] for one in heights])}", -4 if right else 4
        look: dict[str, Any] = {"ha": "right" if right else "left", "va": "top", "color": MUTED}
        look |= {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        ax.annotate(words, (x, 0.98), xytext=(gap, 0), fontsize=SMALL, **look)
    values = np.unique(np.concatenate(pair))
    if len(values) == 1:
        ax.set_xticks(values)
    known = [one if len(one) else edges for one in pair]  # where nothing is, nothing is beyond
    beyond = [float(((one < edges[0]) | (one > edges[-1])).mean()) for one in known]
    return [f"beyond the edges: {_both(beyond)}"] if any(beyond) else []


def _edges(pair: Sequence[Array], *, whole: bool) -> Array:
    """Return bins from the 0.5 to the 99.5 centile, of real rows first; whole numbers get theirs.

    Made rows widen this by half at most: a few far ones must not squash the real rows.
    """
    spans = [np.quantile(one, [0.005, 0.995]) for one in pair if len(one)] or [np.array([0.0, 1.0])]
    (low, high), (left, right) = spans[0], spans[-1]
    room = (high - low) / 2 or max(abs(low), 1.0) / 2
    low, high = max(min(low, left), low - room), min(max(high, right), high + room)
    if whole:
        low, high = np.floor(low), np.ceil(high)
        step = max(1.0, np.ceil((high - low + 1) / BINS))
        return np.asarray(np.arange(low, high + step + 0.5, step) - 0.5)
    if high == low:
        low, high = low - room, high + room
    return np.linspace(low, high, BINS + 1)


def _bars(ax: Axes, counts: Sequence[Counter[str]]) -> float:
    """Draw a pair of bars for each frequent category and for the others; return the names' room."""
    both = sorted(set().union(*counts), key=lambda name: (-counts[0][name], -counts[1][name], name))
    named = both if len(both) <= CATEGORIES + 1 else both[:CATEGORIES]
    labels, groups = [_cut(name, 18) for name in named], [[name] for name in named]
    if len(both) > len(named):
        labels.append(f"{len(both) - len(named)} others")
        groups.append(both[len(named) :])
    size = SMALL if len(groups) < 7 else 6.5
    for index, (face, edge) in enumerate(((PALE, BLUE), ("white", RUST))):
        total = max(sum(counts[index].values()), 1)
        parts = [sum(counts[index][name] for name in group) / total for group in groups]
        places = np.arange(len(groups)) + 0.4 * index - 0.2
        ax.barh(places, parts, 0.33, facecolor=face, edgecolor=edge, linewidth=0.9)
    ax.set_yticks(range(len(groups)), labels)
    ax.set(xlim=(0, None), ylim=(max(len(groups), 4) - 0.4, -0.6))
    ax.tick_params(axis="y", length=0, labelsize=size)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g} %"))
    return max(_inches(label, size) for label in labels) + 0.08


def pair_trends(
    real: Array, made: Array | None, names: Sequence[str], path: StrPath, *, title: str = ""
) -> Path:
    """Draw how strong pairs of columns hang together, in real rows and in made rows.

    Arguments:
        real: A number for each pair, in [-1, 1] or [0, 1], shape (D, D); the diagonal is not drawn.
        made: The same of made rows; None to draw one matrix alone, the scores of the pairs.
        names: The columns.
        path: The picture to write.
        title: A title in place of the one that names the pair furthest apart.

    Returns:
        The path.
    """
    both = [np.array(one, float) for one in (real, made) if one is not None]
    count = len(names)
    if count < 2 or any(one.shape != (count, count) for one in both):
        shapes = " and ".join(str(one.shape) for one in both)
        raise VariedError(
            f"Matrices of shape {shapes} do not fit {count} names: give (D, D), D > 1."
        )
    for one in both:
        np.fill_diagonal(one, np.nan)
    signed = any(bool((one < 0).any()) for one in both)
    # Scores are pale where all is well, so that the pairs that differ stand out.
    tint = "Oranges_r" if made is None else "RdBu" if signed else "Blues"
    labels = [_cut(name, 18) for name in names] if count <= NAMED else []
    side = float(np.clip(0.24 * count, 2.6, 6.5))
    beside = 0.25 + max((_inches(label, 8) for label in labels), default=0.0)
    width = len(both) * (side + 0.25) + beside + 0.6
    height = side + beside + (0.75 if made is not None else 0.5)
    figure = style.sheet_of(width, height)
    for index, one in enumerate(both):
        left = beside + index * (side + 0.25)
        ax = figure.add_axes((left / width, beside / height, side / width, side / height))
        ax.set_facecolor("#e0e0e0")
        shown = ax.imshow(one, cmap=tint, vmin=-1 if signed else 0, vmax=1)
        ax.spines[:].set_visible(False)
        ax.set_xticks(range(len(labels)), labels, rotation=90)
        ax.set_yticks(range(0 if index else len(labels)), [] if index else labels)
        ax.tick_params(labelsize=8 if count <= 24 else 6.5, length=0, colors=MUTED)
        if len(both) > 1:
            ax.set_title(("real rows", "made rows")[index], fontsize=9.5, color=MUTED, loc="left")
    bar = figure.add_axes(((width - 0.6) / width, beside / height, 0.12 / width, side / height))
    figure.colorbar(shown, cax=bar).outline.set_visible(False)
    bar.tick_params(colors=MUTED, labelsize=8, length=2)
    bar.yaxis.set_major_locator(MaxNLocator(4))
    bar.yaxis.set_major_formatter(FuncFormatter(_short))
    said = style.plain(title) or _pairs_title(both, names)
    figure.text(0.1 / width, 1 - 0.2 / height, said, fontsize=11, color=INK, va="center")
    return style.save(figure, path, tight=True)


def _pairs_title(both: Sequence[Array], names: Sequence[str]) -> str:
    apart = np.abs(both[0] - both[-1]) if len(both) > 1 else 1 - both[0]
    if not np.isfinite(apart).any():
        return "Pairs of columns"
    i, j = divmod(int(np.nanargmax(apart)), len(names))
    pair = f"{_cut(names[i], 20)} and {_cut(names[j], 20)}"
    figures = [f"{one[i, j]:.2f}".replace("-", "−") for one in both]
    if len(both) > 1:
        return f"Furthest apart: {pair}, {figures[0]} real, {figures[1]} made"
    return f"Pair trends {np.nanmean(both[0]):.2f} of 1; least alike: {pair}, {figures[0]}"


def rows(frame: pd.DataFrame, path: StrPath, *, most: int = 12) -> Path:
    """Draw the first rows of a table, numbers right-aligned, at most 10 columns.

    Arguments:
        frame: The table.
        path: The picture to write.
        most: How many rows.

    Returns:
        The path.
    """
    some, names = frame.iloc[:most], list(frame.columns)[:COLUMNS]
    if not len(some) or not names:
        raise VariedError("There is no row to draw: give a table with a row and a column at least.")
    cells = [_cells(some[name]) for name in names]
    heads = [_cut(name, 22) for name in names]
    # Each column is as wide as its longest text, in inches.
    wide = [
        max(map(_inches, [head, *texts])) for head, (texts, _) in zip(heads, cells, strict=True)
    ]
    gap, line, top, edge = 0.24, 0.235, 0.55, 0.16
    width = max(sum(wide) + gap * (len(wide) - 1) + 2 * edge, 3.0)
    more = [str(name) for name in frame.columns[COLUMNS:]]
    height = top + line * (len(some) + 0.5) + (0.36 if more else 0.14)
    figure = style.sheet_of(width, height)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.set_axis_off()
    count = f"The first {len(some)} of {len(frame):,}" if len(frame) > most else f"All {len(frame)}"
    ax.text(edge, 0.21, f"{count} rows", fontsize=11, color=INK, va="center")
    left = edge
    for head, (texts, right), space in zip(heads, cells, wide, strict=True):
        x, side = (left + space, "right") if right else (left, "left")
        for index, text in enumerate([head, *texts]):
            color = INK if index and text != "—" else MUTED
            y = top + index * line
            ax.text(x, y, text, color=color, fontsize=9, ha=side, va="center")
        left += space + gap
    for y, color in ((top + line / 2, "#8a8a8a"), (top + line * (len(some) + 0.5), HAIR)):
        ax.plot((edge, width - edge), (y, y), color=color, linewidth=0.8)
    if more:
        note = f"{len(more)} more column{'s' * (len(more) > 1)}: {', '.join(more)}"
        fits = int((width - 2 * edge) / 0.075)
        ax.text(edge, height - 0.16, _cut(note, fits), fontsize=8, color=MUTED, va="center")
    return style.save(figure, path)


def _inches(text: str, points: float = 9) -> float:
    """Return how wide a text is, and a little more for what drawing rounds."""
    return float(font(90).getlength(text.replace(r"\$", "$"))) / 90 * points / 72 * 1.02


def _cells(column: pd.Series) -> tuple[list[str], bool]:
    """Return the texts of a column, and whether it is of numbers and stands to the right."""
    kind, lost = str(column.dtype).lower(), column.isna()
    known = column[~lost]
    if kind.startswith("datetime"):
        whole = bool((known == known.dt.normalize()).all())
        texts = list(known.dt.strftime("%Y-%m-%d" if whole else "%Y-%m-%d %H:%M"))
    elif kind.startswith("float"):
        values = known.to_numpy("float64")
        digits = next((d for d in range(3) if np.allclose(values, values.round(d), 1e-9, 0)), 3)
        tiny = len(values) > 0 and 0 < np.abs(values).max() < 0.01
        texts = [f"{v:.3g}" if tiny or abs(v) >= 1e9 else f"{v:.{digits}f}" for v in values]
    else:
        texts = [_cut(value, 22) for value in known]
    right = kind.startswith(NUMBERS)
    written = iter(text.replace("-", "−") for text in texts) if right else iter(texts)
    return ["—" if gone else next(written) for gone in lost], right


def shares(names: Sequence[str], nats: Array, path: StrPath) -> Path:
    """Draw the part of the loss that each column takes, largest first, the rest as one bar.

    Arguments:
        names: The columns.
        nats: The part of each, in nats per row, shape (D,); below 0 where a density is above 1.
        path: The picture to write.

    Returns:
        The path.
    """
    values = np.nan_to_num(np.asarray(nats, float))
    if not len(names) or values.shape != (len(names),):
        raise VariedError(f"{len(names)} names do not fit nats of shape {values.shape}: give (D,).")
    order = np.argsort(-values, kind="stable")
    kept = order[: len(order) if len(order) <= BARS else BARS - 1]
    labels, lengths = [_cut(names[index], 28) for index in kept], [float(v) for v in values[kept]]
    if len(kept) < len(order):
        labels.append(f"{len(order) - len(kept)} others")
        lengths.append(float(values[order[len(kept) :]].sum()))
    figure = style.sheet_of(7.0, 0.24 * len(labels) + 1.05)
    ax = figure.subplots()
    total = f"{number(values.sum())} nats per row in all"
    style_axes(ax, f"{total}; most for {labels[0]}: {number(lengths[0])}", xlabel="nats per row")
    ax.grid(visible=False)
    colors = [BLUE] * len(kept) + ["#9a9a9a"] * (len(labels) - len(kept))
    ax.barh(range(len(labels)), lengths, height=0.68, color=colors)
    low, high = min(0.0, *lengths), max(0.0, *lengths)
    room = (high - low or 1.0) * 0.12
    ax.set_xlim(low - room * (low < 0), high + room)
    look: dict[str, Any] = {"textcoords": "offset points", "va": "center", "color": MUTED}
    for place, length in enumerate(lengths):
        gap, side = (4, "left") if length >= 0 else (-4, "right")
        ax.annotate(number(length), (length, place), (gap, 0), ha=side, fontsize=8, **look)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0, labelsize=9)
    ax.axvline(0, color="#8a8a8a", linewidth=0.8)
    ax.spines["left"].set_visible(False)
    return style.save(figure, path, tight=True)
