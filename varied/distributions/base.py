"""Base classes for distributions, and analytic KL divergences."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints, kl_divergence
from torch.distributions.independent import Independent

from varied.errors import VariedError

LOG_2PI = math.log(2 * math.pi)


def soft_clamp(h: Tensor, bound: float) -> Tensor:
    r"""Limit values smoothly to the interval (-bound, bound).

    .. math:: b \tanh(h / b)

    A hard clamp has zero gradient outside its bounds, so a diverged unit could never recover.

    References:
        NVAE: A Deep Hierarchical Variational Autoencoder (Vahdat & Kautz, 2020),
        https://arxiv.org/abs/2007.03898
    """
    return bound * torch.tanh(h / bound)


class UnvalidatedDistribution(Distribution):
    """A distribution that does not validate its arguments.

    Validation in every training step would take longer than the step itself; instead, the training
    loop checks that the loss is finite.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support: constraints.Constraint = constraints.real

    def __init__(self, batch_shape: Size, event_shape: Size | tuple[int, ...] = ()) -> None:
        super().__init__(batch_shape, Size(event_shape), validate_args=False)


class Elementwise(UnvalidatedDistribution):
    """A distribution over independent elements, whose batch shape is the shape of its parameters.

    Arguments:
        params: The parameters, whose shapes must be broadcastable.
        options: Other keyword arguments of the constructor, which are passed on by `expand`.
    """

    def __init__(self, *params: Tensor, **options: Any) -> None:
        params = tuple(torch.broadcast_tensors(*params)) if len(params) > 1 else params
        self.params, self.options = params, options
        super().__init__(params[0].shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """Return the same distribution with a larger batch shape."""
        return type(self)(*(p.expand(batch_shape) for p in self.params), **self.options)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return detached samples, with shape (*sample_shape, *batch_shape)."""
        with torch.no_grad():
            return self.rsample(sample_shape).detach()  # a view of a leaf requires grad

    def _uniform(self, sample_shape: Any) -> Tensor:
        u = torch.rand(self._extended_shape(sample_shape), device=self.params[0].device)
        return u.to(self.params[0].dtype).clamp(1e-6, 1 - 1e-6)


class NoDensity(ABC):
    """Mixin for a distribution without a density."""

    #: The error message of `log_prob`.
    no_density: ClassVar[str]

    def log_prob(self, value: Tensor) -> Tensor:
        """Raise an error, since the distribution has no density.

        Raises:
            VariedError: Always.
        """
        raise VariedError(self.no_density)


class Tempered(ABC):
    """Mixin for a distribution that defines how a temperature changes its samples.

    For other distributions, a temperature scales the deviation of a sample from the mean.
    """

    @abstractmethod
    def draw(self, shape: Any = (), temperature: float = 1.0) -> Tensor:
        """Return detached samples, with shape (*shape, *batch_shape, *event_shape).

        Arguments:
            shape: A sample shape, or a number of samples.
            temperature: With 1, samples are drawn from the distribution; with lower values, they
                are more typical.
        """

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return samples with a temperature of 1."""
        return self.draw(sample_shape)


class HasTrainingCost(ABC):
    """Mixin for a distribution whose training loss is not its negative log-likelihood."""

    @abstractmethod
    def cost(self, value: Tensor) -> Tensor:
        """Return the training loss of each value, with shape (*)."""


def base_distribution(d: Distribution) -> Distribution:
    """Return the elementwise distribution inside an ``Independent``, or the distribution itself."""
    return d.base_dist if isinstance(d, Independent) else d


def analytic_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """Return KL(q ‖ p) in nats if it has a closed form, or None otherwise."""
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None
