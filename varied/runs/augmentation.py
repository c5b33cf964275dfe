"""Augmentation: generate labeled examples, and measure how much they improve a classifier."""

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
from varied.data.tables import describe_renaming, free_names
from varied.errors import VariedError
from varied.functional import Gain
from varied.runs.base import RunBase
from varied.seeding import derive_seed, permutation

Array = npt.NDArray[Any]

#: The maximum number of test rows on which classifiers are evaluated.
_MAX_TEST = 5000
#: The maximum number of attempts to generate rows whose label column matches their class.
_ROUNDS = 20


@dataclass(frozen=True, repr=False)
class AugmentedData:
    """Generated labeled examples.

    Arguments:
        data: The examples with their labels, in the form that `varied.read` returns.
        x: The same examples in model space, with shape (N, *event).
        real: The training rows of the run, with the labels that were used in training.
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
    def notes(self) -> tuple[str, ...]:
        """Sentences about the written table, such as a renamed label column."""
        columns = self.codec.source_columns
        is_added = len(self.data.columns) > len(columns)
        return tuple(describe_renaming(free_names(["label"], columns))) if is_added else ()

    @property
    def default_ending(self) -> str:
        """The file extension that `save` uses by default; "" stands for a folder."""
        return self.codec.labeled_ending

    def gains(self, *, seeds: int = 3) -> list[Gain]:
        """Return how much generated examples and plain augmentation improve classifiers.

        Arguments:
            seeds: The number of times that each classifier is trained.

        Raises:
            VariedError: If no test row has a label that occurs in the training rows.
        """
        label_columns = self.real.label_columns
        x, y = self._features(self.real, label_columns)
        test_x, test_y = self._features(self.test, label_columns)
        rows = torch.nonzero(torch.isin(test_y, y))[:, 0]
        if not len(rows):
            raise VariedError(
                "No test row has a label that occurs in the training rows; provide labeled data."
            )
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
        """Write the examples with their labels, in a format that `varied.read` can read.

        Arguments:
            path: The file or folder to write. For images, it is a folder (a name without an
                extension) with a subfolder per class; for tables, a ``.csv``, ``.tsv``,
                ``.parquet`` or ``.feather`` file; for other data, an ``.npz`` file with x, y and
                classes.

        Raises:
            VariedError: If the data cannot be written in this format, or the folder exists.
        """
        path = Path(path)
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

    In a table, the label column is generated together with the row. A row whose label column does
    not match its class is generated again.

    Arguments:
        run: The run.
        per_class: The number of examples to generate for each class; if ``balance`` is set, the
            total number of training and generated examples of each class.
        balance: Whether to generate only as many examples as each class needs to reach
            ``per_class`` or, by default, the size of the largest class.
        temperature: The factor by which the standard deviation of the prior is multiplied; values
            below 1 give more typical examples.
        sample_x: Whether to sample from p(x | z) rather than return its mean; None samples only
            tables and counts.
        seed: The random seed.

    Raises:
        VariedError: If the run has no classes, or generated rows contradict their classes.
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
            f"{wrong.sum():,} generated rows have a value in the label column that differs from "
            f"the class for which they were generated (for example, '{names[wrong][0]}'); train "
            "for longer, or with fewer classes."
        )
    decoded = codec.decode(x, names.tolist())
    if codec.column_names and not label_columns:
        decoded[free_names(["label"], decoded.columns)["label"]] = names
    data = RawData(decoded, codec.kind, labels.numpy(), real.classes)
    return AugmentedData(data, x, real, run.split("test"), codec)


def labeled_training_rows(run: RunBase) -> RawData:
    """Return the training rows of a run, with the labels that were used in training.

    Raises:
        VariedError: If the run has no classes.
    """
    if run.context is None or not run.context.classes:
        raise VariedError(
            "This run has no single class label; train a model with model='conditional-vae' if all "
            "rows have a label, or with model='m2' if only some do."
        )
    data, n_labels = run.split("train"), int(run.metadata.get("n_labels") or 0)
    if not n_labels or data.labels is None:
        return data
    return data.replace(labels=subsample_labels(data.labels, n_labels, run.spec.plan.seed))


def _contradicts(decoded: Any, columns: Sequence[str], names: Array) -> Array:
    """Return which rows of a table have a label column that differs from their class.

    Arguments:
        decoded: The table.
        columns: The label columns.
        names: The class of each row.

    Returns:
        A bool array with shape (N).
    """
    cells = [np.array(as_class_names(decoded[name]), dtype=object) for name in columns]
    return (
        np.any([cell != names for cell in cells], axis=0) if cells else np.zeros(len(names), bool)
    )
