"""The interface of adversarial terms, which train a discriminator together with the model."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.models import LatentModel
from varied.terms import Term
from varied.trace import Trace


def apply_frozen(module: nn.Module, *inputs: Any) -> Any:
    """Apply a module such that gradients reach its inputs but not its parameters.

    The generator loss applies the discriminator in this way, so that the discriminator is trained
    only by its own loss, and a single backward pass computes the gradients of both losses.
    """
    params = {name: p.detach() for name, p in module.named_parameters()}
    return torch.func.functional_call(module, params, inputs)


class AdversarialTerm(nn.Module, Term):
    """A term with a discriminator; its value is the generator loss.

    Subclasses create the discriminator in `attach`, since its shapes depend on the model.

    Arguments:
        lr: The learning rate of the discriminator, relative to that of the model.
    """

    #: A compiled step does not support `apply_frozen`.
    can_compile = False
    #: Adam's beta1 for the discriminator; adversarial training is more stable below 0.9.
    beta1 = 0.5

    def __init__(self, lr: float = 1.0) -> None:
        super().__init__()
        if lr <= 0:
            raise VariedError(f"disc_lr={lr} must be above 0; the default is 1.")
        self.lr = lr
        #: Additional values of the last step for the log, by name.
        self.logs: dict[str, Tensor] = {}

    @abstractmethod
    def attach(self, model: LatentModel) -> None:
        """Create the discriminator for the shapes of a model."""

    @abstractmethod
    def forward(self, trace: Trace) -> Tensor:
        """Return the generator loss of each example, with shape (B), using `apply_frozen`."""

    @abstractmethod
    def discriminator_loss(self, trace: Trace) -> Tensor:
        """Return the discriminator loss, a scalar whose gradient does not reach the model."""
