"""Figures of tables: column distributions, pairwise associations, rows, and NLL by column."""

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

from varied.errors import VariedError
from varied.plots import style
from varied.plots.style import Array, StrPath

if TYPE_CHECKING:
    import pandas as pd

MAX_PANELS, MAX_BINS, MAX_LEVELS = 16, 40, 8
MAX_TABLE_ROWS, MAX_TABLE_COLUMNS, MAX_BARS = 12, 10, 30
MAX_NAMED = 40  # the maximum number of columns whose names are drawn next to a matrix
NAME_WIDTH = 115  # points
PANEL_WIDTH, SMALL = 160, 7.5  # points: the panel width and font size of `column_shapes`
PALE = "#a9cbe2"  # a blue that is pale enough for lines drawn over it to be visible
NUMERIC = "iuf"  # the NumPy kinds of numeric dtypes
MISSING = "—"


def column_shapes(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    path: StrPath,
    *,
    scores: Mapping[str, float] | None = None,
) -> Path:
    """Draw the distribution of each column in real and in synthetic rows.

    Numbers and dates are drawn as histograms with common bins. Categories are drawn as bars, with
    the most frequent first. If there are more than 16 columns, those with the lowest scores are
    drawn.

    Arguments:
        real: The real rows.
        synthetic: The synthetic rows, with the same columns.
        path: The file to write.
        scores: The similarity of each column, in [0, 1], by column name.

    Returns:
        The path.
    """
    scores = {str(name): score for name, score in (scores or {}).items() if isfinite(score)}
    lowest = sorted(real.columns, key=lambda name: scores.get(str(name), 2.0))[:MAX_PANELS]
    names = [name for name in real.columns if name in lowest]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = style.new_figure(max(2.6 * columns, 5.2), 2.05 * rows + 0.7)
    spacing = {"wspace": 0.08, "hspace": 0.12}
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=spacing).ravel()
    for ax, name in zip(axes, names, strict=False):
        _draw_column(ax, real[name], synthetic[name])
        heading = style.truncate(name, 9.5, PANEL_WIDTH - 40)
        ax.set_title(heading, loc="left", fontsize=9.5, color=style.INK)
        if str(name) in scores:
            ax.set_title(f"{scores[str(name)]:.2f}", loc="right", **style.LABEL)
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    handles = [
        Patch(fc=PALE, ec=style.BLUE, label=f"real ({len(real):,} rows)"),
        Patch(fc="white", ec=style.RUST, label=f"synthetic ({len(synthetic):,} rows)"),
    ]
    options: dict[str, Any] = {"loc": "outside upper left", "alignment": "left", "ncols": 2}
    options |= {"frameon": False, "fontsize": 9, "title_fontsize": 11, "labelcolor": style.MUTED}
    title = "Real and synthetic rows by column"
    if scores:
        title = f"Mean column similarity: {np.mean([*scores.values()]):.2f} of 1"
    if len(names) < len(real.columns):
        title += f" ({len(names)} of {len(real.columns)} columns)"
    figure.legend(handles=handles, title=title, **options)
    return style.save(figure, path)


def _draw_column(ax: Axes, real: pd.Series, synthetic: pd.Series) -> None:
    """Draw one column; below the axis, note the fractions of values that are not drawn."""
    style.prepare_axes(ax)
    ax.grid(visible=False)
    ax.tick_params(labelsize=SMALL, length=2)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    samples = [column.dropna() for column in (real, synthetic)]
    missing = [float(column.isna().mean()) for column in (real, synthetic)]
    notes = [f"missing: {', '.join(_percentages(missing))}"] if any(missing) else []
    if not any(map(len, samples)):
        ax.set_xticks([])
        ax.text(0.5, 0.5, "no values", transform=ax.transAxes, ha="center", **style.LABEL)
    elif real.dtype.kind == "M":
        locator = dates.AutoDateLocator(minticks=2, maxticks=4)  # type: ignore[no-untyped-call]
        formatter = dates.ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
        ax.xaxis.set(major_locator=locator, major_formatter=formatter)
        ax.xaxis.get_offset_text().set(fontsize=SMALL, color=style.MUTED)
        days = [column.to_numpy("datetime64[us]").astype("int64") / 86400e6 for column in samples]
        notes += _draw_histogram(ax, days, is_integer=False)
    elif real.dtype.kind in NUMERIC:
        ax.xaxis.set_major_locator(MaxNLocator(4))
        numbers = [column.to_numpy("float64") for column in samples]
        notes += _draw_histogram(ax, numbers, is_integer=real.dtype.kind != "f")
    else:
        _draw_levels(ax, [Counter(map(str, column)) for column in samples])
    ax.set_xlabel("\n".join(notes), loc="left", fontsize=SMALL)


def _percentages(shares: Sequence[float]) -> list[str]:
    texts = ("<0.1%" if 0 < share < 0.001 else f"{round(100 * share, 1):g}%" for share in shares)
    return [f"{text} {kind}" for text, kind in zip(texts, ("real", "synthetic"), strict=True)]


def _draw_histogram(ax: Axes, samples: Sequence[Array], *, is_integer: bool) -> list[str]:
    """Draw two histograms with common bins; return a note on the values outside the bins."""
    samples = [values[np.isfinite(values)] for values in samples]
    edges = _bin_edges(samples, is_integer=is_integer)
    heights = np.array([np.histogram(values, edges)[0] / max(len(values), 1) for values in samples])
    ax.stairs(heights[0], edges, fill=True, facecolor=PALE)
    ax.stairs(heights[0], edges, color=style.BLUE, linewidth=0.9)
    ax.stairs(heights[1], edges, color=style.RUST, linewidth=1.2)
    highest = heights.max(axis=0)
    second, first = np.sort([*highest, 0.0])[-2:]
    ax.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.08 * first))
    if first > 5 * second > 0:
        # A bin with nearly all values is cut off; otherwise, the other bins would look empty.
        ax.set_ylim(0, 2.2 * second)
        peak = int(np.argmax(highest))
        left, right = (edges[peak] - edges[0]), (edges[-1] - edges[peak + 1])
        x, gap, side = (edges[peak], -4, "right") if left > right else (edges[peak + 1], 4, "left")
        text = "↑ " + "\n".join(_percentages(heights[:, peak].tolist()))
        place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": side, "va": "top"}
        place |= {"xytext": (gap, 0), "textcoords": "offset points"}
        ax.annotate(text, (x, 0.98), fontsize=SMALL, color=style.MUTED, **place)
    distinct = np.unique(np.concatenate(samples))
    if len(distinct) == 1:
        ax.set_xticks(distinct)
    outside = [float(np.mean((v < edges[0]) | (v > edges[-1]))) if len(v) else 0.0 for v in samples]
    return [f"out of range: {', '.join(_percentages(outside))}"] if any(outside) else []


def _bin_edges(samples: Sequence[Array], *, is_integer: bool) -> Array:
    """Return bin edges from the 0.5th to the 99.5th percentile; integers are at bin centers.

    Synthetic values extend the range of the real values by at most half of its width on each side,
    since a few outliers would otherwise squeeze the real values into a few bins.
    """
    ranges = [np.quantile(values, [0.005, 0.995]) for values in samples if len(values)]
    (low, high), (other_low, other_high) = (ranges[0], ranges[-1]) if ranges else ((0, 1), (0, 1))
    margin = (high - low) / 2 or max(abs(low), 1.0) / 2
    low, high = max(min(low, other_low), low - margin), min(max(high, other_high), high + margin)
    if is_integer:
        low, high = np.floor(low), np.ceil(high)
        step = max(1.0, np.ceil((high - low + 1) / MAX_BINS))
        return np.asarray(np.arange(low, high + step + 0.5, step) - 0.5)
    if high == low:
        low, high = low - margin, high + margin
    return np.linspace(low, high, MAX_BINS + 1)


def _draw_levels(ax: Axes, counts: Sequence[Counter[str]]) -> None:
    """Draw a pair of bars for each frequent level, and one pair for all others."""
    levels = sorted(set().union(*counts), key=lambda k: (-counts[0][k], -counts[1][k], k))
    shown = levels if len(levels) <= MAX_LEVELS + 1 else levels[:MAX_LEVELS]
    names = [style.truncate(level, SMALL, 90) for level in shown]
    if len(levels) > len(shown):
        names.append(f"{len(levels) - len(shown)} others")
    shares = []
    for count in counts:
        frequencies = [count[level] for level in shown]
        frequencies.append(count.total() - sum(frequencies))
        shares.append(np.array(frequencies[: len(names)]) / max(count.total(), 1))
    positions = np.arange(len(names))
    ax.barh(positions - 0.2, shares[0], 0.33, fc=PALE, ec=style.BLUE, lw=0.9)
    ax.barh(positions + 0.2, shares[1], 0.33, fc="white", ec=style.RUST, lw=0.9)
    # The names are drawn inside the axes, left of zero, so that all panels have the same width.
    size = SMALL if len(names) < 7 else 6.5
    room = max(style.text_width(name, size) for name in names) + 6
    right = 1.05 * max(values.max() for values in shares)
    ax.set_xlim(-right * room / (PANEL_WIDTH - room), right)
    ax.set_ylim(max(len(names), 4) - 0.4, -0.6)
    ax.spines["left"].set(visible=True, position=("data", 0))
    ax.set_yticks(positions, names)
    ax.tick_params(axis="y", length=0, labelsize=size)
    ax.spines["bottom"].set_bounds(0, right)
    ax.set_xticks([tick for tick in MaxNLocator(3).tick_values(0, right) if tick <= right])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))


def pair_trends(real: Array, synthetic: Array, names: Sequence[str], path: StrPath) -> Path:
    """Draw the association of each pair of columns in real and in synthetic rows.

    Arguments:
        real: The association of each pair of columns in real rows, in [-1, 1] or [0, 1], with shape
            (D, D); the diagonal is not drawn.
        synthetic: The associations in synthetic rows, with the same shape.
        names: The names of the columns.
        path: The file to write.

    Returns:
        The path.

    Raises:
        VariedError: If the matrices do not have shape (D, D) for D names, or D is less than 2.
    """
    matrices = [np.array(matrix, float) for matrix in (real, synthetic)]
    count = len(names)
    if count < 2 or any(matrix.shape != (count, count) for matrix in matrices):
        shapes = " and ".join(str(matrix.shape) for matrix in matrices)
        raise VariedError(
            f"Matrices of shape {shapes} do not match {count} names; the shape must be (D, D) for "
            "D names, with D > 1."
        )
    for matrix in matrices:
        np.fill_diagonal(matrix, np.nan)
    is_signed = any(bool((matrix < 0).any()) for matrix in matrices)
    labels = [style.truncate(name, 8, NAME_WIDTH) for name in names] if count <= MAX_NAMED else []
    side = float(np.clip(0.24 * count, 2.6, 6.5))
    margin = max((style.text_width(label, 8) / 72 for label in labels), default=0.0) + 0.2
    figure = style.new_figure(2 * side + margin + 0.8, side + margin + 0.6)
    figure.suptitle(_pairs_title(names, *matrices), x=0.01, ha="left", **style.TITLE)
    axes = figure.subplots(1, 2)
    for ax, matrix, heading in zip(axes, matrices, ("real rows", "synthetic rows"), strict=True):
        ax.set_facecolor("#e0e0e0")
        colormap, low = ("RdBu", -1) if is_signed else ("Blues", 0)
        image = ax.imshow(matrix, cmap=colormap, vmin=low, vmax=1)
        ax.spines[:].set_visible(False)
        ax.set_xticks(range(len(labels)), labels, rotation=90)
        ax.set_yticks(range(len(labels)), labels if ax is axes[0] else [""] * len(labels))
        ax.tick_params(labelsize=8 if count <= 24 else 6.5, length=0, colors=style.MUTED)
        ax.set_title(heading, loc="left", **style.LABEL)
    style.add_colorbar(axes[-1], image, "association").set_ticks(MaxNLocator(4))
    return style.save(figure, path)


def _pairs_title(names: Sequence[str], real: Array, synthetic: Array) -> str:
    difference = np.abs(real - synthetic)
    if not np.isfinite(difference).any():
        return "Pairs of columns"
    i, j = divmod(int(np.nanargmax(difference)), len(names))
    first, second = (style.truncate(names[index], 11, NAME_WIDTH) for index in (i, j))
    values = f"{style.format_number(real[i, j])} real, {style.format_number(synthetic[i, j])}"
    return f"Largest difference: {first} and {second}, {values} synthetic"


def table_rows(frame: pd.DataFrame, path: StrPath) -> Path:
    """Draw the first 12 rows and the first 10 columns of a table.

    Arguments:
        frame: The table.
        path: The file to write.

    Returns:
        The path.

    Raises:
        VariedError: If the table has no rows or no columns.
    """
    shown = frame.iloc[:MAX_TABLE_ROWS, :MAX_TABLE_COLUMNS]
    if not shown.size:
        raise VariedError("The table is empty; at least one row and one column are required.")
    columns = [shown.iloc[:, index] for index in range(shown.shape[1])]
    texts = [[style.truncate(c.name, 9, NAME_WIDTH), *_format_cells(c)] for c in columns]
    widths = [max(style.text_width(text, 9) for text in column) + 16 for column in texts]
    rows, width = list(zip(*texts, strict=True)), sum(widths)
    figure = style.new_figure(width / 72, 0.235 * len(rows))
    ax = figure.subplots()
    ax.set_axis_off()
    counts = [("rows", len(shown), len(frame)), ("columns", len(columns), frame.shape[1])]
    parts = [f"{n} of {total:,} {what}" for what, n, total in counts if n < total]
    ax.set_title(f"First {' and '.join(parts)}" if parts else "", loc="left", **style.TITLE)
    box: Any = (0, 0, 1, 1)  # the type hints of `bbox` omit tuples
    table = ax.table(rows, colWidths=[w / width for w in widths], bbox=box, edges="B")
    table.auto_set_font_size(False)
    for (row, index), cell in table.get_celld().items():
        is_muted = row == 0 or rows[row][index] == MISSING
        text: dict[str, Any] = {"color": style.MUTED if is_muted else style.INK, "fontsize": 9}
        text["ha"] = "right" if columns[index].dtype.kind in NUMERIC else "left"
        cell.set_text_props(**text, **style.text_properties())
        cell.set(edgecolor=style.GRID if row else style.AXIS, linewidth=0.6)
        cell.PAD = 8 / widths[index]
    return style.save(figure, path)


def _format_cells(column: pd.Series) -> list[str]:
    """Return the cells of a column as text; all numbers have the same number of decimals."""
    import pandas as pd

    values = column.dropna().convert_dtypes()  # whole floats become integers
    if values.dtype.kind == "f":
        with pd.option_context("display.precision", 3):
            text = values.astype("float64").to_string(index=False, header=False)
        texts = iter(text.split())
    else:
        texts = iter(values.astype(str))
    cells = [next(texts) if is_known else MISSING for is_known in column.notna()]
    if column.dtype.kind in NUMERIC:
        return [cell.replace("-", "−") for cell in cells]
    return [style.truncate(cell, 9, NAME_WIDTH) for cell in cells]


def nll_bars(names: Sequence[str], nll: Array, path: StrPath) -> Path:
    """Draw the negative log-likelihood of each column in decreasing order.

    If there are more than 30 columns, those with the lowest values are combined into one bar.

    Arguments:
        names: The names of the columns.
        nll: The negative log-likelihood of each column in nats per row, with shape (D). It is
            negative if the density is above 1.
        path: The file to write.

    Returns:
        The path.

    Raises:
        VariedError: If the number of values differs from the number of names, or is 0.
    """
    values = np.nan_to_num(np.asarray(nll, float))
    if not len(names) or values.shape != (len(names),):
        raise VariedError(
            f"Values of shape {values.shape} do not match {len(names)} names; exactly one value "
            "per name is required."
        )
    order = np.argsort(-values, kind="stable")
    shown = order if len(order) <= MAX_BARS else order[: MAX_BARS - 1]
    labels = [style.truncate(names[index], 9, 170) for index in shown]
    lengths = values[shown]
    if len(shown) < len(order):
        labels.append(f"{len(order) - len(shown)} others")
        lengths = np.append(lengths, values[order[len(shown) :]].sum())
    figure = style.new_figure(7.0, 0.24 * len(labels) + 1.05)
    ax = figure.subplots()
    total = f"{style.format_number(values.sum())} nats per row in total"
    title = f"{total}, most for {labels[0]}: {style.format_number(lengths[0])}"
    style.prepare_axes(ax, title, "negative log-likelihood (nats per row)")
    ax.grid(visible=False)
    bars = ax.barh(range(len(labels)), lengths, height=0.68, color=style.BLUE)
    for bar in bars[len(shown) :]:
        bar.set_color("#9a9a9a")
    ax.bar_label(bars, list(map(style.format_number, lengths)), padding=4, **style.NOTE)
    ax.margins(x=0.12)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.axvline(0, color=style.AXIS, linewidth=0.8)
    ax.spines["left"].set_visible(False)
    return style.save(figure, path)
