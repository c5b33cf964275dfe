"""Training steps: modules whose forward pass computes the loss of a batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from varied import runtime
from varied.discriminators import AdversarialTerm
from varied.models import LatentModel
from varied.nets.library_size import InitializedFromRows
from varied.nets.random_affine import random_shift
from varied.objectives import Objective
from varied.scheduled_value import set_step

#: A step at which every schedule has its final value.
FINAL_STEP = 10**12


class TrainingStep(nn.Module, ABC):
    """The module that `train` trains; its forward pass computes the loss of a batch."""

    #: Whether all scheduled values stay at their final values.
    freeze_schedules: bool = False

    @abstractmethod
    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the scalar loss, and its detached terms by name."""

    @abstractmethod
    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Initialize the parts that depend on data, such as codebooks, from the first rows."""

    @property
    def discriminators(self) -> Sequence[AdversarialTerm]:
        """The terms whose parameters have their own learning rate."""
        return ()

    def set_step(self, step: int, progress: float = 1.0) -> None:
        """Update all scheduled values for a step."""
        if self.freeze_schedules:
            step, progress = FINAL_STEP, 1.0
        set_step(self, step, progress)


class Step(TrainingStep):
    """The training step of a model with an objective.

    Arguments:
        model: Maps model inputs to a trace.
        objective: Maps a trace to a loss and its terms by name.
        load: Maps stored rows to model inputs on the device, for example by scaling uint8
            values to [0, 1] or by binarizing them.
        max_shift: The ``max_shift`` of the plan, used in training mode.
        freeze_schedules: Whether all scheduled values stay at their final values.
        property_head: Predicts properties from the latent variables, or None.
        property_weight: The weight of its loss.
    """

    def __init__(
        self,
        model: LatentModel,
        objective: Objective,
        load: Callable[[Tensor], Tensor] = torch.Tensor.float,
        *,
        max_shift: int = 0,
        freeze_schedules: bool = False,
        property_head: PropertyHead | None = None,
        property_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.model, self.objective, self.load = model, objective, load
        self.max_shift, self.freeze_schedules = max_shift, freeze_schedules
        self.property_head, self.property_weight = property_head, property_weight

    def forward(
        self,
        x: Tensor,
        c: Tensor | None = None,
        mask: Tensor | None = None,
        y: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, in nats, and its unweighted terms and other logged values by name.

        Arguments:
            x: The stored rows, with shape (B, *event).
            c: The context, with shape (B, F), or None.
            mask: 1 where observed, with shape (B, *event), or None.
            y: The properties that ``property_head`` predicts, with shape (B, P), or None.
        """
        if self.training and self.max_shift:
            x, mask = random_shift(x, mask, self.max_shift)
        trace = self.model(self.load(x), c, mask, self.objective.samples)
        loss, parts = self.objective(trace)
        if self.property_head is not None and y is not None:
            error = self.property_head(trace.z, y).mean()
            loss = loss + self.property_weight * error
            parts["properties"] = error.detach()
        return loss, parts

    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Initialize the parts that depend on data, such as codebooks, from the first rows."""
        with runtime.eval_float32(self):
            rows = self.load(x)
            for module in self.model.modules():
                if isinstance(module, InitializedFromRows):
                    module.init_from_rows(rows)
            self.model.init_from_data(rows, c)

    @property
    def discriminators(self) -> Sequence[AdversarialTerm]:
        """The adversarial terms of the objective."""
        return tuple(self.objective.discriminators.values())


class PropertyHead(nn.Module):
    r"""A network that predicts properties of examples from their latent variables.

    .. math:: -\log p(y \mid z) = \sum_p \frac{(y_p - f_p(z))^2}{2 \sigma_p^2} + \log \sigma_p
        + \tfrac12 \log 2 \pi

    It is trained together with the model, so that similar latent variables have similar properties.
    The standard deviation of each property is learned, and is at least 0.05, so that a property
    that can be predicted exactly does not dominate the loss.

    References:
        Automatic Chemical Design Using a Data-Driven Continuous Representation of Molecules
        (Gómez-Bombarelli et al., 2018), https://arxiv.org/abs/1610.02415

    Arguments:
        latent: The shape of the latent variable of one example.
        n_properties: The number P of properties.
        width: The number of hidden units.
    """

    def __init__(self, latent: tuple[int, ...], n_properties: int, width: int = 256) -> None:
        super().__init__()
        self.n_dims = len(latent)
        self.net = nn.Sequential(
            nn.Linear(math.prod(latent), width), nn.SiLU(), nn.Linear(width, n_properties)
        )
        self.log_std = nn.Parameter(torch.zeros(n_properties))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Return the negative log-probability of the known properties, in nats.

        Arguments:
            z: Latent variables, with shape (K, B, *latent).
            y: Standardized properties, with shape (B, P); unknown ones are NaN.

        Returns:
            The mean over the K samples, with shape (B).
        """
        is_known = ~y.isnan()
        log_std = self.log_std.clamp_min(math.log(0.05))
        error = (y.nan_to_num() - self.net(z.flatten(-self.n_dims))) / log_std.exp()
        nll = (error.square() + math.log(2 * math.pi)) / 2 + log_std
        return (nll * is_known).sum(-1).mean(0)  # type: ignore[no-any-return]
