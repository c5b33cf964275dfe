"""Anomaly detection: scores, p-values, a threshold, and the reasons for each score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from varied import plots
from varied.data import Codec, RawData, iter_batches
from varied.data.codecs.invalid_cells import InvalidCells, describe_invalid_cells
from varied.data.tables import SUFFIXES, describe_renaming, free_names
from varied.errors import VariedError
from varied.evaluate.anomaly_threshold import Threshold, p_values, threshold
from varied.runs.anomaly_reference import anomaly_reference
from varied.runs.base import BATCH_ROWS, RunBase
from varied.seeding import seeded

Array = npt.NDArray[Any]

#: The default numbers of importance samples for tables and for other data.
_TABLE_SAMPLES, _SAMPLES = 5, 100
#: The maximum number of columns that are listed as reasons, and their minimum excess in nats.
_MAX_REASONS, _MIN_NATS = 3, 1.0
#: The columns that are added to the columns of a table.
_COLUMNS = ("row", "is_anomaly", "score", "nll", "distance", "p_value", "reason", "threshold")
#: The number of images that are plotted.
_PLOTTED = 20


@dataclass(frozen=True, repr=False)
class AnomalyReport:
    """Anomaly scores of examples, compared with the validation rows of the run.

    Arguments:
        score: The anomaly score, float64 with shape (N); higher is more anomalous.
        nll: -log p(x) in nats, by importance sampling, with shape (N).
        distance: The distance to the nearest training row, with shape (N).
        p_value: The conformal p-value of the score, with shape (N); see `varied.evaluate.p_values`.
        threshold: The score above which an example is anomalous, with a guaranteed bound on the
            false-positive rate; None if there are too few validation rows for a guarantee.
        normal_score: The anomaly scores of the validation rows, with shape (M).
        excess: The negative log-likelihood of each column or element minus its median over the
            validation rows, in nats, with shape (N, columns) or (N, *event). It is 0 for the
            missing values of an array.
        data: The examples.
        images: The examples in the form in which they are plotted.
        codec: The codec of the run.
        invalid: The cells that make a row anomalous regardless of its score; see `detect`.
        notes: Messages about the data, such as unseen levels or a separate cluster.
    """

    score: Array
    nll: Array
    distance: Array
    p_value: Array
    threshold: Threshold | None
    normal_score: Array
    excess: Array
    data: RawData
    images: Array
    codec: Codec
    invalid: tuple[InvalidCells, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_anomaly(self) -> Array:
        """Whether each example is anomalous, as bool with shape (N).

        An example is anomalous if its score is above the threshold, or one of its cells is invalid.
        """
        masks = [cells.mask for cells in self.invalid]
        if self.threshold is not None:
            masks.append(np.asarray(self.threshold.is_anomaly(self.score)))
        return np.asarray(np.logical_or.reduce([np.zeros(len(self.score), bool), *masks]))

    @property
    def reasons(self) -> list[str]:
        """The columns that make each row of a table anomalous, with their excess in nats."""
        names = self.codec.column_names
        if not names:
            return [""] * len(self.score)
        is_missing = self.data.x[list(names)].isna().to_numpy()
        excess = self.excess.copy()
        reasons: list[list[str]] = [[] for _ in self.score]
        for cells in self.invalid:
            for row in np.flatnonzero(cells.mask).tolist():
                reasons[row].append(cells.reason(row))
            if cells.column in names:
                excess[cells.mask, names.index(cells.column)] = 0
        rows = zip(reasons, excess, is_missing, strict=True)
        texts = [[*each, _reason(values, missing, names)] for each, values, missing in rows]
        return [", ".join(filter(None, each)) for each in texts]

    @property
    def frame(self) -> Any:
        """A `pandas.DataFrame` with one row per example; for tables, it includes their columns."""
        import pandas as pd

        names = self.data.names
        frame = pd.DataFrame(
            {
                "row" if names is None else "name": names or range(1, len(self.score) + 1),
                "is_anomaly": self.is_anomaly,
                "score": self.score.round(3),
                "nll": self.nll.round(3),
                "distance": self.distance.round(4),
                "p_value": self.p_value.round(6),
            }
        )
        if self.codec.column_names:
            frame["reason"] = self.reasons
        frame["threshold"] = math.nan if self.threshold is None else round(self.threshold.value, 3)
        if not self.data.is_frame:
            return frame
        added = _added_names(self.data, self.codec)
        columns = self.data.x.reset_index(drop=True)
        return pd.concat([frame.rename(columns=added), columns], axis=1)

    def __repr__(self) -> str:
        return f"AnomalyReport({self.is_anomaly.sum():,} of {len(self.score):,} are anomalous)"

    def save(self, path: str | Path) -> Path:
        """Write the scores, or plot the most anomalous images.

        Arguments:
            path: The file to write. ``.csv``, ``.tsv``, ``.parquet`` and ``.feather`` files contain
                one row per example, with the most anomalous first. A ``.png`` file shows the most
                anomalous images, each above a map of the excess of its pixels; for molecules, it
                shows drawings without maps.

        Raises:
            VariedError: If the file extension is not supported, or ``.png`` is used for data other
                than images.
        """
        path = Path(path)
        if path.name.lower().endswith(SUFFIXES):
            return self.codec.write_table(self.frame.iloc[self.order], path)
        if path.suffix.lower() == ".png" and self.images.dtype == np.uint8:
            return self._plot(self.order[:_PLOTTED], path)
        raise VariedError(
            f"'{path.name}' does not have a supported file extension; use .csv, .tsv, .parquet or "
            ".feather, or .png for images and molecules."
        )

    def excess_maps(self, rows: Array) -> Array | None:
        """Return maps of the excess of the pixels of images, uint8 with shape (len(rows), H, W, 3).

        The result is None if the data are not images; drawings, as of molecules, have no maps.
        """
        from matplotlib import colormaps

        if self.images.dtype != np.uint8 or self.excess.ndim < 4:
            return None
        excess = self.excess[rows].clip(0).sum(1)
        if excess.shape[1:] != self.images.shape[1:3]:
            return None
        scale = (np.quantile(excess, 0.995) if excess.size else 1.0) or 1.0
        colors = colormaps["magma"](excess / scale)[..., :3]
        return np.asarray(colors * 255).astype(np.uint8)

    def _plot(self, rows: Array, path: Path) -> Path:
        images, captions = self.images[rows], [f"{self.score[i]:.1f}" for i in rows]
        maps = self.excess_maps(rows)
        if maps is None:
            return plots.grid(images, path, captions=captions)
        images = images if images.ndim == 4 else np.repeat(images[..., None], 3, -1)
        titles = ("most anomalous", "excess")
        return plots.pairs(images, maps, path, captions=captions, titles=titles)

    def _repr_html_(self) -> str:
        return str(self.frame.iloc[self.order]._repr_html_())

    @property
    def order(self) -> Array:
        """The indices of the examples, with the most anomalous first."""
        return np.argsort(-self.score, kind="stable")


def detect(
    run: RunBase,
    source: Any = None,
    *,
    method: str = "both",
    samples: int | None = None,
    max_fpr: float = 0.05,
    seed: int = 0,
) -> AnomalyReport:
    """Score how anomalous examples are, compared with the validation rows of the run.

    A row of a table is always anomalous if one of its cells is invalid: the cell cannot be read,
    has a level that does not occur in the training rows, differs from a value that is the same in
    all training rows, or violates a relation that holds in all training rows. If such cells occur
    in the same column of validation rows, the cell only increases the score.

    If values of an array are missing, -log p(x) and the distance are computed from the observed
    values. They are compared with the values for training rows in which the same elements are
    hidden, so that the score does not depend on how many are missing.

    Arguments:
        run: The run.
        source: The data; None uses the test rows.
        method: "density" (-log p(x)), "distance" (to the nearest training row) or "both"; see
            `varied.functional.AnomalyScorer`.
        samples: The number of importance samples per example; None uses 5 for tables, where more
            samples hardly change the order of the scores, and 100 for other data.
        max_fpr: The maximum allowed false-positive rate of the threshold.
        seed: The random seed; the score of an example depends only on the seed and the example.

    Raises:
        VariedError: If the model has no density, the method is unknown, or ``max_fpr`` is not above
            0 and below 1.
    """
    if not 0 < max_fpr < 1:
        raise VariedError(f"max_fpr={max_fpr} must be above 0 and below 1, such as 0.05.")
    require_density(run)
    original = run.split("test") if source is None else run.read_source(source)
    data, codec = run.codec.convert(original), run.codec
    samples = samples or (_TABLE_SAMPLES if codec.column_names else _SAMPLES)
    reference = anomaly_reference(run, method, samples, seed)
    batch = run.encode_data(data)
    scores = reference.scorer.score(iter_batches(batch.x, batch.c, batch.mask, size=BATCH_ROWS))
    invalid = codec.invalid_cells(original)
    element_nll, cost = reference.add_cost(codec, scores, invalid)
    excess = element_nll - reference.median
    if batch.mask is not None:
        excess = excess.masked_fill(batch.mask == 0, 0.0)
    strict = [cells for cells in invalid if (cells.column, cells.expected) not in reference.common]
    combine = reference.scorer.combine
    score, normal_score = (
        combine(*parts).numpy()
        for parts in (
            (scores.scaled_nll + cost, scores.scaled_distance),
            (reference.nll, reference.distance),
        )
    )
    n_invalid = sum((cells.mask for cells in strict), np.zeros(len(score)))
    score = np.where(n_invalid, np.maximum(score, normal_score.max()) + n_invalid, score)
    with seeded(run.spec.plan.seed, "look"):
        images = codec.to_images(codec.load(batch.x))
    return AnomalyReport(
        score,
        (scores.nll + cost).numpy(),
        scores.distance.numpy(),
        p_values(score, normal_score),
        _guaranteed_threshold(normal_score, max_fpr),
        normal_score,
        excess.nan_to_num(0.0).numpy(),
        original,
        images,
        codec,
        tuple(strict),
        (
            *reference.notes(),
            *describe_invalid_cells(invalid),
            *describe_renaming(_added_names(original, codec)),
        ),
    )


def require_density(run: RunBase) -> None:
    """Check that the model has a density.

    Raises:
        VariedError: If it does not.
    """
    if not run.has_density:
        raise VariedError("Anomaly scores require a model with a density; train a VAE.")


def _added_names(data: RawData, codec: Codec) -> dict[str, str]:
    """Return the name of each column that is added to the columns of a table."""
    return free_names(_COLUMNS, {*data.columns, *codec.source_columns})


def _guaranteed_threshold(normal_score: Array, max_fpr: float) -> Threshold | None:
    try:
        return threshold(normal_score, max_fpr=max_fpr)
    except VariedError:  # too few rows for the guarantee
        return None


def _reason(excess: Array, is_missing: Array, names: Sequence[str]) -> str:
    """Return a text that lists the columns with the largest excess NLL, in descending order."""
    if not (excess > _MIN_NATS).any():
        return ""
    columns = [i for i in np.argsort(-excess)[:_MAX_REASONS] if excess[i] > _MIN_NATS]
    texts = [f"{names[i]}{' missing' if is_missing[i] else ''} +{excess[i]:.1f}" for i in columns]
    return ", ".join(texts)
