"""Priors that are fitted to latents after the model."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from varied.distributions import Gaussian
from varied.priors.base import Prior

__all__ = ["ExPostPrior", "std_of"]


class ExPostPrior(Prior):
    """A prior that is the standard normal until it is fitted to latents.

    So the model is trained with a KL in closed form, and the prior then follows where the encoder
    has put the latents. To add one, write ``late`` and call ``settle`` once it is fitted.

    Arguments:
        event: The shape of a latent.
    """

    provides = frozenset({"density"})
    fitted_later = True

    fitted: Tensor
    zero: Tensor

    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__(event)
        self.register_buffer("fitted", torch.tensor(False))
        self.register_buffer("zero", torch.zeros(self.event_shape), persistent=False)
        # A plain bool beside the buffer: asking the buffer would stop a compiled graph.
        self.settled = False
        self.register_load_state_dict_post_hook(_recall)  # type: ignore[no-untyped-call]

    def mark_fitted(self) -> None:
        """Be what was fitted from now on."""
        self.fitted.fill_(True)
        self.settled = True

    @abstractmethod
    def fitted_distribution(self, c: Tensor | None) -> Distribution:
        """Return p(z given c) as it was fitted."""

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return what was fitted, and before that the standard normal."""
        if self.settled:
            return self.fitted_distribution(c)
        return Independent(
            Gaussian(self.zero, self.zero), len(self.event_shape), validate_args=False
        )


def _recall(module: nn.Module, missing: Any) -> None:
    module.settled = bool(module.fitted)  # type: ignore[assignment]


def std_of(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and deviation of each number of rows of latents; no deviation is 0."""
    deviation, mean = torch.std_mean(z, 0, correction=0)
    return mean, deviation.clamp(min=1e-4)
