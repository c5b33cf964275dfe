"""The reference for anomaly scores, computed once and stored in the run folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from varied.data import Codec, RawData
from varied.data.codecs.invalid_cells import InvalidCells
from varied.data.splits import group_equal_rows
from varied.errors import VariedError
from varied.evaluate.separate_cluster import separate_cluster
from varied.functional import AnomalyScorer, AnomalyScores
from varied.runs.base import RunBase
from varied.seeding import permutation
from varied.tensor_io import digest_tensors, read_tensors, write_tensors

#: The maximum number of training rows to which distances are measured.
_MAX_TRAINING = 10_000
#: The maximum number of training rows that are searched for a separate cluster.
_MAX_CLUSTERED = 1000
#: The maximum size of the file in bytes; a larger reference, as for large images, is not stored.
_MAX_BYTES = 64 * 2**20
_FILE = "detector.safetensors"
#: The version of the file format; files with a different version are replaced.
_FORMAT = 3


@dataclass(frozen=True)
class AnomalyReference:
    """The values with which anomaly scores are compared, for any method and false-positive rate.

    Arguments:
        scorer: Scores rows by their density and their distance from training rows.
        nll: -log p(x) of the distinct validation rows, including the cost of invalid cells, on the
            scale of complete rows, with shape (M).
        distance: The distance from these rows to the nearest training row, on the scale of complete
            rows, with shape (M).
        median: The median negative log-likelihood of each column or element over the validation
            rows, with shape (columns) or (*event).
        cost: The cost of an invalid cell in nats: a level that does not occur in n training rows
            costs as much as one with frequency 1 / n.
        common: The kinds of invalid cells that occur in validation rows: pairs of `column` and
            `expected` of `InvalidCells`.
        cluster: The fraction of training rows in a small separate cluster, or 0; see
            `varied.evaluate.separate_cluster`.
    """

    scorer: AnomalyScorer
    nll: Tensor
    distance: Tensor
    median: Tensor
    cost: float
    common: frozenset[tuple[str, str]]
    cluster: float

    def notes(self) -> tuple[str, ...]:
        """Return a message if training rows form a separate cluster."""
        if not self.cluster:
            return ()
        return (
            f"{100 * self.cluster:.1f}% of the training rows form a small separate cluster, which "
            "is learned as normal; remove them if they are anomalies "
            "(varied.evaluate.separate_cluster finds them), and train again.",
        )

    def add_cost(
        self, codec: Codec, scores: AnomalyScores, invalid: Sequence[InvalidCells]
    ) -> tuple[Tensor, Tensor]:
        """Add the cost of invalid cells to -log p of their columns.

        Returns:
            The resulting -log p of each column or element; and the cost of each row, with shape
            (N).
        """
        return _add_cost(codec, scores, invalid, self.cost)


def anomaly_reference(run: RunBase, method: str, samples: int, seed: int) -> AnomalyReference:
    """Return the reference of a run, computed again only if the model or an option has changed.

    Arguments:
        run: The run.
        method: The method of the scorer.
        samples: The number of importance samples.
        seed: The random seed.
    """
    model = digest_tensors(run.model.state_dict())
    key = {"format": _FORMAT, "model": model, "samples": samples, "seed": seed}
    options: dict[str, Any] = {"method": method, "samples": samples, "seed": seed}
    with suppress(VariedError):  # a missing or corrupted file is written again
        tensors, notes = read_tensors(run.store / _FILE)
        if notes["key"] == key:
            scorer = AnomalyScorer.restore(run.model, run.codec.load, tensors, **options)
            common = frozenset((column, expected) for column, expected in notes["common"])
            nll, distance, median = (tensors[name] for name in ("nll", "distance", "median"))
            return AnomalyReference(
                scorer, nll, distance, median, notes["cost"], common, notes["cluster"]
            )
    reference = _compute(run, options)
    _store(run, reference, key)
    return reference


def _compute(run: RunBase, options: dict[str, Any]) -> AnomalyReference:
    training, validation = run.split("train"), run.split("validation")
    # Copies of a row are not independent, and say nothing about other rows.
    groups = group_equal_rows(validation, training)
    validation = validation.take(np.unique(groups, return_index=True)[1])
    rows = permutation(len(training), options["seed"], "normal")[:_MAX_TRAINING].numpy()
    batches = run.batches(training.take(rows))
    scorer = AnomalyScorer(run.model, run.codec.load, batches, **options)
    normal = scorer.score(run.batches(validation))
    invalid, cost = run.codec.invalid_cells(validation), math.log(len(training))
    element_nll, added = _add_cost(run.codec, normal, invalid, cost)
    median = run.with_missing(validation, element_nll).nanmedian(0).values
    common = frozenset((cells.column, cells.expected) for cells in invalid)
    nll = normal.scaled_nll + added
    cluster = _cluster_fraction(training.take(rows[:_MAX_CLUSTERED]), run.codec)
    return AnomalyReference(scorer, nll, normal.scaled_distance, median, cost, common, cluster)


def _cluster_fraction(data: RawData, codec: Codec) -> float:
    """Return the fraction of rows in a small separate cluster; tables use numeric columns only."""
    x = data.x.select_dtypes("number").to_numpy(np.float64) if data.is_frame else data.x
    if x.dtype.kind == "U":
        x = codec.to_distances(data).numpy()
    return float(separate_cluster(x).mean())


def _store(run: RunBase, reference: AnomalyReference, key: dict[str, Any]) -> None:
    tensors = reference.scorer.state() | {
        "nll": reference.nll,
        "distance": reference.distance,
        "median": reference.median,
    }
    if sum(tensor.nbytes for tensor in tensors.values()) > _MAX_BYTES:
        return
    common = sorted(map(list, reference.common))
    with suppress(OSError, VariedError):  # the folder may be read-only
        write_tensors(
            run.store / _FILE,
            tensors,
            key=key,
            cost=reference.cost,
            common=common,
            cluster=reference.cluster,
        )


def _add_cost(
    codec: Codec, scores: AnomalyScores, invalid: Sequence[InvalidCells], cost: float
) -> tuple[Tensor, Tensor]:
    element_nll, total = codec.by_column(scores.element_nll), torch.zeros_like(scores.nll)
    for cells in invalid:
        if cells.column in codec.column_names:
            added = torch.from_numpy(cost * cells.mask)
            element_nll[:, codec.column_names.index(cells.column)] += added.float()
            total += added
    return element_nll, total
