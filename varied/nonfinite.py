"""Find where a training step computes non-finite values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from varied.data.batches import Batch
from varied.training_step import TrainingStep


def find_nonfinite(step: TrainingStep, batch: Batch) -> str:
    """Return a phrase that says where non-finite values first occur.

    Arguments:
        step: The training step, after the gradients of the batch were computed.
        batch: The batch.
    """
    if not _is_finite(batch.x):
        return "the data"
    for name, parameter in step.named_parameters():
        if not _is_finite(parameter):
            return f"the parameter {_short(name)}"
    with _record_outputs(step) as layers, torch.no_grad():
        loss, _ = step(*batch.tensors)
    if layers:
        return f"the output of {_short(layers[0])}"
    if not _is_finite(loss):
        return "the loss"
    # Gradients are computed from the last layer to the first.
    names = [name for name, p in step.named_parameters() if not _is_finite(p.grad)]
    return f"the gradient of {_short(names[-1])}" if names else "the gradients of that step"


def _is_finite(value: Any) -> bool:
    return not isinstance(value, Tensor) or bool(value.isfinite().all())


def _short(name: str) -> str:
    """Return the name of a parameter or layer within the model."""
    return name.removeprefix("model.")


@contextmanager
def _record_outputs(step: nn.Module) -> Iterator[list[str]]:
    """Yield a list to which the names of layers with non-finite outputs are appended.

    The names are in the order of computation; recording stops on exit.
    """
    layers: list[str] = []

    def hook(name: str) -> Any:
        def check(module: nn.Module, inputs: Any, output: Any) -> None:
            values = output if isinstance(output, tuple | list) else (output,)
            if not all(map(_is_finite, values)):
                layers.append(name)

        return check

    modules = [(name, module) for name, module in step.named_modules() if name]
    handles = [module.register_forward_hook(hook(name)) for name, module in modules]
    try:
        yield layers
    finally:
        for handle in handles:
            handle.remove()
