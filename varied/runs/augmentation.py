"""Augmentation: new labeled examples, and how much they help a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied import functional
from varied.data import Codec, RawData
from varied.data.labels import subsample_labels
from varied.data.raw_data import as_class_names
from varied.errors import VariedError
from varied.functional import Gain
from varied.runs.base import RunBase
from varied.seeding import derive_seed, permutation

Array = npt.NDArray[Any]

#: Test rows that classifiers are evaluated on.
_MAX_TEST = 5000
#: How often rows that contradict their class are generated again.
_ROUNDS = 20


@dataclass(frozen=True, repr=False)
class AugmentedData:
    """Generated labeled examples.

    Arguments:
        data: The examples with their labels, as `varied.read` returns data.
        x: The same examples in model space, with shape (N, *event).
        real: The training rows of the run, with the labels that it was trained with.
        test: The test rows.
        codec: The codec of the run.
    """

    data: RawData
    x: Tensor
    real: RawData
    test: RawData
    codec: Codec

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        n_classes = len(self.data.classes)
        return f"AugmentedData({len(self):,} {self.codec.noun} of {n_classes} classes)"

    @property
    def names(self) -> list[str]:
        """The class of each example."""
        return [self.data.classes[label] for label in self.data.class_indices]

    @property
    def default_ending(self) -> str:
        """The ending of the file that `save` writes by default; "" is a folder."""
        return self.codec.labeled_ending

    def gains(self, *, seeds: int = 3) -> list[Gain]:
        """Return the gain of classifiers from the examples, and from plain augmentation.

        Arguments:
            seeds: How often each classifier is trained.

        Raises:
            VariedError: If no test row has a label of a training row.
        """
        label_columns = self.real.label_columns
        x, y = self._features(self.real, label_columns)
        test_x, test_y = self._features(self.test, label_columns)
        rows = torch.nonzero(torch.isin(test_y, y))[:, 0]
        if not len(rows):
            raise VariedError("No test row has the class of a training row: give labeled data.")
        rows = rows[permutation(len(rows), 0, "gains")[:_MAX_TEST]]
        features = self.codec.to_features(self.x, label_columns)
        generated = {"generated": (features, torch.from_numpy(self.data.class_indices))}
        return functional.gains((x, y), generated, (test_x[rows], test_y[rows]), seeds=seeds)

    def _features(self, data: RawData, label_columns: Sequence[str]) -> tuple[Tensor, Tensor]:
        labels = data.class_indices
        rows = np.flatnonzero(labels >= 0)
        stored = self.codec.encode(data.take(rows))
        return self.codec.to_features(stored, label_columns), torch.from_numpy(labels[rows])

    def save(self, path: str | Path) -> Path:
        """Write the examples with their labels, in a form that `varied.read` reads.

        Arguments:
            path: For images a name without ending, which is a folder with a folder per class; for
                tables ``.csv``, ``.tsv``, ``.parquet`` or ``.feather``; otherwise ``.npz`` with x,
                y and classes.

        Raises:
            VariedError: If the data cannot be written so, or the folder exists.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return self.codec.save_labeled(self.data, path)


def augment(
    run: RunBase,
    per_class: int | None = None,
    *,
    balance: bool = False,
    temperature: float = 1.0,
    sample_x: bool | None = None,
    seed: int = 0,
) -> AugmentedData:
    """Generate labeled examples.

    In a table, the label's column is generated with the row. A row whose column contradicts its
    class is generated again, so that label and row agree.

    Arguments:
        run: The run.
        per_class: The number of examples to generate per class; with ``balance``, the number of
            training and generated examples together.
        balance: Whether to fill up each class, by default to the size of the largest.
        temperature: Below 1 for more typical examples.
        sample_x: Whether to sample from p(x | z); None samples for tables.
        seed: The random seed.

    Raises:
        VariedError: If the run has no classes, or its rows contradict their classes.
    """
    real, codec = labeled_training_rows(run), run.codec
    indices = real.class_indices
    counts = np.bincount(indices[indices >= 0], minlength=len(real.classes))
    sizes = functional.class_counts(counts.tolist(), per_class, balance=balance)
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    names = np.array(real.classes, dtype=object)[labels.numpy()]
    label_columns = run.split("train").label_columns
    options: dict[str, Any] = {
        "temperature": temperature,
        "sample_x": codec.decodes_by_sampling if sample_x is None else sample_x,
    }
    x = functional.sample_classes(
        run.model, labels, len(sizes), seed=derive_seed(seed, "augment"), **options
    )
    generated_columns = [name for name in label_columns if name in codec.column_names]
    for i in range(1, _ROUNDS):
        rows = torch.from_numpy(_contradicts(codec.decode(x), generated_columns, names))
        if not rows.any():
            break
        x[rows] = functional.sample_classes(
            run.model, labels[rows], len(sizes), seed=derive_seed(seed, "augment", i), **options
        )
    wrong = _contradicts(codec.decode(x), generated_columns, names)
    if wrong.any():
        raise VariedError(
            f"{wrong.sum():,} rows contain another class than '{names[wrong][0]}': train longer, "
            "or with fewer classes."
        )
    decoded = codec.decode(x, names.tolist())
    if codec.column_names and not label_columns:
        decoded[_unused_name("label", decoded.columns)] = names
    data = RawData(decoded, codec.kind, labels.numpy(), real.classes)
    return AugmentedData(data, x, real, run.split("test"), codec)


def labeled_training_rows(run: RunBase) -> RawData:
    """Return the training rows of a run with the labels that it was trained with.

    Raises:
        VariedError: If the run has no classes.
    """
    if run.context is None or not run.context.classes:
        raise VariedError(
            "This run has no classes: train one with model='conditional-vae' if all rows have a "
            "label, or with model='m2' if some have."
        )
    data, n_labels = run.split("train"), int(run.metadata.get("n_labels") or 0)
    if not n_labels or data.labels is None:
        return data
    return data.replace(labels=subsample_labels(data.labels, n_labels, run.spec.plan.seed))


def _contradicts(decoded: Any, columns: Sequence[str], names: Array) -> Array:
    """Return which rows of a table have another class in a column, as bool with shape (N)."""
    cells = [np.array(as_class_names(decoded[name]), dtype=object) for name in columns]
    return (
        np.any([cell != names for cell in cells], axis=0) if cells else np.zeros(len(names), bool)
    )


def _unused_name(name: str, used: Sequence[str]) -> str:
    return _unused_name(f"{name}_", used) if name in used else name
