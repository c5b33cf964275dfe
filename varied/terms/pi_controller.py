"""A weight that turns itself, so that a term holds a number of nats."""

from __future__ import annotations

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.scheduled_value import ScheduledValue, StepDependent
from varied.schedules import Number

__all__ = ["PIController"]


class PIController(StepDependent):
    r"""A weight moved by a proportional and an integral controller.

    With :math:`e_t` the goal less the term,

    .. math:: \beta_{t+1} = \beta_{min} + \frac{K_p}{1 + \exp(e_t)} + I_t, \qquad
        I_t = I_{t-1} - K_i e_t,

    within :math:`[\beta_{min}, \beta_{max}]`. A term that is too large raises its own weight.
    The integral is kept within the same bounds, so that it has nothing to unwind after a long
    time at one of them; the paper stops it there instead, which can leave it there.

    What was felt moves the weight when it is turned, before the next step, and is saved with the
    run: an interrupted one goes on with the same weight.

    References:
        ControlVAE: Controllable Variational Autoencoder (Shao et al., 2020),
        https://arxiv.org/abs/2004.05988

    Arguments:
        goal: What the term should be, in nats, a number or a schedule.
        kp: The share that follows the present error.
        ki: The share that follows the sum of all errors, for each nat and step.
        min_weight: The least weight, with which it starts.
        max_weight: The largest weight.
    """

    value: Tensor
    integral: Tensor
    present: Tensor

    def __init__(
        self, goal: Number, *, kp: float, ki: float, min_weight: float, max_weight: float
    ) -> None:
        super().__init__()
        if not 0 <= min_weight < max_weight:
            raise VariedError(
                f"min_weight={min_weight} and max_weight={max_weight}: 0 <= min_weight < max_weight is asked; try 0 and 10."
            )
        if kp < 0 or ki <= 0:
            raise VariedError(f"kp={kp} must not be below 0, and ki={ki} must be above.")
        self.goal, self.kp, self.ki, self.low, self.high = (
            ScheduledValue(goal),
            kp,
            ki,
            min_weight,
            max_weight,
        )
        self.register_buffer("value", torch.tensor(float(min_weight)))
        self.register_buffer("integral", torch.tensor(0.0))
        self.register_buffer("present", torch.tensor(0.0))

    def set_step(self, step: int, progress: float = 1.0) -> None:
        """Set the weight from what was felt; twice is as good as once."""
        self.goal.set_step(step, progress)
        moved = self.low + self.integral + self.present
        self.value.copy_(moved.clamp(self.low, self.high))

    def update(self, value: Tensor) -> None:
        """Take note of the batch mean of the term, in nats; one that is not finite is ignored."""
        if not torch.is_grad_enabled():
            return
        error = self.goal.value - value.detach()
        sum_ = (self.integral - self.ki * error).clamp(0, self.high - self.low)
        share = self.kp * torch.sigmoid(-error)
        known = error.isfinite()
        self.integral.copy_(torch.where(known, sum_, self.integral))
        self.present.copy_(torch.where(known, share, self.present))
