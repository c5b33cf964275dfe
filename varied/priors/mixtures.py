"""Mixtures: of Gaussians with independent dimensions, of any Gaussians, of any posteriors."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from varied.distributions.base import LOG_2PI, Tempered, base_distribution
from varied.priors.base import chunked, to_size

__all__ = ["DiagonalMixture", "FullMixture", "MixtureDistribution", "PosteriorMixture"]


class MixtureDistribution(Tempered, Distribution):
    r"""A mixture of C distributions of one latent each.

    .. math:: \log p(z) = \log \sum_c \pi_c \, p_c(z)

    Summed here and not by ``MixtureSameFamily``, which takes only components that it knows, and
    would hold all samples times all components times all dimensions at once.

    Arguments:
        log_weights: The logarithms of the weights, with shape (C); they are normalized here.
        event: The shape of a latent.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real
    has_rsample = False

    def __init__(self, log_weights: Tensor, event: tuple[int, ...]) -> None:
        self.log_weights = log_weights.log_softmax(-1)
        super().__init__(event_shape=torch.Size(event), validate_args=False)

    #: Numbers that stand in memory for one row of ``parts``.
    needs: int

    @abstractmethod
    def parts(self, z: Tensor) -> Tensor:
        """Return the log-density of each row under each component, with shape (N, C)."""

    @abstractmethod
    def of(self, index: Tensor, temperature: float) -> Tensor:
        """Return a draw from the component of each index, with shape (N, *event)."""

    @property
    @abstractmethod
    def moments(self) -> tuple[Tensor, Tensor]:
        """The means and variances of the components, each with shape (C, *event)."""

    def _weighted(self, value: Tensor) -> Tensor:
        weighted: Tensor = torch.tensordot(self.log_weights.exp().to(value), value, 1)
        return weighted

    @property
    def mean(self) -> Tensor:
        """The mean of all components."""
        return self._weighted(self.moments[0])

    @property
    def variance(self) -> Tensor:
        """The variance: what lies within the components, and between them."""
        means, variances = self.moments
        return self._weighted(variances + (means - self.mean).square())

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of each latent, in nats; shape (*)."""
        lead = value.shape[: value.dim() - len(self.event_shape)]
        rows = value.reshape(-1, *self.event_shape)
        return chunked(self._rows, rows, each=self.needs).reshape(lead)

    def _rows(self, z: Tensor) -> Tensor:
        parts = self.parts(z)
        return (parts + self.log_weights.to(parts)).logsumexp(-1).to(z)

    def draw(self, shape: Any = (), temperature: float = 1.0) -> Tensor:
        """Draw, with the deviation from a component's own mean scaled; shape (*shape, *event)."""
        shape = to_size(shape)
        if not shape.numel():
            return self.log_weights.new_empty(*shape, *self.event_shape)
        with torch.no_grad():
            index = torch.multinomial(self.log_weights.exp(), shape.numel(), replacement=True)
            return self.of(index, temperature).reshape(*shape, *self.event_shape)


class DiagonalMixture(MixtureDistribution):
    r"""A mixture of Gaussians with independent dimensions.

    .. math:: \log p_c(z) = -\tfrac12 \Big( z^2 \cdot v_c^{-1} - 2 z \cdot \mu_c v_c^{-1}
              + \sum_j \mu_{cj}^2 / v_{cj} + \log 2 \pi v_{cj} \Big)

    Multiplied out, all rows meet all components in one product of matrices. What cancels there is
    large where variances are small, so it is done in float64; the result is as exact as the sum of
    squares in float32, and needs D times less memory.

    Arguments:
        log_weights: The logarithms of the weights, with shape (C).
        mean: The means, with shape (C, *event).
        log_variance: The logarithms of the variances, with shape (C, *event).
    """

    def __init__(self, log_weights: Tensor, mean: Tensor, log_variance: Tensor) -> None:
        super().__init__(log_weights, mean.shape[1:])
        self.means, self.log_variances = mean, log_variance
        self.needs = len(mean) + 4 * mean[0].numel()
        wide, spread = mean.flatten(1).double(), log_variance.flatten(1).double()
        inverse = (-spread).exp()
        self._factors = torch.cat([-0.5 * inverse, wide * inverse], 1).T
        self._rest = -0.5 * (wide.square() * inverse + spread + LOG_2PI).sum(1)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """The means and variances of the components."""
        return self.means, self.log_variances.exp()

    def parts(self, z: Tensor) -> Tensor:
        """Return the log-density of each row under each component, in float64."""
        wide = z.flatten(1).double()
        return torch.addmm(self._rest, torch.cat([wide.square(), wide], 1), self._factors)

    def of(self, index: Tensor, temperature: float) -> Tensor:
        """Return a draw from the component of each index."""
        mean, scale = self.means[index], (0.5 * self.log_variances[index]).exp()
        return mean + temperature * scale * torch.randn_like(mean)


class FullMixture(MixtureDistribution):
    r"""A mixture of Gaussians whose dimensions may depend on each other.

    .. math:: \log p_c(z) = -\tfrac12 \lVert L_c^{-1} (z - \mu_c) \rVert^2 - \log |L_c|
              - \tfrac D2 \log 2 \pi

    Arguments:
        log_weights: The logarithms of the weights, with shape (C).
        mean: The means, with shape (C, D).
        lower: Lower triangles whose squares are the covariances, with shape (C, D, D).
        event: The shape of a latent, of D numbers in all.
    """

    def __init__(
        self, log_weights: Tensor, mean: Tensor, lower: Tensor, event: tuple[int, ...]
    ) -> None:
        super().__init__(log_weights, event)
        self.means, self.lower = mean, lower
        self.needs = 2 * mean.numel()

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """The means and variances of the components."""
        shape = (-1, *self.event_shape)
        return self.means.reshape(shape), self.lower.square().sum(-1).reshape(shape)

    def parts(self, z: Tensor) -> Tensor:
        """Return the log-density of each row under each component."""
        away = (z.flatten(1).T - self.means.unsqueeze(-1)).to(z)
        white = torch.linalg.solve_triangular(self.lower, away, upper=False)
        volume = self.lower.diagonal(dim1=1, dim2=2).log().sum(-1, keepdim=True)
        total: Tensor = (-0.5 * (white.square() + LOG_2PI).sum(1) - volume).T
        return total

    def of(self, index: Tensor, temperature: float) -> Tensor:
        """Return a draw from the component of each index."""
        flat = self.means[index]
        noise = temperature * torch.randn_like(flat)
        for one in index.unique().tolist():
            flat[index == one] += noise[index == one] @ self.lower[one].T
        return flat.reshape(-1, *self.event_shape)


class PosteriorMixture(MixtureDistribution):
    r"""A mixture of posteriors of any kind.

    .. math:: p(z) = \sum_c \pi_c \, q(z \mid u_c)

    Arguments:
        log_weights: The logarithms of the weights, with shape (C).
        q: The posteriors, with batch shape (C).
        again: From indices with shape (N) to the posteriors of those, so that a draw costs one
            posterior and not C.
    """

    def __init__(
        self, log_weights: Tensor, q: Distribution, again: Callable[[Tensor], Distribution]
    ) -> None:
        super().__init__(log_weights, tuple(q.event_shape))
        self.q, self.again = q, again
        self.needs = 4 * len(log_weights) * math.prod(self.event_shape)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """The means and variances of the posteriors."""
        return self.q.mean, base_distribution(self.q).variance

    def parts(self, z: Tensor) -> Tensor:
        """Return the log-density of each row under each posterior."""
        return self.q.log_prob(z.unsqueeze(1))

    def of(self, index: Tensor, temperature: float) -> Tensor:
        """Return a draw from the posterior of each index."""
        q = self.again(index)
        z = q.sample()
        return z if temperature == 1 else q.mean + temperature * (z - q.mean)
