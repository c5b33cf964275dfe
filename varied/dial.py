"""A number that moves while a model is trained, as a module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from varied.schedules import Number, at

__all__ = ["Dial"]


class Dial(nn.Module):
    """A number that moves with the step, kept in a buffer so that a compiled graph reads it anew.

    Arguments:
        value: A number or a schedule.
    """

    value: Tensor

    def __init__(self, value: Number) -> None:
        super().__init__()
        self.schedule = value
        self.register_buffer("value", torch.tensor(at(value, 0, 0.0)), persistent=False)

    def turn(self, step: int, progress: float = 1.0) -> None:
        """Set the number for a step, or a share of the run that is done."""
        if not isinstance(self.schedule, float | int):
            self.value.fill_(at(self.schedule, step, progress))
