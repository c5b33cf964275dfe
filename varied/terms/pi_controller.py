"""Weights that adapt to the values of their terms."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.process_group import current_group
from varied.scheduled_value import ScheduledValue, StepDependent
from varied.schedules import Number


class AdaptiveWeight(StepDependent):
    """A weight that depends on the past values of its term."""

    #: The weight at the current step, a buffer.
    value: Tensor

    @abstractmethod
    def set_step(self, step: int, progress: float = 1.0) -> None:
        """Set the weight of a step; repeated calls have no additional effect."""

    @abstractmethod
    def update(self, value: Tensor) -> None:
        """Record the batch mean of the term at a training step."""


class PIController(AdaptiveWeight):
    r"""A weight set by a proportional-integral controller that keeps a term at a target.

    With the error :math:`e_t`, the target minus the term,

    .. math:: \beta_{t+1} = \beta_{min} + \frac{K_p}{1 + \exp(e_t)} + I_t, \qquad
        I_t = I_{t-1} - K_i e_t,

    clamped to :math:`[\beta_{min}, \beta_{max}]`. If the term is above the target, its weight
    increases. To prevent windup, the integral is clamped to :math:`[0, \beta_{max} - \beta_{min}]`.
    In the paper, integration instead stops at the bounds, so the weight may remain at a bound.

    An error changes the weight of the next step, in `set_step`. The entire state is stored in
    buffers, so a resumed run continues with the same weight.

    References:
        ControlVAE: Controllable Variational Autoencoder (Shao et al., 2020),
        https://arxiv.org/abs/2004.05988

    Arguments:
        target: The target value of the term, in nats: a number or a schedule.
        kp: The proportional gain.
        ki: The integral gain, per nat and step.
        min_weight: The minimum weight, which is also the initial weight.
        max_weight: The maximum weight.
    """

    integral: Tensor
    proportional: Tensor

    def __init__(
        self, target: Number, *, kp: float, ki: float, min_weight: float, max_weight: float
    ) -> None:
        super().__init__()
        if not 0 <= min_weight < max_weight:
            raise VariedError(
                f"min_weight={min_weight} and max_weight={max_weight} must satisfy 0 <= min_weight "
                "< max_weight; the defaults are 0 and 10."
            )
        if kp < 0 or ki <= 0:
            raise VariedError(
                f"kp must not be negative and ki must be positive, got kp={kp} and ki={ki}."
            )
        self.target, self.kp, self.ki = ScheduledValue(target), kp, ki
        self.min_weight, self.max_weight = min_weight, max_weight
        self.register_buffer("value", torch.tensor(float(min_weight)))
        self.register_buffer("integral", torch.tensor(0.0))
        self.register_buffer("proportional", torch.tensor(0.0))

    def set_step(self, step: int, progress: float = 1.0) -> None:
        """Set the weight from the recorded errors; repeated calls have no additional effect."""
        self.target.set_step(step, progress)
        weight = self.min_weight + self.integral + self.proportional
        self.value.copy_(weight.clamp(self.min_weight, self.max_weight))

    def update(self, value: Tensor) -> None:
        """Record the batch mean of the term, in nats.

        A non-finite value is ignored, as are all values while gradients are disabled.
        """
        if not torch.is_grad_enabled():
            return
        error = self.target.value - current_group().mean(value.detach())
        integral = (self.integral - self.ki * error).clamp(0, self.max_weight - self.min_weight)
        proportional = self.kp * torch.sigmoid(-error)
        is_finite = error.isfinite()
        self.integral.copy_(torch.where(is_finite, integral, self.integral))
        self.proportional.copy_(torch.where(is_finite, proportional, self.proportional))
