"""A number that moves while a model is trained, as a module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from varied.schedules import Number, value_at

__all__ = ["ScheduledValue", "set_step"]


class ScheduledValue(nn.Module):
    """A number that moves with the step, kept in a buffer so that a compiled graph reads it anew.

    Arguments:
        value: A number or a schedule.
    """

    value: Tensor

    def __init__(self, value: Number) -> None:
        super().__init__()
        self.schedule = value
        self.register_buffer("value", torch.tensor(value_at(value, 0, 0.0)), persistent=False)

    def set_step(self, step: int, progress: float = 1.0) -> None:
        """Set the number for a step, or a share of the run that is done."""
        if not isinstance(self.schedule, float | int):
            self.value.fill_(value_at(self.schedule, step, progress))


def set_step(parts: nn.Module, step: int, progress: float = 1.0) -> None:
    """Set every number that moves within a module.

    Arguments:
        parts: What holds them, at any depth; itself is left out.
        step: Steps done.
        progress: The share of the run that is done, for schedules whose length is a share.
    """
    moving: list[Any] = [m for m in parts.modules() if m is not parts and hasattr(m, "set_step")]
    for module in moving:
        module.set_step(step, progress)
