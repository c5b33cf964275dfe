"""The base class for posteriors with dependent dimensions."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from varied.heads import Head

Shape = tuple[int, ...]


class NonFactorized(Head):
    """A head with dependent elements; its ``build`` returns a distribution over events.

    The channels of the network output are split by ``sizes``, which subclasses override if the
    parameters do not all have the shape of the event.
    """

    provides: frozenset[str] = frozenset({"density"})

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of channels of each parameter."""
        return (self.event_shape[0],) * self.params_per_element

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape of the network output for one example."""
        return (sum(self.sizes), *self.event_shape[1:])

    def forward(self, h: Tensor) -> Distribution:
        """Return the distribution of the latents.

        Arguments:
            h: The network output, with shape (*, sum(sizes), *rest).

        Returns:
            A distribution with batch shape (*) and event shape (C, *rest).
        """
        return self.build(*h.split(self.sizes, dim=h.dim() - len(self.event_shape)))
