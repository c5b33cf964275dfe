"""Training curves: -ELBO, reconstruction and KL by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from varied.errors import VariedError
from varied.plots import style
from varied.plots.style import Array, StrPath

Rows = Sequence[Mapping[str, Any]]

NAME_WIDTH = 130  # points: the maximum width of a run name
EMPTY = "The training history is empty; train for at least one step."


@dataclass(frozen=True)
class Line:
    """A named series without its non-finite points."""

    name: str
    x: Array
    y: Array
    color: str
    dashes: str = "-"

    @classmethod
    def of(cls, name: str, x: Array, y: Array, color: str, dashes: str = "-") -> Line:
        """Return the line through the finite points."""
        finite = np.isfinite(x) & np.isfinite(y)
        return cls(name, x[finite], y[finite], color, dashes)


def loss_curves(history: Rows, path: StrPath) -> Path:
    """Draw the training and validation -ELBO, reconstruction and KL by epoch, in nats.

    For models without a KL, such as autoencoders and models with discrete codes, draw the loss and
    the reconstruction.

    Arguments:
        history: The rows of the metrics log, with ``epoch``, ``split`` ("train" or "validation"),
            ``loss``, ``reconstruction`` and ``kl`` in nats per example, and ``beta`` if the KL is
            weighted.
        path: The file to write.

    Returns:
        The path.

    Raises:
        VariedError: If the history is empty.
    """
    if not history:
        raise VariedError(EMPTY)
    panels = _panels(history)
    figure = style.new_figure(7.6, 0.5 + 2.3 * len(panels))
    axes = figure.subplots(len(panels), 1, sharex=True)
    for ax, (title, lines) in zip(axes, panels.items(), strict=True):
        style.prepare_axes(ax, f"{title} (nats)")
        _draw_panel(ax, lines, _kl_weight(history) if title == "KL" else None)
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    return style.save(figure, path)


def loss_overlay(histories: Mapping[str, Rows], path: StrPath) -> Path:
    """Draw the validation -ELBO of several runs on the same axes.

    For a run without a KL, draw the reconstruction instead, and add "(reconstruction)" to its name.

    Arguments:
        histories: The rows of the metrics log for each run name, as in `loss_curves`.
        path: The file to write.

    Returns:
        The path.

    Raises:
        VariedError: If no run has a finite validation loss.
    """
    lines = [
        _validation_line(name, _split(rows, "validation"), style.class_style(index)[0])
        for index, (name, rows) in enumerate(histories.items())
    ]
    if not any(len(line.y) for line in lines):
        raise VariedError("No run has a finite validation loss; train for at least one step.")
    figure = style.new_figure(7.6, 4.2)
    ax = figure.subplots()
    style.prepare_axes(ax, "Validation −ELBO (nats)", "epoch")
    _draw_panel(ax, lines)
    return style.save(figure, path)


def _validation_line(name: str, rows: Rows, color: str) -> Line:
    x, reconstruction, kl = (_column(rows, key) for key in ("epoch", "reconstruction", "kl"))
    name = style.truncate(name, 9, NAME_WIDTH)
    if np.isnan(kl).all():
        return Line.of(f"{name} (reconstruction)", x, reconstruction, color)
    return Line.of(name, x, reconstruction + kl, color)


def _split(history: Rows, name: str) -> Rows:
    return [row for row in history if row.get("split", "train") == name]


def _column(rows: Rows, name: str) -> Array:
    return np.array([row.get(name) for row in rows], float)  # None becomes NaN


def _panels(history: Rows) -> dict[str, list[Line]]:
    """Return the lines of each panel by title."""
    panels: dict[str, list[Line]] = {"−ELBO": [], "reconstruction": [], "KL": []}
    for split, color in (("train", style.BLUE), ("validation", style.RUST)):
        rows, names = _split(history, split), ("epoch", "reconstruction", "kl", "loss")
        x, reconstruction, kl, loss = (_column(rows, name) for name in names)
        negative_elbo = reconstruction + kl
        # The training loss is drawn only if it differs from -ELBO.
        if split == "train" and not np.allclose(loss, negative_elbo, 1e-3, equal_nan=True):
            panels["−ELBO"].append(Line.of("loss", x, loss, style.MUTED, ":"))
        for title, y in zip(panels, (negative_elbo, reconstruction, kl), strict=True):
            panels[title].append(Line.of(split, x, y, color))
    if any(len(line.y) for line in panels["KL"]):
        return panels
    return {"loss": panels["−ELBO"], "reconstruction": panels["reconstruction"]}


def _kl_weight(history: Rows) -> Line | None:
    """Return the line of the KL weight, rescaled to [0, 1], or None if the weight is constant."""
    rows = _split(history, "train")
    line = Line.of("", _column(rows, "epoch"), _column(rows, "beta"), style.MUTED, "--")
    if len(line.y) < 2 or np.ptp(line.y) == 0:
        return None
    low, high = line.y.min(), line.y.max()
    return replace(line, name=f"weight {low:.2g} to {high:.2g}", y=(line.y - low) / (high - low))


def _draw_panel(ax: Axes, lines: list[Line], weight: Line | None = None) -> None:
    lines = [line for line in lines if len(line.y)]
    low, high, maximum = _limits(lines)
    ax.set_ylim(low, high)
    labels = [f"{line.name} {style.format_number(line.y[-1])}" for line in lines]
    if weight is not None:
        lines = [*lines, replace(weight, y=low + (0.03 + 0.94 * weight.y) * (high - low))]
        labels.append(weight.name)
    for line in lines:
        is_sparse = len(line.y) == 1 or (line.name == "validation" and len(line.y) <= 40)
        width, marker = (1.6 if line.dashes == "-" else 1.0), ("o" if is_sparse else "")
        options: dict[str, Any] = {"linewidth": width, "marker": marker, "markersize": 3.5}
        ax.plot(line.x, line.y, line.dashes, color=line.color, **options)
    if maximum > high:
        text = f"maximum {style.format_number(maximum)} (off scale)"
        place = (1, 1.03)  # above the panel, where no line can be
        ax.annotate(text, place, xycoords="axes fraction", ha="right", va="bottom", **style.NOTE)
    ends = [(line.y[-1] - low) / (high - low) for line in lines]
    heights = style.avoid_overlap(ends, 0.1, 0.03, 0.97)
    for line, label, height in zip(lines, labels, heights, strict=True):
        options = {"color": line.color, "fontsize": 9, "va": "center"}
        ax.annotate(label, (1.02, height), xycoords="axes fraction", **options)


def _limits(lines: list[Line]) -> tuple[float, float, float]:
    """Return the y limits and the maximum; the limits ignore high values in the first steps."""
    if not lines:
        return 0.0, 1.0, 1.0
    x, y = np.concatenate([(line.x, line.y) for line in lines], axis=1)
    low, high = y.min(), y.max()
    late = y[x >= x.min() + 0.04 * np.ptp(x)]
    typical = max(np.quantile(late, 0.995), *(line.y[-1] for line in lines))
    if len(late) > 10 and high - low > 1.6 * (typical - low) > 0:
        high = typical
    margin = 0.07 * (high - low) or 0.05 * abs(high) or 0.5
    return float(low - margin), float(high + margin), float(y.max())
