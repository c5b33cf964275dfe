"""A head turns what a network put out into a distribution.

It states its ``params_per_element`` (parameters for each element) and its ``event`` (the shape of one datum),
so that the raw shape it needs is ``(params_per_element * C, *rest)``. A leaf writes ``build`` alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution, Independent

__all__ = ["Head"]


class Head(nn.Module, ABC):
    """Raw parameters in, a distribution out.

    To add one, subclass, set ``params_per_element`` and write ``build(*params)``: it gets ``params_per_element`` tensors of
    shape ``(*, *event)`` and returns an elementwise distribution of that batch shape. Shapes are
    handled here.

    Arguments:
        event: The shape of one datum, channels first.
    """

    params_per_element: int = 1
    #: What the distributions of this head give, for terms that read it: "density" (a log_prob that
    #: means something), "marginals" (independent dimensions in closed form) and "codes" (indices).
    provides: frozenset[str] = frozenset({"density", "marginals"})

    #: Where its events lie; a prior for it lies there too.
    space: str = "real"
    #: Whether a training step with this head can be compiled.
    can_compile: bool = True

    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__()
        self.event_shape = tuple(event)

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape that a network must put out for one datum."""
        return (self.params_per_element * self.event_shape[0], *self.event_shape[1:])

    @property
    def size(self) -> int:
        """The number of elements of one datum."""
        return math.prod(self.event_shape)

    def init_from_data(self, h: Tensor) -> None:
        """Take what the network puts out for the first rows; for a start that depends on data."""

    @abstractmethod
    def build(self, *params: Any, **others: Any) -> Distribution:
        """Return an elementwise distribution from ``params_per_element`` tensors of shape (*, *event)."""

    def forward(self, h: Tensor) -> Distribution:
        """Return the distribution of one datum each.

        Arguments:
            h: What the network put out, with shape (*, params_per_element * C, *rest).

        Returns:
            A distribution with batch shape (*) and event shape (C, *rest).
        """
        params = h.chunk(self.params_per_element, dim=h.dim() - len(self.event_shape))
        return Independent(self.build(*params), len(self.event_shape), validate_args=False)
