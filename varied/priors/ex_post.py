"""The base class for priors that are fitted to the latents after the model is trained."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from varied.priors.base import Prior, Shape
from varied.priors.normal import standard_normal


class ExPostPrior(Prior):
    """A prior that equals the standard normal until it is fitted to latents.

    The model is trained with the closed-form KL to the standard normal, and the prior is then
    fitted to the aggregate posterior. Subclasses implement `fitted_distribution` and call
    `mark_fitted` after fitting.

    Arguments:
        event: The shape of a latent variable.
    """

    provides = frozenset({"density"})
    fitted_later = True

    fitted: Tensor

    def __init__(self, event: Shape) -> None:
        super().__init__(event)
        self.register_buffer("fitted", torch.tensor(False))
        # A Python bool, since reading the value of a tensor would break the graph when compiling.
        self.is_fitted = False
        self.register_load_state_dict_post_hook(_restore)  # type: ignore[no-untyped-call]

    def mark_fitted(self) -> None:
        """Switch from the standard normal to the fitted distribution."""
        self.fitted.fill_(True)
        self.is_fitted = True

    @abstractmethod
    def fitted_distribution(self, c: Tensor | None) -> Distribution:
        """Return p(z | c) of the fitted prior."""

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return the fitted distribution or, before fitting, the standard normal."""
        return self.fitted_distribution(c) if self.is_fitted else standard_normal(self.zero)


def _restore(module: nn.Module, incompatible_keys: Any) -> None:
    module.is_fitted = bool(module.fitted)  # type: ignore[assignment]


def mean_and_std(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation (at least 1e-4) of each dimension."""
    std, mean = torch.std_mean(z, 0, correction=0)
    return mean, std.clamp(min=1e-4)
