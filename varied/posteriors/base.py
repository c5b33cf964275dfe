"""What every posterior is."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from varied.heads import Head

__all__ = ["NonFactorized", "Posterior"]


class Posterior(Head):
    """A head whose events are latents; ``space`` names where these lie, as that of a prior does."""

    #: "real", "sphere", or what has choices among classes, such as "simplex-8".
    space: str = "real"


class NonFactorized(Posterior):
    """A posterior whose elements are not independent: ``build`` returns a distribution of events.

    It gets tensors that split the channels of what the network put out by ``sizes``, where each
    element has not simply its own ``params_per_element`` parameters.
    """

    provides: frozenset[str] = frozenset({"density"})

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of channels of each parameter."""
        return (self.event_shape[0],) * self.params_per_element

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape that a network must put out for one datum."""
        return (sum(self.sizes), *self.event_shape[1:])

    def forward(self, h: Tensor) -> Distribution:
        """Return the distribution of one latent each.

        Arguments:
            h: What the network put out, with shape (*, sum(sizes), *rest).

        Returns:
            A distribution with batch shape (*) and event shape (C, *rest).
        """
        return self.build(*h.split(self.sizes, dim=h.dim() - len(self.event_shape)))
