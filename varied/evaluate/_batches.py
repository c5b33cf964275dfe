"""Evaluation of a model, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from varied.data.batches import Batch
from varied.models import LatentModel
from varied.runtime import eval_float32
from varied.seeding import seeded

Load = Callable[[Tensor], Tensor]


def map_batches(
    function: Callable[[Batch], Sequence[Tensor | None]],
    model: LatentModel,
    load: Load,
    batches: Iterable[Batch],
    *,
    seed: int,
    purpose: str,
) -> list[Any]:
    """Apply a function to each batch, and concatenate the outputs in main memory.

    The model is in evaluation mode, without gradients or autocast. All random numbers for batch i,
    including those drawn by ``load``, depend only on the seed, the purpose and i.

    Arguments:
        function: Maps a batch of model inputs to tensors with one row for each example; an output
            may be None for all batches.
        model: The model. Neither the model nor PyTorch's random state is changed.
        load: Maps stored rows to model inputs.
        batches: The batches, iterated over once.
        seed: The seed.
        purpose: A label from which, together with ``seed``, the seed of each batch is derived.

    Returns:
        Each output as one tensor with shape (N, ...), or None.
    """
    device, outputs = next(model.parameters()).device, []
    with eval_float32(model):
        for index, batch in enumerate(batches):
            with seeded(seed, purpose, index):
                moved = batch.to(device)
                parts = function(Batch(load(moved.x), moved.c, moved.mask))
                outputs.append([None if part is None else part.cpu() for part in parts])
    columns = zip(*outputs, strict=True)
    return [None if column[0] is None else torch.cat(column) for column in columns]
