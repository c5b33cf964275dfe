"""Classes of data, as a model that learned them says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from varied.data.batches import Batch
from varied.errors import VariedError
from varied.models import LatentModel
from varied.randomness import noise
from varied.runtime import exactly

__all__ = ["classify"]


def classify(model: LatentModel, load: Callable[[Tensor], Tensor], rows: Iterable[Batch]) -> Tensor:
    """Return the probability of each class, with shape (N, C); labels in ``rows`` are not read.

    Arguments:
        model: A model with classes; neither it nor torch's random state is changed.
        load: From stored rows to data.
        rows: Batches in order.

    Raises:
        VariedError: If the model has no classes.
    """
    knows: Any = model
    if not hasattr(model, "classify"):
        raise VariedError("This model knows no classes; train one with structure='classes'.")
    found = []
    with exactly(model):
        device = next(model.parameters()).device
        for index, batch in enumerate(rows):
            with noise(0, "evaluate", index):
                found.append(knows.classify(load(batch.to(device).x)).cpu())
    return torch.cat(found)
