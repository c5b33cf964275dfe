"""Which data are strange, how sure that is, and what makes them so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps

from varied import plots
from varied.data import RawData
from varied.data.codecs import Codec, TableCodec
from varied.data.tables import SUFFIXES, TableDialect
from varied.errors import VariedError
from varied.evaluate.detection import Threshold, p_values, threshold
from varied.functional import AnomalyScorer, AnomalyScores

__all__ = ["AnomalyReport", "detect"]

Array = npt.NDArray[Any]

#: Columns that are named as the reason, and nats above normal from which one is.
NAMED, TELLING = 3, 1.0
#: The strangest pictures that are drawn.
DRAWN = 20


@dataclass(frozen=True)
class AnomalyReport:
    """How strange each datum is, beside normal ones that the model never saw.

    Arguments:
        score: How strange it is, float64 with shape (N); higher is stranger.
        nats: -log p(x), by importance samples, with shape (N).
        distance: From the nearest datum of the training, with shape (N).
        p: The share of normal data that are at least as strange, with shape (N); calibrated.
        line: The score above which a datum alarms, and what is promised of false alarms; None
            where the normal data are too few for the promise.
        excess: What each column or each element costs above its median in normal data, with shape
            (N, columns) or (N, *event), in nats.
        items: The data.
        columns: The names of the columns, for a table.
        looks: The data as they are looked at.
        form: How the table was written.
    """

    score: Array
    nats: Array
    distance: Array
    p: Array
    line: Threshold | None
    excess: Array
    items: RawData
    columns: tuple[str, ...]
    looks: Array
    form: dict[str, Any]

    @property
    def is_anomaly(self) -> Array:
        """Which data alarm, as bool with shape (N); none where there is no line."""
        return (
            np.zeros(len(self.score), bool)
            if self.line is None
            else self.line.is_anomaly(self.score)
        )

    @property
    def reasons(self) -> list[str]:
        """The columns that make each row strange, and their nats above normal; none for others."""
        if not self.columns:
            return [""] * len(self.score)
        gaps = self.items.x[list(self.columns)].isna().to_numpy()
        pairs = zip(self.excess, gaps, strict=True)
        return [_because(row, self.columns, gone) for row, gone in pairs]

    @property
    def frame(self) -> Any:
        """A row for each datum as a `pandas.DataFrame`; of a table, with the person's columns."""
        import pandas as pd

        names = self.items.names or range(1, len(self.score) + 1)
        found = pd.DataFrame({"name" if self.items.names else "row": list(names)})
        found["score"], found["p"] = self.score.round(3), self.p.round(6)
        found["strange"] = self.is_anomaly
        if self.columns:
            found["because"] = self.reasons
        found["nats"], found["distance"] = self.nats.round(3), self.distance.round(4)
        if self.items.kind != "table":
            return found
        own = self.items.x.rename(columns={c: f"{c}_" for c in found.columns})
        return pd.concat([found, own.reset_index(drop=True)], axis=1)

    def __repr__(self) -> str:
        return f"Detected({self.is_anomaly.sum():,} of {len(self.score):,} are strange)"

    def save(self, path: str | Path) -> Path:
        """Write the scores, or draw the strangest data.

        Arguments:
            path: ``.csv`` and its kin for a row for each datum, strangest first; ``.png`` for the
                strangest pictures, each above what makes it strange.

        Raises:
            VariedError: If the ending is not known, or does not suit the data.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        order = np.argsort(-self.score, kind="stable")
        if path.name.lower().endswith(SUFFIXES):
            from varied.data.tables import write_table

            return write_table(self.frame.iloc[order], path, TableDialect.from_json(self.form))
        if path.suffix.lower() == ".png" and self.looks.dtype == np.uint8:
            return self._draw(order[:DRAWN], path)
        raise VariedError(f"'{path.name}': save scores as .csv, or pictures as .png.")

    def _draw(self, rows: Array, path: Path) -> Path:
        heat = self.excess[rows].clip(0).sum(1)
        most = np.quantile(heat, 0.995) or 1.0
        warm = (colormaps["magma"](heat / most)[..., :3] * 255).astype(np.uint8)
        shown = self.looks[rows]
        color = shown if shown.ndim == 4 else np.repeat(shown[..., None], 3, -1)
        captions = [f"{self.score[i]:.1f}" for i in rows]
        titles = ("strangest", "because")
        return plots.pairs(color, warm, path, captions=captions, titles=titles)


def detect(
    codec: Codec,
    items: RawData,
    normal: AnomalyScorer,
    found: AnomalyScores,
    usual: AnomalyScores,
    looks: Array,
    *,
    rate: float,
    known: int,
) -> AnomalyReport:
    """Return how strange data are beside normal ones.

    Arguments:
        codec: What the run knows of its data.
        items: The data.
        normal: What normal data are like.
        found: How strange the data are.
        usual: How strange normal data are that the model was not trained on.
        looks: The data as they are looked at.
        rate: The share of false alarms that may be.
        known: How many rows the model learned.
    """
    cost, often, nats = found.cost, usual.cost, found.nats
    columns: tuple[str, ...] = ()
    form: dict[str, Any] = {}
    if isinstance(codec, TableCodec):
        columns, form = tuple(column.name for column in codec.learned), dict(codec.form)
        cost, often = (codec.layout.by_column(one) for one in (cost, often))
        # A level that none of n rows had costs as much as one that a row in n has.
        new = torch.from_numpy(math.log(known) * codec.unseen(items))
        cost, nats = cost + new.float(), nats + new.sum(1)
    score = normal.score(nats, found.distance).numpy()
    others = usual.score.numpy()
    try:
        line = threshold(others, max_fpr=rate)
    except VariedError:
        line = None
    excess, distance = (cost - often.median(0).values).numpy(), found.distance.numpy()
    p = p_values(score, others)
    return AnomalyReport(
        score, nats.numpy(), distance, p, line, excess, items, columns, looks, form
    )


def _because(excess: Array, names: Sequence[str], gone: Array) -> str:
    """Name the columns that cost most; one whose cell is missing is said to be."""
    order = [i for i in np.argsort(-excess)[:NAMED] if excess[i] > TELLING]
    said = [f"{names[i]} missing" if gone[i] else names[i] for i in order]
    return ", ".join(f"{name} +{excess[i]:.1f}" for name, i in zip(said, order, strict=True))
