"""Conversions between the state of a training run and the tensors of its files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from varied.errors import VariedError
from varied.stored_values import stored_in
from varied.training_state import TrainingState
from varied.training_step import Step


def checkpoint_content(step: Step, state: TrainingState) -> dict[str, Any]:
    """Return the arguments with which `tensor_io` writes a checkpoint."""
    tensors = {f"step/{name}": tensor for name, tensor in step.state_dict().items()}
    tensors |= {f"moments/{name}": tensor for name, tensor in state.moments.items()}
    return {
        "tensors": tensors,
        "state": state.to_values(),
    }


def load_checkpoint(
    step: Step, tensors: Mapping[str, Tensor], notes: Mapping[str, Any], path: Path
) -> TrainingState:
    """Load the tensors of a checkpoint into a training step, and return the state.

    Raises:
        VariedError: If the tensors do not match the training step.
    """
    weights = _under(tensors, "step/")
    if step.property_head is None:  # it is only used in training
        weights = {k: v for k, v in weights.items() if not k.startswith("property_head.")}
    load_weights(step, weights, path)
    with stored_in(path):
        state = TrainingState.from_values(notes["state"])
    return dataclasses.replace(state, moments=_under(tensors, "moments/"))


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load the weights of a model.

    Raises:
        VariedError: If the weights do not match the model.
    """
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if shapes != {name: tensor.shape for name, tensor in tensors.items()}:
        raise VariedError(f"{path} does not match its spec.toml; restore one of the two files.")
    model.load_state_dict(tensors)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
