"""The interface of all models, and the architectures that build models from parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from varied.errors import VariedError
from varied.heads import Head
from varied.priors import Prior
from varied.trace import ConditionalDistribution, Trace

Shape = tuple[int, ...]
Temperature = float | Sequence[float]


class LatentModel(nn.Module, ABC):
    """A latent variable model p(x, z) with an approximate posterior q(z | x).

    Training, evaluation and all other operations rely only on this interface. A model does not
    compute a loss; objectives compute it from a `Trace`.
    """

    #: p(z), or None if each level of the model has its own prior.
    prior: Prior | None
    #: Whether p(x | z, c) depends on the context.
    decoder_reads_context: bool = True
    #: Whether traces have an ``upper`` trace, from a model of the latent variables.
    has_upper_trace: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.prior = None

    @property
    @abstractmethod
    def latent_shape(self) -> Shape:
        """The shape of the latent variable of one example."""

    @property
    @abstractmethod
    def event_shape(self) -> Shape:
        """The shape of one example."""

    @property
    @abstractmethod
    def params_per_element(self) -> int:
        """The number of likelihood parameters per element that a forward pass computes."""

    @property
    @abstractmethod
    def provides(self) -> frozenset[str]:
        """The properties that the posterior and the prior provide; see `varied.heads.Head`."""

    @property
    def num_codes(self) -> int:
        """The size of the codebook, or 0 without a codebook."""
        return 0

    @property
    def num_classes(self) -> int:
        """The number of classes that the model infers, or 0 if it infers none."""
        return 0

    @property
    def num_enumerated(self) -> int:
        """The number of latent values evaluated per draw: 1, or the number of classes."""
        return 1

    @property
    def required_term(self) -> str:
        """The name of the term that trains an otherwise untrained part of the model, or ""."""
        return ""

    @abstractmethod
    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, samples: int = 1
    ) -> Trace:
        """Run the encoder and the decoder.

        Arguments:
            x: The data, with shape (B, *event).
            c: The context, with shape (B, F), or None.
            mask: A tensor with the shape of ``x`` that is 1 where observed and 0 where missing, or
                None. Missing values are set to 0 for the encoder and ignored by the likelihood.
            samples: The number K of draws per example.

        Returns:
            A trace whose latent variables have shape (K, B, *latent).
        """

    @abstractmethod
    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Return q(z | x, c), with batch shape (B); the means are the codes of the examples."""

    @abstractmethod
    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Return p(x | z, c), with the leading dimensions of ``z`` as the batch shape."""

    @abstractmethod
    def sample_prior(
        self, n: int, c: Tensor | None = None, temperature: Temperature = 1.0
    ) -> Tensor:
        """Draw latent variables from the prior.

        Arguments:
            n: The number of draws.
            c: The context, with shape (n, F), or None.
            temperature: The factor that scales the deviation from the mean of the prior, unless the
                prior defines another effect (see `varied.distributions.base.Tempered`); values
                below 1 result in more typical samples. A ladder VAE also accepts a list with one
                factor per level, from the bottom level up.

        Returns:
            Latent variables with shape (n, *latent).
        """

    def standardize(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Remove the effect of the context on latent variables; see `Prior.standardize`."""
        return z if self.prior is None else self.prior.standardize(z, c)

    def unstandardize(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Return the latent variables whose standardized values are ``z``."""
        return z if self.prior is None else self.prior.unstandardize(z, c)

    def classify(self, x: Tensor) -> Tensor:
        """Return the class probabilities q(y | x), with shape (B, C).

        Raises:
            VariedError: If the model has no classes.
        """
        raise VariedError("This model has no classes; train one with architecture='m2'.")

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Draw z from the prior, and return samples from p(x | z, c), with shape (n, *event)."""
        return self.decode(self.sample_prior(n, c), c).sample()

    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Initialize data-dependent parts, such as codebooks, from the first rows."""


@dataclass(frozen=True)
class PartFactory:
    """Builds the parts named in a spec, which an architecture assembles into a model.

    Arguments:
        shape: The shape of one example.
        latent_shape: The shape of the latent variable.
        context: The number of context features.
        net: Builds a network from the input shape, the output shape and the number of context
            features.
        encoder_net: Builds the network of the encoder, from the same arguments.
        decoder_net: Builds the network of the decoder, from the same arguments.
        likelihood: Builds the head of p(x | z) from the shape of an example.
        posterior: Builds the head of q(z | x) from the shape of a latent variable.
        prior: Builds p(z) from the shape of a latent variable and the number of context features.
        net_name: The name of the network.
    """

    shape: Shape
    latent_shape: Shape
    context: int
    net: Callable[[Shape, Shape, int], nn.Module]
    encoder_net: Callable[[Shape, Shape, int], nn.Module]
    decoder_net: Callable[[Shape, Shape, int], nn.Module]
    likelihood: Callable[[Shape], Head]
    posterior: Callable[[Shape], Head]
    prior: Callable[[Shape, int], Prior]
    net_name: str = "mlp"

    def encoder(self, head: Head) -> ConditionalDistribution:
        """Return q(z | x, c) with a network from ``encoder_net``."""
        net = self.encoder_net(self.shape, head.param_shape, self.context)
        return ConditionalDistribution(net, head, self.shape)

    def decoder(self, head: Head) -> ConditionalDistribution:
        """Return p(x | z, c) with a network from ``decoder_net``."""
        net = self.decoder_net(self.latent_shape, head.param_shape, self.context)
        return ConditionalDistribution(net, head, self.latent_shape)

    def conditional(self, inputs: Shape, head: Head, context: int) -> ConditionalDistribution:
        """Return p(a | b, c) with a network from ``net``; b has shape ``inputs``."""
        return ConditionalDistribution(self.net(inputs, head.param_shape, context), head, inputs)


@dataclass(frozen=True)
class Architecture:
    """The architecture of a model: how its latent variables depend on each other.

    It has the same settings as the function that builds the model.

    Arguments:
        build: A function that builds a model from a `PartFactory` and settings.
        fixed_axes: The axes that the architecture determines and that a spec therefore cannot set.
    """

    build: Callable[..., LatentModel]
    fixed_axes: tuple[str, ...] = ()

    def __call__(self, factory: PartFactory, **settings: Any) -> LatentModel:
        """Build a model from the parts of a factory and the settings of the architecture."""
        return self.build(factory, **settings)

    @property
    def __wrapped__(self) -> Callable[..., LatentModel]:  # its signature declares the settings
        return self.build
