"""Mixtures of diagonal Gaussians, full-covariance Gaussians or posteriors."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from varied.distributions.base import LOG_2PI, Tempered, UnvalidatedDistribution, base_distribution
from varied.priors.base import Shape, apply_in_chunks, to_size


class MixtureDistribution(Tempered, UnvalidatedDistribution):
    r"""A mixture of C distributions.

    .. math:: \log p(z) = \log \sum_c \pi_c \, p_c(z)

    Subclasses define the components. Unlike in PyTorch's ``MixtureSameFamily``, these may be
    posteriors of any kind, and no tensor over all samples, components and dimensions is stored.

    Arguments:
        log_weights: The logarithms of the weights up to a constant, with shape (C).
        event: The shape of a latent variable.
    """

    #: The number of floats that `component_log_prob` stores for each latent variable.
    floats_per_row: int

    def __init__(self, log_weights: Tensor, event: Shape) -> None:
        self.log_weights = log_weights.log_softmax(-1)
        super().__init__(Size(), event)

    @abstractmethod
    def component_log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of N latents under each component, with shape (N, C)."""

    @abstractmethod
    def sample_components(self, index: Tensor, temperature: float) -> Tensor:
        """Return a sample from the component at each index, with shape (N, *event)."""

    @property
    @abstractmethod
    def moments(self) -> tuple[Tensor, Tensor]:
        """The means and variances of the components, each with shape (C, *event)."""

    def _average(self, value: Tensor) -> Tensor:
        average: Tensor = torch.tensordot(self.log_weights.exp().to(value), value, 1)
        return average

    @property
    def mean(self) -> Tensor:
        """The mean of the mixture."""
        return self._average(self.moments[0])

    @property
    def variance(self) -> Tensor:
        """The variance of the mixture, both within and between components."""
        means, variances = self.moments
        return self._average(variances + (means - self.mean).square())

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of each latent variable, in nats, with shape (*)."""
        lead = value.shape[: value.dim() - len(self.event_shape)]
        rows = value.reshape(-1, *self.event_shape)
        return apply_in_chunks(self._log_prob, rows, floats_per_row=self.floats_per_row).reshape(
            lead
        )

    def _log_prob(self, z: Tensor) -> Tensor:
        log_prob = self.component_log_prob(z)
        return (log_prob + self.log_weights.to(log_prob)).logsumexp(-1).to(z)

    def draw(self, shape: Any = (), temperature: float = 1.0) -> Tensor:
        """Return samples with shape (*shape, *event).

        The temperature scales the deviation of a sample from the mean of its component.
        """
        shape = to_size(shape)
        if not shape.numel():
            return self.log_weights.new_empty(*shape, *self.event_shape)
        with torch.no_grad():
            index = torch.multinomial(self.log_weights.exp(), shape.numel(), replacement=True)
            return self.sample_components(index, temperature).reshape(*shape, *self.event_shape)


class DiagonalMixture(MixtureDistribution):
    r"""A mixture of diagonal Gaussians.

    .. math:: \log p_c(z) = -\tfrac12 \Big( z^2 \cdot v_c^{-1} - 2 z \cdot \mu_c v_c^{-1}
              + \sum_j \mu_{cj}^2 / v_{cj} + \log 2 \pi v_{cj} \Big)

    Expanding the square yields a single matrix product over all latents and components, which
    requires D times less memory. Since large terms cancel when variances are small, the density is
    computed in float64, which makes it as precise as the sum of squares in float32.

    Arguments:
        log_weights: The logarithms of the weights, with shape (C).
        mean: The means, with shape (C, *event).
        log_variance: The logarithms of the variances, with shape (C, *event).
    """

    def __init__(self, log_weights: Tensor, mean: Tensor, log_variance: Tensor) -> None:
        super().__init__(log_weights, mean.shape[1:])
        self.means, self.log_variances = mean, log_variance
        self.floats_per_row = len(mean) + 4 * mean[0].numel()
        mean, log_variance = mean.flatten(1).double(), log_variance.flatten(1).double()
        precision = (-log_variance).exp()
        self._factors = torch.cat([-0.5 * precision, mean * precision], 1).T
        self._constant = -0.5 * (mean.square() * precision + log_variance + LOG_2PI).sum(1)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """The means and variances of the components."""
        return self.means, self.log_variances.exp()

    def component_log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of each latent variable under each component, in float64."""
        z = z.flatten(1).double()
        return torch.addmm(self._constant, torch.cat([z.square(), z], 1), self._factors)

    def sample_components(self, index: Tensor, temperature: float) -> Tensor:
        """Return a sample from the component at each index."""
        mean, scale = self.means[index], (0.5 * self.log_variances[index]).exp()
        return mean + temperature * scale * torch.randn_like(mean)


class FullMixture(MixtureDistribution):
    r"""A mixture of Gaussians with full covariances.

    .. math:: \log p_c(z) = -\tfrac12 \lVert L_c^{-1} (z - \mu_c) \rVert^2 - \log |L_c|
              - \tfrac D2 \log 2 \pi

    Arguments:
        log_weights: The logarithms of the weights, with shape (C).
        mean: The means, with shape (C, D).
        scale_tril: The Cholesky factors of the covariances, with shape (C, D, D).
        event: The shape of a latent variable, with D elements.
    """

    def __init__(self, log_weights: Tensor, mean: Tensor, scale_tril: Tensor, event: Shape) -> None:
        super().__init__(log_weights, event)
        self.means, self.scale_tril = mean, scale_tril
        self.floats_per_row = 2 * mean.numel()

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """The means and variances of the components."""
        shape = (-1, *self.event_shape)
        return self.means.reshape(shape), self.scale_tril.square().sum(-1).reshape(shape)

    def component_log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of each latent variable under each component."""
        centered = (z.flatten(1).T - self.means.unsqueeze(-1)).to(z)
        white = torch.linalg.solve_triangular(self.scale_tril, centered, upper=False)
        log_det = self.scale_tril.diagonal(dim1=1, dim2=2).log().sum(-1, keepdim=True)
        log_prob: Tensor = (-0.5 * (white.square() + LOG_2PI).sum(1) - log_det).T
        return log_prob

    def sample_components(self, index: Tensor, temperature: float) -> Tensor:
        """Return a sample from the component at each index."""
        samples = self.means[index]
        noise = temperature * torch.randn_like(samples)
        for component in index.unique().tolist():
            rows = index == component
            samples[rows] += noise[rows] @ self.scale_tril[component].T
        return samples.reshape(-1, *self.event_shape)


class PosteriorMixture(MixtureDistribution):
    r"""A mixture of posteriors of any kind.

    .. math:: p(z) = \sum_c \pi_c \, q(z \mid u_c)

    Arguments:
        log_weights: The logarithms of the weights, with shape (C).
        q: The posteriors, with batch shape (C).
        encode: Maps indices with shape (N) to the corresponding posteriors, so that the encoder
            processes one input per sample instead of C.
    """

    def __init__(
        self, log_weights: Tensor, q: Distribution, encode: Callable[[Tensor], Distribution]
    ) -> None:
        super().__init__(log_weights, q.event_shape)
        self.q, self.encode = q, encode
        self.floats_per_row = 4 * len(log_weights) * math.prod(self.event_shape)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """The means and variances of the posteriors."""
        return self.q.mean, base_distribution(self.q).variance

    def component_log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density of each latent variable under each posterior."""
        return self.q.log_prob(z.unsqueeze(1))

    def sample_components(self, index: Tensor, temperature: float) -> Tensor:
        """Return a sample from the posterior at each index."""
        q = self.encode(index)
        z = q.sample()
        return z if temperature == 1 else q.mean + temperature * (z - q.mean)
