"""Modules with values that depend on the training step."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from varied.schedules import Number, is_complete, value_at


class StepDependent(nn.Module, ABC):
    """A module whose values depend on the training step."""

    @abstractmethod
    def set_step(self, step: int, progress: float = 1.0) -> None:
        """Set the values for a training step.

        Arguments:
            step: The number of completed steps.
            progress: The completed fraction of the training steps.
        """


class ScheduledValue(StepDependent):
    """A scheduled value, stored in a buffer that a compiled graph reads at each step.

    Arguments:
        value: A number or a schedule.
    """

    value: Tensor

    def __init__(self, value: Number) -> None:
        super().__init__()
        self.schedule = value
        self.register_buffer("value", torch.tensor(value_at(value, 0, 0.0)), persistent=False)

    def set_step(self, step: int, progress: float = 1.0) -> None:
        """Set the buffer to the value of the schedule."""
        if not isinstance(self.schedule, float | int):
            self.value.fill_(value_at(self.schedule, step, progress))


def are_schedules_complete(module: nn.Module, step: int, progress: float) -> bool:
    """Return whether all scheduled values within a module have reached their final values."""
    values = (part for part in module.modules() if isinstance(part, ScheduledValue))
    return all(is_complete(value.schedule, step, progress) for value in values)


def set_step(module: nn.Module, step: int, progress: float = 1.0) -> None:
    """Set the training step of all step-dependent modules within a module, at any depth.

    Arguments:
        module: The module that contains the step-dependent modules.
        step: The number of completed steps.
        progress: The completed fraction of the training steps.
    """
    for part in module.modules():
        if isinstance(part, StepDependent):
            part.set_step(step, progress)
