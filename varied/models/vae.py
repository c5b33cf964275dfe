"""The variational autoencoder, composed of three conditional distributions."""

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


def zero_missing(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return data with missing values replaced by 0.

    Multiplying by the mask would not work: missing values are often NaN, and NaN times 0 is NaN.
    """
    return x if mask is None else x.masked_fill(mask == 0, 0)


def drop_context(c: Tensor | None, p: float, training: bool) -> Tensor | None:
    """Return a context whose rows are set to zero with probability ``p`` during training.

    Zeros represent "no class" for one-hot classes, and the mean value for standardized numbers.
    """
    if c is None or not p or not training:
        return c
    return c * (torch.rand(len(c), 1, device=c.device) >= p)


def sample_with_temperature(p: Distribution, n: int, temperature: Temperature) -> Tensor:
    """Return n draws, with shape (n, *event), and scale their deviation from the mean.

    A `Tempered` distribution applies the temperature itself.

    Raises:
        VariedError: If there are several temperatures.
    """
    if not isinstance(temperature, float | int):
        raise VariedError(
            "Only a ladder VAE accepts one temperature per level; pass a single number."
        )
    shape = () if p.batch_shape else (n,)
    if isinstance(p, Tempered):
        return p.draw(shape, temperature)
    z = p.sample(shape)
    return z if temperature == 1.0 else p.mean + temperature * (z - p.mean)


class VAE(LatentModel):
    r"""A variational autoencoder: a posterior, a likelihood and a prior.

    .. math:: \log p(x) \ge \mathbb E_{q(z \mid x)} [\log p(x \mid z)] - KL(q(z \mid x) \,\|\, p(z))

    With a context ``c``, the model is a conditional VAE; with a deterministic posterior, it is an
    autoencoder; with a quantizer as the posterior, it is a VQ-VAE.

    References:
        Auto-Encoding Variational Bayes (Kingma & Welling, 2013), https://arxiv.org/abs/1312.6114

    Arguments:
        encoder: q(z | x, c).
        decoder: p(x | z, c).
        prior: A module that maps a context (or None) to p(z | c).
        context_dropout: The probability of dropping the context of a row during training, so that
            one model learns to sample with and without a context.
    """

    prior: Prior

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: Prior,
        context_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.prior = encoder, decoder, prior
        self.context_dropout = context_dropout

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of the latent variable of one example."""
        return self.decoder.inputs

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.decoder.head.event_shape

    @property
    def params_per_element(self) -> int:
        """The number of likelihood parameters per element of an example."""
        return self.decoder.head.params_per_element

    @property
    def provides(self) -> frozenset[str]:
        """The properties that the posterior and the prior provide to terms."""
        return self.encoder.head.provides & (self.prior.provides | {"codes"})

    @property
    def num_codes(self) -> int:
        """The size of the codebook, or 0 without a codebook."""
        return self.encoder.head.num_codes if isinstance(self.encoder.head, Quantizer) else 0

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, samples: int = 1
    ) -> Trace:
        """Return a trace whose latent variables have shape (K, B, *latent)."""
        x, c = zero_missing(x, mask), drop_context(c, self.context_dropout, self.training)
        q = self.encoder(x, c)
        z = q.rsample((samples,))
        return Trace(x, self.decoder(z, c), [Level(z, q, self.prior(c))], mask, c=c)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Return q(z | x, c), with batch shape (B)."""
        return self.encoder(x, c)  # type: ignore[no-any-return]

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Return p(x | z, c), with the leading dimensions of ``z`` as the batch shape."""
        return self.decoder(z, c)  # type: ignore[no-any-return]

    def sample_prior(
        self, n: int, c: Tensor | None = None, temperature: Temperature = 1.0
    ) -> Tensor:
        """Draw latent variables from the prior, with shape (n, *latent).

        Raises:
            VariedError: If a temperature is not supported in the latent space, or is a list.
        """
        if temperature != 1.0 and self.prior.space not in ("real", "codes"):
            raise VariedError(
                "A temperature requires real-valued latent variables or a codebook; omit "
                "`temperature`."
            )
        return sample_with_temperature(self.prior(c), n, temperature)

    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Initialize codebooks and pseudo-inputs from the first rows."""
        if not self.prior.fitted_later:
            self.prior.init_from_data(x, c)
        self.encoder.head.init_from_data(self.encoder.outputs(x, c))


def build_vae(factory: PartFactory, *, context_dropout: float = 0.0) -> VAE:
    """Return a VAE with one level of latent variables.

    Arguments:
        factory: Builds the parts.
        context_dropout: The probability of dropping the context of a row during training, so that a
            conditional model can also sample without a context; typical values are 0.1 to 0.2.

    References:
        Classifier-Free Diffusion Guidance (Ho & Salimans, 2022), https://arxiv.org/abs/2207.12598

    Raises:
        VariedError: If the posterior and the prior have different numbers of classes.
    """
    posterior = factory.posterior(factory.latent_shape)
    likelihood = factory.likelihood(factory.shape)
    prior = factory.prior(factory.latent_shape, factory.context)
    encoder, decoder = factory.encoder(posterior), factory.decoder(likelihood)
    encoder.net = likelihood.input_net(encoder.net)
    if posterior.space != prior.space:
        raise VariedError(
            "The posterior and the prior have different numbers of classes; use the same "
            "`n_classes` for both."
        )
    prior.attach(encoder)
    return VAE(encoder, decoder, prior, context_dropout)
