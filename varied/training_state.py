"""The state with which an interrupted training run continues."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from varied.runtime import Setup
from varied.stored_values import read_value


@dataclass
class TrainingState:
    """The state with which an interrupted run continues as if it had not been interrupted.

    It does not contain random numbers or batches, since they depend only on the step.

    Arguments:
        step: The number of completed steps.
        seconds: The time spent in training steps.
        skipped: The number of steps that were skipped because of a non-finite gradient.
        total: The current estimate of the total number of steps. A time budget is converted to
            steps with the measured speed.
        anchor: The (step, progress) at which ``total`` was last set.
        anchor_seconds: The ``seconds`` at which ``total`` was last set.
        limit: An upper bound on the progress until ``total`` is set again, so that a single
            unusually fast or slow step does not distort the schedules of the next thousand steps.
        num_bad_checks: The number of evaluations on validation rows since the lowest loss.
        cooldown_start: The step at which training was shortened by `shorten`, or 0.
        restored_step: The step from which the weights were restored at ``cooldown_start``.
        setup: The compute settings, which are measured at the start of the run.
        batch_parts: The number of parts of a batch whose gradients are computed one after the other
            and added, which is doubled whenever the memory is exhausted.
        rollbacks: The number of times that training rolled back to an earlier checkpoint because of
            non-finite gradients.
        lr_factor: The factor of the learning rate, which is halved in each of these cases.
        steps_by_threads: The number of steps by the number of threads; fewer threads are used while
            other programs use the cores.
        moments: The optimizer's tensors by parameter name, including the moving averages of
            the weights.
    """

    step: int = 0
    seconds: float = 0.0
    skipped: int = 0
    total: float = math.inf
    anchor: tuple[int, float] = (0, 0.0)
    limit: float = 1.0
    anchor_seconds: float = 0.0
    num_bad_checks: int = 0
    cooldown_start: int = 0
    restored_step: int = 0
    setup: Setup | None = None
    batch_parts: int = 1
    rollbacks: int = 0
    lr_factor: float = 1.0
    steps_by_threads: dict[str, int] = field(default_factory=dict)
    moments: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> TrainingState:
        """Return a state from the output of `to_values`.

        Raises:
            VariedError: If a value does not have the right type.
        """
        known = {name: value for name, value in values.items() if value is not None}
        state: TrainingState = read_value(known, cls)
        return state

    def to_values(self) -> dict[str, Any]:
        """Return JSON-serializable values by name, without the optimizer's tensors."""
        return dataclasses.asdict(dataclasses.replace(self, moments={}))

    @property
    def progress(self) -> float:
        """The completed fraction of training, between 0 and 1."""
        step, progress = self.anchor
        if self.step >= self.total:
            return self.limit
        progress += (1 - progress) * (self.step - step) / (self.total - step)
        return min(progress, self.limit)

    def update_total(self, budget: float, num_steps: float = math.inf) -> None:
        """Convert a time budget in seconds to steps, using the speed since the last conversion.

        The progress then equals the fraction of the budget, or of ``num_steps``, that has been
        used; between two conversions it is linear in the number of steps.
        """
        elapsed = self.seconds - self.anchor_seconds
        if self.cooldown_start or elapsed < budget / 60:
            return
        speed = (self.step - self.anchor[0]) / elapsed
        total = self.step + max(budget - self.seconds, 0.0) * speed
        if self.total == num_steps <= total:
            return  # the progress remains independent of the speed, so that it is reproducible
        progress = min(max(self.seconds / budget, self.step / num_steps), 1.0)
        self.anchor, self.anchor_seconds = (self.step, progress), self.seconds
        self.limit = min(progress + 1 / 40, 1.0) if total < num_steps else 1.0
        self.total = min(total, num_steps)

    def shorten(self, num_steps: int, restored_step: int) -> None:
        """End training after ``num_steps`` more steps, during which the learning rate decays.

        Arguments:
            num_steps: The maximum number of remaining steps.
            restored_step: The step from which the weights were restored.
        """
        self.anchor, self.limit = (self.step, self.progress), 1.0
        self.total = min(self.step + num_steps, self.total)
        self.cooldown_start, self.restored_step = self.step, restored_step
