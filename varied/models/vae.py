"""The variational autoencoder: three conditional distributions."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn
from torch.distributions import Distribution

from varied.trace import Given, Level, Trace

__all__ = ["VAE", "LatentModel"]


class LatentModel(Protocol):
    """What trainers, evaluation and uses ask of a model."""

    encoder: Given
    decoder: Given
    prior: nn.Module

    def __call__(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, samples: int = 1
    ) -> Trace:
        """Return the trace of one pass with K = ``samples`` draws."""
        ...

    def latents(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Return draws from the prior."""
        ...

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Return new data."""
        ...


class VAE(nn.Module):
    r"""A posterior, a likelihood and a prior.

    .. math:: \log p(x) \ge \mathbb E_{q(z \mid x)} [\log p(x \mid z)] - KL(q(z \mid x), p(z))

    A conditional VAE is this with a context ``c``; an autoencoder is this with a point posterior.

    References:
        Auto-Encoding Variational Bayes (Kingma & Welling, 2013), https://arxiv.org/abs/1312.6114

    Arguments:
        encoder: q(z given x, c).
        decoder: p(x given z, c).
        prior: A module from a context (or None) to p(z given c).
    """

    def __init__(self, encoder: Given, decoder: Given, prior: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder, self.prior = encoder, decoder, prior

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
        # Filled, not multiplied: what is missing is often NaN, and NaN times 0 is NaN.
        x = x if mask is None else x.masked_fill(mask == 0, 0)
        q = self.encoder(x, c)
        z = q.rsample((samples,))
        return Trace(x, self.decoder(z, c), [Level(z, q, self.prior(c))], mask)

    def latents(self, n: int, c: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Return draws from the prior, with shape (n, *latent).

        Arguments:
            n: How many.
            c: The context, with shape (n, F), or None.
            temperature: A factor on the deviation from the prior's mean: below 1 is more typical.
        """
        p: Distribution = self.prior(c)
        z = p.sample((n,) if not p.batch_shape else ())
        return z if temperature == 1.0 else p.mean + temperature * (z - p.mean)

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Return new data drawn from p(x given z), z from the prior; shape (n, *event)."""
        px: Distribution = self.decoder(self.latents(n, c), c)
        return px.sample()
