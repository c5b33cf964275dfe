"""Samples beside the training items that are nearest to them, and whether they are copies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied import plots
from varied.data import RawData
from varied.data.codecs import Codec, ImageCodec, TableCodec
from varied.evaluate.distances import nearest
from varied.runs.result import Draw, Result
from varied.runs.table_result import table_result
from varied.seeding import permutation

__all__ = ["NearestTraining", "nearest_training"]

Array = npt.NDArray[Any]

#: Made items, and held-out ones, that are looked at for copies; fewer tell nothing.
MOST, LEAST = 1000, 20
#: Samples that are drawn, and how many in a row.
DRAWN, ACROSS = 60, 10


@dataclass(frozen=True)
class NearestTraining:
    """Samples, each with the training item that is nearest to it.

    Arguments:
        pairs: Samples and training items; for pictures and arrays with shape (2, N, ...).
        index: Which of the training items each is, int64 with shape (N).
        distance: How far it is, float64 with shape (N): Euclidean, in brightness from 0 to 1 or in
            standard deviations; of a table the share of what could differ.
        warning: What a person should know before showing the samples, if anything.
    """

    pairs: Result
    index: Array
    distance: Array
    warning: str | None

    def save(self, path: str | Path) -> Path:
        """Write the pairs by the ending of the name, as any result."""
        return self.pairs.save(path)


def nearest_training(
    codec: Codec, made: Any, training: RawData, held: RawData, *, seed: int = 0
) -> NearestTraining:
    """Return made items with the training items that are nearest to them.

    Arguments:
        codec: What the run knows of its data.
        made: Made items in the person's own form, as the ``array`` of a result.
        training: The items that the run was trained on, all of them.
        held: Items that it never saw, by which a copy is told from a likeness.
        seed: Which held-out items, where there are many.
    """
    some = held.take(permutation(len(held), seed, "beside")[:MOST].numpy())
    if isinstance(codec, TableCodec):
        return _rows(codec, made, training, some, seed)
    rows, known = plain(codec, made), plain(codec, training)
    index, distance = nearest(rows, known)
    warning = None
    if min(len(rows), len(known), len(some)) >= LEAST:
        from varied.evaluate.memorization import memorization

        warning = memorization(rows[:MOST], known, plain(codec, some), seed=seed).warning
    both = np.stack([codec.decode(rows), codec.decode(known[index])])
    shown = np.stack([codec.to_images(rows), codec.to_images(known[index])])
    pairs = Result(both, shown, _drawn(distance.numpy()))
    return NearestTraining(pairs, index.numpy(), distance.numpy(), warning)


def _rows(
    codec: TableCodec, made: Any, training: RawData, held: RawData, seed: int
) -> NearestTraining:
    import pandas as pd

    from varied.evaluate.dcr import distance_to_closest_record

    learned = [column.name for column in codec.learned]
    found = distance_to_closest_record(
        made[learned], training.x[learned], held.x[learned], max_rows=len(made), seed=seed
    )
    parts = (made.iloc[found.rows], training.x.iloc[found.index])
    both = pd.concat([part.reset_index(drop=True) for part in parts], keys=range(2))
    turned = both.swaplevel().sort_index(kind="stable").reset_index(drop=True)
    names = {"row": None, "which": ("sample", "nearest")}
    pairs = table_result(turned, codec.form, (len(found.rows), 2), names)
    return NearestTraining(pairs, found.index, found.distance, _warning(found))


def _warning(found: Any) -> str | None:
    """Return what to know of made rows that are closer to training rows than others are."""
    if not found.is_close:
        return None
    return (
        f"Samples are closer to training rows than held-out rows are ({found}); look at the "
        "closest pairs, and train for less long or on more data."
    )


def plain(codec: Codec, items: Any) -> Tensor:
    """Return items, or an array of them, as the model's numbers, whatever a mean may be."""
    if isinstance(codec, ImageCodec):
        return codec.encode(items).float() / 255
    if codec.domain == "real" or isinstance(items, RawData):
        return codec.encode(items)
    return torch.from_numpy(np.asarray(items, dtype=np.float32))


def _drawn(distance: Array) -> Draw:
    def draw(array: Array, path: Path) -> Path:
        """Draw samples above their nearest training items."""
        some, training = array[0][:DRAWN], array[1][:DRAWN]
        if array.dtype == np.uint8:
            captions = [f"{far:.2f}" for far in distance[:DRAWN]]
            titles = ("sample", "nearest in training")
            return plots.pairs(some, training, path, captions=captions, titles=titles)
        flat, other = (part.reshape(len(part), -1)[:32] for part in (some, training))
        return plots.curves(flat, path, other=other)

    return draw
