"""What a term with a critic is: the model pays by ``forward``, the critic by ``loss``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from varied.trace import Trace

__all__ = ["AdversarialTerm", "frozen"]


def frozen(critic: nn.Module, *inputs: Any) -> Any:
    """Run a critic so that a gradient passes through it and none stays in it.

    The model is judged by the critic as it stands; only `Adversary.loss` teaches the critic. So
    one backward pass serves both, and neither sees the other's gradient.
    """
    held = {name: p.detach() for name, p in critic.named_parameters()}
    return torch.func.functional_call(critic, held, inputs)


class AdversarialTerm(nn.Module, ABC):
    """A term that owns a critic, which the one loop trains beside the model.

    Arguments:
        lr: The critic's learning rate as a factor on the model's.
        momentum: Adam's first coefficient for the critic; adversaries like it below 0.9.
    """

    #: It runs a net by other parameters than its own, which a compiled step is not tried with.
    eager = True

    def __init__(self, lr: float = 1.0, momentum: float = 0.5) -> None:
        super().__init__()
        self.lr, self.momentum = lr, momentum
        #: More numbers for the log, by name, as of the last step.
        self.told: dict[str, Tensor] = {}

    @abstractmethod
    def attach(self, model: Any) -> None:
        """Make the critic for a model's shapes (``model.event_shape``, ``model.latent_shape``)."""

    @abstractmethod
    def forward(self, trace: Trace) -> Tensor:
        """Return what the model pays for each datum, with shape (B), by a `frozen` critic."""

    @abstractmethod
    def loss(self, trace: Trace) -> Tensor:
        """Return what the critic pays, a scalar; no gradient of it reaches the model."""
