"""How training went: -ELBO, reconstruction and KL over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator

from varied.errors import VariedError
from varied.plots.style import (
    BLUE,
    MUTED,
    RUST,
    Array,
    StrPath,
    avoid_overlap,
    class_style,
    number,
    plain,
    save,
    sheet_of,
    style_axes,
)

__all__ = ["loss_curves", "loss_overlay"]

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Line:
    """One series of a panel, without the points that are not finite."""

    name: str
    x: Array
    y: Array
    color: str
    style: str = "-"

    @classmethod
    def of(cls, name: str, x: Array, y: Array, color: str, style: str = "-") -> Line:
        """Return the line through the finite points."""
        fine = np.isfinite(x) & np.isfinite(y)
        return cls(name, x[fine], y[fine], color, style)


def loss_curves(history: Rows, path: StrPath) -> Path:
    """Draw -ELBO, reconstruction and KL over the epochs, in nats, for training and validation.

    Without a KL, as of an autoencoder or of codes, the loss and the reconstruction are drawn.

    Arguments:
        history: Rows of the metrics log: `step`, `epoch`, `split` ("train" or "validation"),
            `loss`, `reconstruction`, `kl` in nats per datum, and `beta` where the KL has a weight.
        path: The picture to write.

    Returns:
        The path.

    Raises:
        VariedError: If the history has no row.
    """
    if not history:
        raise VariedError("There is no history to draw yet: train for at least one step.")
    panels = _panels(history)
    deep = len(panels)
    figure = sheet_of(7.6, 0.5 + 2.3 * deep)
    axes = figure.subplots(deep, 1, sharex=True)
    figure.subplots_adjust(
        left=0.095, right=0.79, top=1 - 0.135 / deep, bottom=0.21 / deep, hspace=0.24
    )
    for ax, (title, lines) in zip(axes, panels.items(), strict=True):
        style_axes(ax, title)
        ax.set_title("nats per datum", loc="right", fontsize=9, color=MUTED)
        _panel(ax, lines, _weight(history) if title == "KL" else None)
    axes[-1].set_xlabel(_clock(history))
    places = np.unique(_column(history, _clock(history)))
    one = len(places) == 1 and np.isfinite(places[0])
    ticks = FixedLocator(places.tolist()) if one else MaxNLocator(8, steps=[1, 2, 5, 10])
    axes[-1].xaxis.set_major_locator(ticks)
    return save(figure, path)


def loss_overlay(histories: Mapping[str, Rows], path: StrPath) -> Path:
    """Draw the -ELBO of several runs on their validation rows, on the same axes.

    Where a run has no KL, its reconstruction stands for it, and its name says so.

    Arguments:
        histories: The rows of the metrics log of each run by its name, as for `loss_curves`.
        path: The picture to write.

    Returns:
        The path.

    Raises:
        VariedError: If no run has a validation row.
    """
    lines = [
        _whole(name, _split(rows, "validation"), class_style(index)[0])
        for index, (name, rows) in enumerate(histories.items())
    ]
    if not any(len(line.y) for line in lines):
        raise VariedError("There is no history to draw yet: train for at least one step.")
    figure = sheet_of(7.6, 4.2)
    figure.subplots_adjust(left=0.095, right=0.74, top=0.9, bottom=0.13)
    ax = figure.subplots()
    style_axes(ax, "−ELBO on the validation rows", "epoch")
    ax.set_title("nats per datum", loc="right", fontsize=9, color=MUTED)
    _panel(ax, lines, None)
    return save(figure, path)


def _whole(name: str, rows: Rows, color: str) -> Line:
    x, d, r = (_column(rows, key) for key in ("epoch", "reconstruction", "kl"))
    name = plain(name)
    if np.isnan(r).all():
        return Line.of(f"{name} (reconstruction)", x, d, color)
    return Line.of(name, x, d + r, color)


def _clock(rows: Rows) -> str:
    return "epoch" if any(row.get("epoch") is not None for row in rows) else "step"


def _split(history: Rows, name: str) -> Rows:
    return [row for row in history if row.get("split", "train") == name]


def _column(rows: Rows, name: str) -> Array:
    return np.array([np.nan if (v := row.get(name)) is None else v for row in rows], float)


def _panels(history: Rows) -> dict[str, list[Line]]:
    """Return the lines of each panel by its title; where there is no KL, there is no -ELBO."""
    elbo, distortion, rate = [], [], []
    for split, color in (("train", BLUE), ("validation", RUST)):
        rows = _split(history, split)
        x, d, r = (_column(rows, name) for name in (_clock(history), "reconstruction", "kl"))
        elbo.append(Line.of(split, x, d + r, color))
        distortion.append(Line.of(split, x, d, color))
        rate.append(Line.of(split, x, r, color))
        loss = Line.of("loss", x, _column(rows, "loss"), MUTED, ":")
        # The loss is shown only where it is something else than -ELBO, and under its own name.
        if split == "train" and not np.allclose(_column(rows, "loss"), d + r, 1e-3, equal_nan=True):
            elbo.insert(0, loss)
    if any(len(line.y) for line in rate):
        return {"−ELBO (reconstruction + KL)": elbo, "reconstruction": distortion, "KL": rate}
    return {"loss": elbo, "reconstruction": distortion}


def _weight(history: Rows) -> Line | None:
    """Return the weight of the KL, from 0 to 1 as the lowest to the highest, where it moves."""
    rows = _split(history, "train")
    line = Line.of("", _column(rows, _clock(history)), _column(rows, "beta"), MUTED, "--")
    if len(line.y) < 2 or np.ptp(line.y) == 0:
        return None
    low, high = line.y.min(), line.y.max()
    share = (line.y - low) / (high - low)
    return replace(line, name=f"weight {low:.2g} to {high:.2g}", y=share)


def _panel(ax: Axes, lines: list[Line], weight: Line | None) -> None:
    lines = [line for line in lines if len(line.y)]
    low, high, top = _limits(lines)
    ax.set_ylim(low, high)
    names = [f"{line.name} {number(line.y[-1])}" for line in lines]
    if weight is not None:
        lines = [*lines, replace(weight, y=low + (0.03 + 0.94 * weight.y) * (high - low))]
        names.append(weight.name)
    for line in lines:
        sparse = len(line.y) == 1 or (line.name == "validation" and len(line.y) <= 40)
        ax.plot(
            line.x,
            line.y,
            line.style,
            color=line.color,
            linewidth=1.6 if line.style == "-" else 1.0,
            marker="o" if sparse else "",
            markersize=3.5,
        )
    if top > high:
        note = f"begins above, at {number(top)}"
        style: dict[str, Any] = {"ha": "right", "va": "top", "color": MUTED}
        ax.annotate(note, (0.99, 0.95), xycoords="axes fraction", fontsize=8, **style)
    _name_ends(ax, lines, names)


def _limits(lines: list[Line]) -> tuple[float, float, float]:
    """Return limits that the first steps do not stretch, and the highest value of all."""
    if not lines:
        return 0.0, 1.0, 1.0
    x, y = (np.concatenate([getattr(line, axis) for line in lines]) for axis in ("x", "y"))
    low, high = y.min(), y.max()
    late = y[x >= x.min() + 0.04 * np.ptp(x)]
    usual = max(np.quantile(late, 0.995), *(line.y[-1] for line in lines))
    if high - low > 1.6 * (usual - low) > 0:
        high = usual
    pad = 0.07 * (high - low) or 0.05 * abs(high) or 0.5
    return float(low - pad), float(high + pad), float(y.max())


def _name_ends(ax: Axes, lines: list[Line], names: list[str]) -> None:
    low, high = ax.get_ylim()
    places = [(line.y[-1] - low) / (high - low) for line in lines]
    for line, name, place in zip(lines, names, avoid_overlap(places, 0.1, 0.03, 0.97), strict=True):
        style: dict[str, Any] = {"xycoords": "axes fraction", "va": "center", "color": line.color}
        ax.annotate(name, (1.02, place), fontsize=9, **style)
