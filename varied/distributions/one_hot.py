"""Choices among classes as one-hot vectors, hard or relaxed; and events made of several parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints, register_kl

from varied.distributions.base import analytic_kl

__all__ = ["OneHot", "Product", "kl_per_factor"]


class OneHot(Distribution):
    r"""Independent choices among classes, each a block of channels with a single 1.

    .. math:: \log p(z) = \sum_v \sum_k z_{vk} \log \pi_{vk}

    Draws are those of the Gumbel-max trick, :math:`\arg\max_k (\log \pi_k + g_k)`. With a
    temperature they are relaxed to :math:`\mathrm{softmax}((\log \pi + g) / \tau)`, which has a
    gradient; ``straight`` then gives the hard draw with the gradient of the relaxed one.

    References:
        Categorical Reparameterization with Gumbel-Softmax (Jang et al., 2016),
        https://arxiv.org/abs/1611.01144;
        The Concrete Distribution (Maddison et al., 2016), https://arxiv.org/abs/1611.00712

    Warning:
        ``log_prob`` is a log-probability where the value is one-hot. Between the corners it is
        merely linear, and no density of the relaxed draws.

    Arguments:
        logits: Unnormalised log-probabilities, with shape (*, C, *rest).
        classes: The number of classes of each choice; C is a multiple of it.
        rank: The number of dimensions of an event, (C, *rest).
        temperature: That of relaxed draws; None draws one-hot vectors, without a gradient.
        straight: Whether relaxed draws are rounded to one-hot in value and not in gradient.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real
    has_rsample = True

    def __init__(
        self,
        logits: Tensor,
        classes: int,
        rank: int = 1,
        temperature: Tensor | None = None,
        straight: bool = False,
    ) -> None:
        self.axis, self.classes = -rank, classes
        self.temperature, self.straight = temperature, straight
        self.logits: Tensor = self._apart(logits).log_softmax(self.axis)
        split = logits.dim() - rank
        super().__init__(logits.shape[:split], logits.shape[split:], validate_args=False)

    def _apart(self, z: Tensor) -> Tensor:
        return z.unflatten(self.axis, (-1, self.classes))  # type: ignore[no-any-return]

    def _together(self, z: Tensor) -> Tensor:
        return z.flatten(self.axis - 1, self.axis)

    @property
    def mean(self) -> Tensor:
        """The probability of each class."""
        return self._together(self.logits.exp())

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate of one-hot draws."""
        return self.mean - self.mean.square()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw, with a gradient where there is a temperature; shape (*sample_shape, *batch, C)."""
        shape = Size(sample_shape) + self.logits.shape
        waits = torch.empty(shape, device=self.logits.device, dtype=self.logits.dtype)
        tiny = torch.finfo(waits.dtype).tiny
        perturbed = self.logits - waits.exponential_().clamp_min(tiny).log()
        top = perturbed.argmax(self.axis, keepdim=True)
        hard = torch.zeros_like(perturbed).scatter(self.axis, top, 1.0)
        if self.temperature is None:
            return self._together(hard)
        soft = (perturbed / self.temperature.to(perturbed)).softmax(self.axis)
        # In this order the value is one-hot to the last bit.
        return self._together(hard + (soft - soft.detach()) if self.straight else soft)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of one-hot vectors, in nats, with the batch shape."""
        return (self._apart(value) * self.logits).flatten(self.axis - 1).sum(-1)


@register_kl(OneHot, OneHot)
def _kl_one_hot(q: OneHot, p: OneHot) -> Tensor:
    return (q.logits.exp() * (q.logits - p.logits)).flatten(q.axis - 1).sum(-1)


class Product(Distribution):
    """Several independent distributions, each over a block of the channels of one event.

    Arguments:
        parts: Distributions over events (C_i, *rest), with the same batch shape.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real

    def __init__(self, *parts: Distribution) -> None:
        self.parts, self.axis = parts, -len(parts[0].event_shape)
        self.sizes = [part.event_shape[0] for part in parts]
        event = Size((sum(self.sizes), *parts[0].event_shape[1:]))
        super().__init__(parts[0].batch_shape, event, validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether all parts can be drawn with a gradient."""
        return all(part.has_rsample for part in self.parts)

    @property
    def mean(self) -> Tensor:
        """The means of the parts."""
        return self._whole([part.mean for part in self.parts])

    @property
    def variance(self) -> Tensor:
        """The variances of the parts."""
        return self._whole([part.variance for part in self.parts])

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw all parts; shape (*sample_shape, *batch_shape, *event)."""
        return self._whole([part.rsample(sample_shape) for part in self.parts])

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the sum of the log-densities of the parts, in nats, with the batch shape."""
        blocks = value.split(self.sizes, self.axis)
        each = (part.log_prob(block) for part, block in zip(self.parts, blocks, strict=True))
        return torch.stack(list(each)).sum(0)

    def _whole(self, blocks: Sequence[Tensor]) -> Tensor:
        return torch.cat(tuple(blocks), self.axis)


def kl_per_factor(q: Product, p: Product) -> tuple[Tensor, ...]:
    """Return the KL of each part, in nats, each with the batch shape of ``q``.

    Raises:
        NotImplementedError: If a part has no closed form, as ``torch.distributions`` does.
    """
    found = [analytic_kl(a, b) for a, b in zip(q.parts, p.parts, strict=True)]
    if any(kl is None for kl in found):
        raise NotImplementedError
    return tuple(kl for kl in found if kl is not None)


@register_kl(Product, Product)
def _kl_joint(q: Product, p: Product) -> Tensor:
    return torch.stack(kl_per_factor(q, p)).sum(0)
