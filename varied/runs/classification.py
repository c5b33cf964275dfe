"""Classification with models that learn classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from varied import functional
from varied.data import Batch, iter_batches, mask_missing
from varied.runs.base import BATCH_ROWS, RunBase
from varied.runs.columns import Names, columns_frame, write_columns

#: The minimum number of labeled validation rows for calibrating probabilities.
_MIN_ROWS = 10


@dataclass(frozen=True, repr=False)
class Classes:
    """The most probable class of each example, and the probability of each class.

    Arguments:
        probabilities: The probabilities, with shape (N, C).
        classes: The names of the classes.
        names: The names of the examples, or None.
    """

    probabilities: Tensor
    classes: tuple[str, ...]
    names: Names = None

    def __len__(self) -> int:
        return len(self.probabilities)

    def __repr__(self) -> str:
        return f"Classes({len(self):,} examples, {len(self.classes)} classes)"

    @property
    def predicted(self) -> list[str]:
        """The most probable class of each example."""
        return [self.classes[i] for i in self.probabilities.argmax(1).tolist()]

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of the output: the predicted class, and the probability of each class."""
        probabilities = self.probabilities.numpy()
        each = {f"p({name})": probabilities[:, i] for i, name in enumerate(self.classes)}
        return {"class": np.array(self.predicted), **each}

    @property
    def frame(self) -> Any:
        """A `pandas.DataFrame` with one row per example."""
        return columns_frame(self.columns, self.names)

    def save(self, path: str | Path) -> Path:
        """Write one row per example to a .csv, .parquet, .feather or .npz file.

        Raises:
            VariedError: If the file extension is not supported.
        """
        return write_columns(Path(path), self.columns, self.names)

    def _repr_html_(self) -> str:
        return str(self.frame._repr_html_())


def classify(run: RunBase, source: Any = None, *, calibrated: bool = True) -> Tensor:
    """Return the probability of each class for each example, with shape (N, C).

    Arguments:
        run: The run.
        source: The data; None uses the test rows. Labels are not used.
        calibrated: Whether to apply the temperature that was fitted to the validation rows.

    Raises:
        VariedError: If the model has no classes.
    """
    return _probabilities(run, mask_missing(run.codec.encode(run.read(source))), calibrated)


def classes(run: RunBase, source: Any = None) -> Classes:
    """Return the predicted class of each example, and calibrated class probabilities.

    Arguments:
        run: The run.
        source: The data; None uses the test rows. Labels are not used.

    Raises:
        VariedError: If the model has no classes.
    """
    data = run.read(source)
    probabilities = _probabilities(run, mask_missing(run.codec.encode(data)), calibrated=True)
    assert run.context is not None  # models with classes are trained with labels
    return Classes(probabilities, run.context.classes, data.names)


def _probabilities(run: RunBase, batch: Batch, calibrated: bool) -> Tensor:
    batches = iter_batches(batch.x, size=BATCH_ROWS)
    probabilities = functional.classify(run.model, run.codec.load, batches)
    if not calibrated:
        return probabilities
    return functional.apply_temperature(probabilities, run.calibration_temperature)


def calibrate_temperature(run: RunBase) -> float:
    """Return the temperature that calibrates the class probabilities on the validation rows.

    The temperature is 1 if fewer than ten of these rows have a label.
    """
    data = run.split("validation")
    labels = torch.from_numpy(data.class_indices)
    if (labels >= 0).sum() < _MIN_ROWS:
        return 1.0
    return functional.calibration_temperature(classify(run, data, calibrated=False), labels)
