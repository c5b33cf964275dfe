"""The nearest training row of each sample, and a test for near-duplicates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied import plots
from varied.errors import VariedError
from varied.evaluate.distances import nearest
from varied.runs.base import RunBase
from varied.runs.result import Result
from varied.seeding import permutation

Array = npt.NDArray[Any]

#: The maximum and minimum numbers of samples and held-out rows in the test for near-duplicates.
MAX_SAMPLES, MIN_SAMPLES = 1000, 20
#: The number of samples that are plotted.
_PLOTTED = 60


@dataclass(frozen=True, repr=False)
class NearestTraining:
    """Samples, each with its nearest training row.

    Arguments:
        pairs: The samples and their nearest training rows, with shape (2, N).
        index: The index of the nearest training row of each sample, int64 with shape (N).
        distance: The distance of each sample to its nearest training row, float64 with shape (N).
            It is the Euclidean distance between pixel values in [0, 1], or between numbers in units
            of standard deviations; for tables, it is a fraction of the largest possible distance.
        warning: A warning if samples are near-duplicates of training rows, otherwise None.
    """

    pairs: Result
    index: Array
    distance: Array
    warning: str | None

    def __repr__(self) -> str:
        copies = "with a warning" if self.warning else "without a warning"
        return f"NearestTraining({self.pairs.shape[1]:,} pairs, {copies})"

    def _repr_html_(self) -> str:
        return self.pairs._repr_html_()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the written table, such as renamed columns."""
        return self.pairs.notes

    def save(self, path: str | Path) -> Path:
        """Write the pairs; see `Result.save`."""
        return self.pairs.save(path)


def nearest_training(run: RunBase, samples: Result, *, seed: int = 0) -> NearestTraining:
    """Find the nearest training row of each sample, and test for near-duplicates.

    Rows of arrays that have missing values are not searched.

    Arguments:
        run: The run.
        samples: The result of `sample`.
        seed: The random seed for the selection of test rows.

    Raises:
        VariedError: If all training rows have missing values.
    """
    training, test = run.split("train"), run.split("test")
    held_out = test.take(permutation(len(test), seed, "beside")[:MAX_SAMPLES].numpy())
    if run.codec.column_names:
        return _nearest_records(run, samples, training.x, held_out.x, seed)
    codec = run.codec
    x, known = codec.to_distances(samples.array), codec.to_distances(training)
    rows = _complete_rows(known)
    if not len(rows):
        raise VariedError(
            "All training rows have missing values, so samples cannot be compared with them; fill "
            "the values with `varied impute`, and train on the result."
        )
    known = known[rows]
    index, distance = nearest(x, known)
    test_rows = codec.to_distances(held_out)
    test_rows = test_rows[_complete_rows(test_rows)]
    warning = None
    if min(len(x), len(known), len(test_rows)) >= MIN_SAMPLES:
        from varied.evaluate.memorization import memorization

        warning = memorization(x[:MAX_SAMPLES], known, test_rows, seed=seed).warning
    draw = partial(_draw, distance=distance.numpy())
    result = run.result(torch.cat([x, known[index]]), draw, {}, (2, len(x)))
    return NearestTraining(result, rows[index].numpy(), distance.numpy(), warning)


def _complete_rows(x: Tensor) -> Tensor:
    """Return the indices of the rows without missing values."""
    return torch.nonzero(~x.isnan().flatten(1).any(1))[:, 0]


def _nearest_records(
    run: RunBase, samples: Result, training: Any, held_out: Any, seed: int
) -> NearestTraining:
    """Find the closest training row of each sample from a table, and test for near-duplicates."""
    import pandas as pd

    from varied.evaluate.dcr import distance_to_closest_record

    learned = list(run.codec.column_names)
    records = distance_to_closest_record(
        samples.array[learned],
        training[learned],
        held_out[learned],
        max_rows=len(samples),
        seed=seed,
    )
    parts = (samples.array.iloc[records.rows], training.iloc[records.index])
    shape, axes = (2, len(records.rows)), {"which": ("sample", "nearest"), "row": None}
    rows = run.codec.arrange(pd.concat(parts, ignore_index=True), shape, axes)
    pairs = Result(run.codec, rows, samples.images, samples.draw, shape)
    warning = None
    if records.is_close:
        warning = (
            f"Samples are closer to training rows than held-out rows are ({records}); inspect the "
            "closest pairs, and train for a shorter time or on more data."
        )
    return NearestTraining(pairs, records.index, records.distance, warning)


def _draw(images: Array, path: Path, *, distance: Array) -> Path:
    """Plot samples above their nearest training rows."""
    samples, training = images[0][:_PLOTTED], images[1][:_PLOTTED]
    titles = ("sample", "nearest in training")
    if images.dtype == np.uint8:
        captions = [f"{d:.2f}" for d in distance[:_PLOTTED]]
        return plots.pairs(samples, training, path, captions=captions, titles=titles)
    curves, other = (half.reshape(len(half), -1)[:32] for half in (samples, training))
    return plots.curves(curves, path, overlay=other, names=titles)
