"""Estimate the memory of a training step, and divide batches that do not fit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from varied.data.batches import Batch
from varied.data.memory import check_memory, fits_in_memory

#: The number of weights, or of elements of a batch, above which the memory of a step is estimated.
_LARGE = 2**24
#: A weight, its gradient and two moments are float32 numbers.
_BYTES_PER_WEIGHT = 16


def count_batch_parts(step: nn.Module, batch: Batch) -> int:
    """Return the number of parts of a batch, a power of two, such that each part fits in memory.

    The memory of a small model is not estimated, nor that of a GPU.

    Raises:
        VariedError: If the weights or the activations of a single row do not fit.
    """
    n_weights = sum(parameter.numel() for parameter in step.parameters())
    if torch.cuda.is_available() or max(n_weights, batch.x.numel()) < _LARGE:
        return 1
    per_row = _activation_bytes(step, batch.take(torch.arange(min(2, len(batch)))))
    n_parts = 1

    def n_bytes() -> int:
        return per_row * -(-len(batch) // n_parts) + _BYTES_PER_WEIGHT * n_weights

    while n_parts < len(batch) and not fits_in_memory(n_bytes()):
        n_parts *= 2
    check_memory(
        n_bytes(),
        f"A training step with {n_weights:,} weights and rows of shape {tuple(batch.x.shape[1:])}",
        "reduce the network or the size of the data",
    )
    return n_parts


def _activation_bytes(step: nn.Module, rows: Batch) -> int:
    """Return the size of the tensors that are stored for the gradients, for each row."""
    sizes = {parameter.data_ptr(): 0 for parameter in step.parameters()}

    def record(tensor: Tensor) -> Tensor:
        sizes.setdefault(tensor.data_ptr(), tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        step(*rows.tensors)
    return sum(sizes.values()) // len(rows)
