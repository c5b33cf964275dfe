"""What every prior is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.distributions import Distribution

__all__ = ["Prior"]


class Prior(nn.Module, ABC):
    """A distribution over latents, given a context or none.

    Arguments:
        event: The shape of a latent.
    """

    gives: frozenset[str] = frozenset({"density", "marginals"})

    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__()
        self.event = tuple(event)

    @abstractmethod
    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return p(z given c), with a batch shape of () or (B)."""
