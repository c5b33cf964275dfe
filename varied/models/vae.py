"""The variational autoencoder: three conditional distributions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from varied.distributions.base import Tempered
from varied.errors import VariedError
from varied.models.base import LatentModel, PartFactory, Temperature
from varied.priors import Prior
from varied.quantizers import Quantizer
from varied.trace import ConditionalDistribution, Level, Trace

__all__ = ["VAE", "build_vae", "drop_context", "sample_with_temperature", "zero_missing"]


def zero_missing(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return data with 0 where a number is missing.

    Filled, not multiplied: what is missing is often NaN, and NaN times 0 is NaN.
    """
    return x if mask is None else x.masked_fill(mask == 0, 0)


def drop_context(c: Tensor | None, chance: float, training: bool) -> Tensor | None:
    """Return a context in which rows are zeros by chance.

    Zeros stand for "no label" where the context is a class; where it is standardized numbers they
    are the mean, so a draw without a context is then one at the mean.
    """
    if c is None or not chance or not training:
        return c
    return c * (torch.rand(len(c), 1, device=c.device) >= chance)


def sample_with_temperature(p: Distribution, n: int, temperature: Temperature) -> Tensor:
    """Return n draws whose deviation from the mean is scaled; shape (n, *event).

    A distribution with a ``draw`` of its own knows better what a temperature does to it.

    Raises:
        VariedError: If there is a temperature for each level, and so no ladder.
    """
    if not isinstance(temperature, float | int):
        raise VariedError("Only a ladder takes a temperature for each level; give one number.")
    if isinstance(p, Tempered):
        return p.draw((n,) if not p.batch_shape else (), temperature)
    z = p.sample((n,) if not p.batch_shape else ())
    return z if temperature == 1.0 else p.mean + temperature * (z - p.mean)


class VAE(LatentModel):
    r"""A posterior, a likelihood and a prior.

    .. math:: \log p(x) \ge \mathbb E_{q(z \mid x)} [\log p(x \mid z)] - KL(q(z \mid x), p(z))

    A conditional VAE is this with a context ``c``; an autoencoder is this with a point posterior; a
    VQ-VAE is this with a posterior that is a point on a code.

    References:
        Auto-Encoding Variational Bayes (Kingma & Welling, 2013), https://arxiv.org/abs/1312.6114

    Arguments:
        encoder: q(z given x, c).
        decoder: p(x given z, c).
        prior: A module from a context (or None) to p(z given c).
        context_dropout: The chance that a row's context is dropped in training, so that one model
            learns to sample with and without.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: Prior,
        context_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.prior = encoder, decoder, prior
        self.unconditional = context_dropout

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of one latent."""
        return self.decoder.inputs

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one datum."""
        return self.decoder.head.event_shape

    @property
    def params_per_element(self) -> int:
        """Numbers that the decoder puts out for each element of a datum."""
        return self.decoder.head.params_per_element

    @property
    def provides(self) -> frozenset[str]:
        """What terms can read of the posterior and the prior."""
        return self.encoder.head.provides & (self.prior.provides | {"codes"})

    @property
    def num_codes(self) -> int:
        """The size of the codebook, 0 where there is none."""
        return self.encoder.head.num_codes if isinstance(self.encoder.head, Quantizer) else 0

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, samples: int = 1
    ) -> Trace:
        """Return the trace of one pass, whose latents have shape (K, B, *latent)."""
        x, c = zero_missing(x, mask), drop_context(c, self.unconditional, self.training)
        q = self.encoder(x, c)
        z = q.rsample((samples,))
        return Trace(x, self.decoder(z, c), [Level(z, q, self.prior(c))], mask, c=c)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Return q(z given x, c), with batch shape (B)."""
        return self.encoder(x, c)  # type: ignore[no-any-return]

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Return p(x given z, c), with the leading dimensions of ``z`` as batch shape."""
        return self.decoder(z, c)  # type: ignore[no-any-return]

    def sample_prior(
        self, n: int, c: Tensor | None = None, temperature: Temperature = 1.0
    ) -> Tensor:
        """Return draws from the prior, with shape (n, *latent)."""
        if temperature != 1.0 and self.prior.space not in ("real", "codes"):
            raise VariedError("A temperature needs latents that are real numbers; leave it at 1.")
        return sample_with_temperature(self.prior(c), n, temperature)

    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Take the first rows, for codebooks and pseudo-inputs that start from data."""
        if not self.prior.fitted_later:
            self.prior.init_from_data(x, c)
        self.encoder.head.init_from_data(self.encoder.outputs(x, c))


def build_vae(factory: PartFactory, *, context_dropout: float = 0.0) -> VAE:
    """One rung of latents.

    Arguments:
        factory: Makes the parts.
        context_dropout: The chance that a row's context is dropped in training, so that a
            conditional model samples without one too; 0.1 to 0.2 is usual.

    References:
        Classifier-Free Diffusion Guidance (Ho & Salimans, 2022), https://arxiv.org/abs/2207.12598
    """
    posterior, likelihood = (
        factory.posterior(factory.latent_shape),
        factory.likelihood(factory.shape),
    )
    prior = factory.prior(factory.latent_shape, factory.context)
    encoder = factory.conditional(factory.shape, posterior, factory.context)
    decoder = factory.conditional(factory.latent_shape, likelihood, factory.context)
    if posterior.space != prior.space:
        raise VariedError("Posterior and prior have other numbers of classes; give both the same.")
    prior.attach(encoder)
    return VAE(encoder, decoder, prior, context_dropout)
