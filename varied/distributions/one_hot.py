"""One-hot categorical distributions, hard or relaxed, and products of distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, kl_divergence, register_kl

from varied.distributions.base import UnvalidatedDistribution


class OneHot(UnvalidatedDistribution):
    r"""Independent categorical variables, each a one-hot vector in a block of channels.

    .. math:: \log p(z) = \sum_v \sum_k z_{vk} \log \pi_{vk}

    Samples are drawn with the Gumbel-max trick, :math:`\arg\max_k (\log \pi_k + g_k)`. With a
    temperature, they are relaxed to :math:`\mathrm{softmax}((\log \pi + g) / \tau)`, which is
    differentiable. With ``straight_through``, they are one-hot but have the gradient of the relaxed
    sample.

    References:
        Categorical Reparameterization with Gumbel-Softmax (Jang et al., 2016),
        https://arxiv.org/abs/1611.01144;
        The Concrete Distribution (Maddison et al., 2016), https://arxiv.org/abs/1611.00712

    Warning:
        ``log_prob`` is a log-probability only for one-hot values. For other values, it interpolates
        linearly and is not the density of relaxed samples.

    Arguments:
        logits: Unnormalized log-probabilities, with shape (*, C, *rest).
        classes: The number of classes of each variable; C must be a multiple of this number.
        rank: The number of dimensions of an event (C, *rest).
        temperature: The temperature of relaxed samples. If None, samples are one-hot and have no
            gradient.
        straight_through: Whether to use the straight-through estimator.
    """

    has_rsample = True

    def __init__(
        self,
        logits: Tensor,
        classes: int,
        rank: int = 1,
        temperature: Tensor | None = None,
        straight_through: bool = False,
    ) -> None:
        self.axis, self.classes = -rank, classes
        self.temperature, self.straight_through = temperature, straight_through
        self.logits: Tensor = self._split_variables(logits).log_softmax(self.axis)
        split = logits.dim() - rank
        super().__init__(logits.shape[:split], logits.shape[split:])

    def _split_variables(self, z: Tensor) -> Tensor:
        return z.unflatten(self.axis, (-1, self.classes))  # type: ignore[no-any-return]

    def _merge_variables(self, z: Tensor) -> Tensor:
        return z.flatten(self.axis - 1, self.axis)

    @property
    def mean(self) -> Tensor:
        """The class probabilities."""
        return self._merge_variables(self.logits.exp())

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate of a one-hot sample."""
        return self.mean - self.mean.square()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return samples, with shape (*sample_shape, *batch_shape, *event_shape).

        The samples are differentiable if the distribution has a temperature.
        """
        shape = Size(sample_shape) + self.logits.shape
        exponential = torch.empty(shape, device=self.logits.device, dtype=self.logits.dtype)
        tiny = torch.finfo(exponential.dtype).tiny
        perturbed = self.logits - exponential.exponential_().clamp_min(tiny).log()
        largest = perturbed.argmax(self.axis, keepdim=True)
        hard = torch.zeros_like(perturbed).scatter(self.axis, largest, 1.0)
        if self.temperature is None:
            return self._merge_variables(hard)
        soft = (perturbed / self.temperature.to(perturbed)).softmax(self.axis)
        # With this order of operations, the value is exactly one-hot.
        z = hard + (soft - soft.detach()) if self.straight_through else soft
        return self._merge_variables(z)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of one-hot values, in nats, with the batch shape."""
        return (self._split_variables(value) * self.logits).flatten(self.axis - 1).sum(-1)


@register_kl(OneHot, OneHot)
def _kl_one_hot(q: OneHot, p: OneHot) -> Tensor:
    return (q.logits.exp() * (q.logits - p.logits)).flatten(q.axis - 1).sum(-1)


class OneHotElements(UnvalidatedDistribution):
    r"""The elements of one-hot vectors; their log-probabilities sum to that of `OneHot`.

    .. math:: \log p(x) = \sum_{kl} x_{kl} \log \pi_{kl}

    The log-probability of each element is a term of this sum, in nats.

    Arguments:
        logits: Unnormalized log-probabilities of K classes, with shape (*, K, *rest).
        rank: The number of dimensions of an example (K, *rest).
    """

    def __init__(self, logits: Tensor, rank: int) -> None:
        self.rank = rank
        self.logits: Tensor = logits.log_softmax(-rank)
        super().__init__(logits.shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> OneHotElements:
        """Return the same distribution with a larger batch shape."""
        return OneHotElements(self.logits.expand(*batch_shape), self.rank)

    @property
    def mean(self) -> Tensor:
        """The class probabilities."""
        return self.logits.exp()

    @property
    def variance(self) -> Tensor:
        """The variance of each element of a one-hot vector."""
        return self.mean - self.mean.square()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return detached one-hot samples, with shape (*sample_shape, *batch_shape)."""
        classes = self.logits.shape[-self.rank]
        return OneHot(self.logits, classes, self.rank).rsample(sample_shape).detach()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of each element, in nats."""
        return value * self.logits


class Product(UnvalidatedDistribution):
    """A product of independent distributions, each over a block of channels.

    Arguments:
        factors: Distributions over events (C_i, *rest), with the same batch shape.
    """

    def __init__(self, *factors: Distribution) -> None:
        self.factors, self.axis = factors, -len(factors[0].event_shape)
        self.sizes = [factor.event_shape[0] for factor in factors]
        event_shape = (sum(self.sizes), *factors[0].event_shape[1:])
        super().__init__(factors[0].batch_shape, event_shape)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether all factors have differentiable samples."""
        return all(factor.has_rsample for factor in self.factors)

    @property
    def mean(self) -> Tensor:
        """The concatenated means of the factors."""
        return self._concatenate([factor.mean for factor in self.factors])

    @property
    def variance(self) -> Tensor:
        """The concatenated variances of the factors."""
        return self._concatenate([factor.variance for factor in self.factors])

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return samples, with shape (*sample_shape, *batch_shape, *event_shape)."""
        return self._concatenate([factor.rsample(sample_shape) for factor in self.factors])

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the sum of the log-densities of the factors, in nats, with the batch shape."""
        blocks = zip(self.factors, value.split(self.sizes, self.axis), strict=True)
        return torch.stack([factor.log_prob(block) for factor, block in blocks]).sum(0)

    def _concatenate(self, blocks: Sequence[Tensor]) -> Tensor:
        return torch.cat(tuple(blocks), self.axis)


def kl_per_factor(q: Product, p: Product) -> tuple[Tensor, ...]:
    """Return the KL divergence of each factor, in nats, each with the batch shape of ``q``.

    Raises:
        NotImplementedError: If the KL of a factor has no closed form, as in
            ``torch.distributions.kl_divergence``.
    """
    return tuple(kl_divergence(a, b) for a, b in zip(q.factors, p.factors, strict=True))


@register_kl(Product, Product)
def _kl_product(q: Product, p: Product) -> Tensor:
    return torch.stack(kl_per_factor(q, p)).sum(0)
