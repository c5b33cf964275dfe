"""What every model offers, and the factory on which structures are put together."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.distributions import Distribution

from varied.heads import Head
from varied.priors import Prior
from varied.trace import ConditionalDistribution, Trace

__all__ = ["LatentModel", "PartFactory", "Temperature"]

Shape = tuple[int, ...]
Temperature = float | Sequence[float]


class LatentModel(nn.Module, ABC):
    """What trainers, evaluation and uses ask of a model. It knows no loss."""

    #: p(z), from a context or None.
    prior: Prior

    @property
    @abstractmethod
    def latent_shape(self) -> Shape:
        """The shape of one latent."""

    @property
    @abstractmethod
    def event_shape(self) -> Shape:
        """The shape of one datum."""

    @property
    @abstractmethod
    def params_per_element(self) -> int:
        """Numbers that the decoder puts out for each element of a datum."""

    @property
    @abstractmethod
    def provides(self) -> frozenset[str]:
        """What terms can read of the posterior and the prior."""

    @property
    def num_codes(self) -> int:
        """The size of the codebook, 0 where there is none."""
        return 0

    @property
    def num_classes(self) -> int:
        """The number of classes that it tells apart, 0 where it knows none."""
        return 0

    @property
    def num_enumerated(self) -> int:
        """How many codes a pass has for each draw: a model of classes tries every class."""
        return 1

    @property
    def required_term(self) -> str:
        """The term without which a part of it would stay untrained; empty where there is none."""
        return ""

    @abstractmethod
    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, samples: int = 1
    ) -> Trace:
        """Return the trace of one pass.

        Arguments:
            x: The data, with shape (B, *event).
            c: The context, with shape (B, F), or None.
            mask: 1 where observed, with the shape of ``x``, or None; what is missing is given to
                the encoder as 0 and left out of the likelihood.
            samples: The number K of draws for each datum.

        Returns:
            A trace whose latents have shape (K, B, *latent).
        """

    @abstractmethod
    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Return q(z given x, c), with batch shape (B); its mean is the code of a datum."""

    @abstractmethod
    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Return p(x given z, c), with the leading dimensions of ``z`` as batch shape."""

    @abstractmethod
    def sample_prior(
        self, n: int, c: Tensor | None = None, temperature: Temperature = 1.0
    ) -> Tensor:
        """Return draws from the prior, with shape (n, *latent).

        Arguments:
            n: How many.
            c: The context, with shape (n, F), or None.
            temperature: A factor on the deviation from the prior's mean: below 1 is more typical;
                a ladder takes one for each level too, from the datum upwards.
        """

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Return new data drawn from p(x given z), z from the prior; shape (n, *event)."""
        return self.decode(self.sample_prior(n, c), c).sample()

    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Take the first rows, for parts whose start depends on data."""


@dataclass(frozen=True)
class PartFactory:
    """Makes the parts of a model as its spec names them; a structure puts them together.

    Arguments:
        shape: The shape of one datum.
        latent: The shape of one latent.
        context: The number of features of the context.
        net: From the shapes of an input and an output, and features of context, to a net.
        likelihood: From the shape of a datum to p(x given z).
        posterior: From the shape of a latent to q(z given x).
        prior: From the shape of a latent and features of context to p(z).
        net_name: The name of the net.
    """

    shape: Shape
    latent_shape: Shape
    context: int
    net: Callable[[Shape, Shape, int], nn.Module]
    likelihood: Callable[[Shape], Head]
    posterior: Callable[[Shape], Head]
    prior: Callable[[Shape, int], Prior]
    net_name: str = "mlp"

    @property
    def size(self) -> int:
        """The number of elements of one latent."""
        return math.prod(self.latent_shape)

    def conditional(self, inputs: Shape, head: Head, context: int) -> ConditionalDistribution:
        """Return p(a given b, c) with a net between."""
        return ConditionalDistribution(self.net(inputs, head.param_shape, context), head, inputs)
