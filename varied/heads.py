"""Heads: modules that turn the output of a network into a distribution."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution, Independent


class Head(nn.Module, ABC):
    """A module that turns the output of a network into a distribution.

    To add a head, subclass this class, set ``params_per_element`` and implement
    ``build(*params)``, which receives that many tensors of shape ``(*, *event)`` and returns an
    elementwise distribution with this batch shape. The base class handles all shapes.

    Arguments:
        event: The shape of one example, channels first.
    """

    #: The number of parameters of the distribution for each element of an example.
    params_per_element: int = 1
    #: The properties that terms may require: "density" (``log_prob`` is defined), "marginals"
    #: (independent dimensions whose KL has a closed form), "codes" (codebook indices).
    provides: frozenset[str] = frozenset({"density", "marginals"})
    #: The space of the events; the posterior and the prior must have the same space.
    space: str = "real"
    #: Whether a training step with this head can be compiled.
    can_compile: bool = True

    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__()
        self.event_shape = tuple(event)

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape of the network output for one example."""
        return (self.params_per_element * self.event_shape[0], *self.event_shape[1:])

    @property
    def size(self) -> int:
        """The number of elements of one example."""
        return math.prod(self.event_shape)

    def init_from_data(self, h: Tensor) -> None:
        """Initialize parameters from the network output for the first rows; by default, do nothing.

        Arguments:
            h: The output of the network, with shape (*, *param_shape).
        """

    def input_net(self, net: nn.Module) -> nn.Module:
        """Return a network that transforms the data for ``net``; by default, ``net`` itself.

        Arguments:
            net: A network that reads the data, such as the network of the encoder.
        """
        return net

    @abstractmethod
    def build(self, *params: Any, **others: Any) -> Distribution:
        """Return an elementwise distribution of shape (*, *event) from its parameters."""

    def forward(self, h: Tensor) -> Distribution:
        """Return the distributions of a batch of examples.

        Arguments:
            h: The output of the network, with shape (*, params_per_element * C, *rest).

        Returns:
            A distribution with batch shape (*) and event shape (C, *rest).
        """
        params = h.chunk(self.params_per_element, dim=h.dim() - len(self.event_shape))
        return Independent(self.build(*params), len(self.event_shape), validate_args=False)
