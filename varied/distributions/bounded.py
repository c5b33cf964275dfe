"""Distributions of numbers in [0, 1], continuous or on a grid of levels."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from varied.distributions.base import Elementwise
from varied.errors import VariedError

__all__ = ["CategoricalLevels", "ContinuousBernoulli", "DiscretizedLogistic"]


class ContinuousBernoulli(Elementwise):
    r"""The density on [0, 1] that Bernoulli cross-entropy lacks the constant of.

    .. math:: \log p(x) = \eta x - A(\eta), \qquad A(\eta) = \log \frac{e^\eta - 1}{\eta}

    Written in the logit :math:`\eta`, with a series near 0, it keeps full precision where the
    form in probabilities cancels.

    References:
        The continuous Bernoulli: fixing a pervasive error in variational autoencoders
        (Loaiza-Ganem & Cunningham, 2019), https://arxiv.org/abs/1907.06845

    Arguments:
        logits: The natural parameter, with shape (*).
    """

    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits)

    @property
    def logits(self) -> Tensor:
        """The natural parameter."""
        return self.params[0]

    def _near_zero(self) -> tuple[Tensor, Tensor]:
        near = self.logits.abs() < 1e-1
        return near, torch.where(near, torch.ones_like(self.logits), self.logits)

    def _log_normalizer(self) -> Tensor:
        near, eta = self._near_zero()
        size = eta.abs()
        far = F.relu(eta) + torch.log(-torch.expm1(-size) / size)
        t = self.logits * self.logits
        series = self.logits / 2 + t / 24 - t * t / 2880 + t * t * t / 181440
        return torch.where(near, series, far)

    @property
    def mean(self) -> Tensor:
        """The mean: the derivative of the log-normalizer."""
        near, eta = self._near_zero()
        # Below -40 the first part is 0; unclamped, its gradient overflows into 0 * inf.
        far = -1 / torch.expm1(-eta.clamp(min=-40)) - 1 / eta
        h = self.logits
        return torch.where(near, 0.5 + h / 12 - h**3 / 720 + h**5 / 30240, far)

    @property
    def variance(self) -> Tensor:
        """The variance: the second derivative of the log-normalizer."""
        near, eta = self._near_zero()
        far = 1 / eta.square() - 1 / (2 * torch.sinh((eta / 2).clamp(-40, 40))).square()
        t = self.logits * self.logits
        return torch.where(near, 1 / 12 - t / 240 + t * t / 6048, far)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of each number, in nats."""
        return self.logits * value - self._log_normalizer()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw by the inverse of the cumulative distribution; shape (*sample_shape, *batch)."""
        u = self._uniform(sample_shape)
        near, eta = self._near_zero()
        # The mirror image keeps exp() of a non-positive number: no overflow for large logits.
        size = eta.abs()
        mirrored = torch.where(eta > 0, 1 - u, u)
        low = -torch.log1p(mirrored * torch.expm1(-size)) / size
        far = torch.where(eta > 0, 1 - low, low)
        return torch.where(near, self._near_half(u), far).clamp(0, 1)

    def _near_half(self, u: Tensor) -> Tensor:
        # log(1 + u (e^h - 1)) generates the cumulants of a coin of chance u; this is it over h.
        h, v = self.logits, u * (1 - u)
        skew = v * (1 - 2 * u)
        return u + h * v / 2 + h**2 * skew / 6 + h**3 * v * (1 - 6 * v) / 24


class DiscretizedLogistic(Elementwise):
    r"""A logistic density integrated over bins: a probability for each gray level.

    With :math:`a, b` the edges of the bin of :math:`x` in units of the scale, the mass is

    .. math:: \sigma(b) - \sigma(a) = \sigma(b) \, \sigma(-a) \, (1 - e^{a - b}),

    which is exact in floating point wherever the bin lies; the lowest and the highest bin take the
    tails. Values are on the grid :math:`\{0, 1/(L-1), \dots, 1\}`.

    References:
        PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517

    Arguments:
        loc: The center, in units of the data, with shape (*).
        log_scale: The logarithm of the scale, with shape (*).
        levels: The number of gray levels :math:`L`.
    """

    support = constraints.unit_interval
    has_rsample = False

    def __init__(self, loc: Tensor, log_scale: Tensor, levels: int = 256) -> None:
        self.levels = levels
        super().__init__(loc, log_scale)

    def remade(self, *params: Tensor) -> Distribution:
        """Return one with the same levels and other parameters."""
        loc, log_scale = params
        return type(self)(loc, log_scale, self.levels)

    @property
    def loc(self) -> Tensor:
        """The center."""
        return self.params[0]

    @property
    def log_scale(self) -> Tensor:
        """The logarithm of the scale."""
        return self.params[1]

    @property
    def mean(self) -> Tensor:
        """The center, kept within the data: the tails are cut at 0 and 1.

        The gradient is that of the center: one that left the data can be pulled back.
        """
        return self.loc + (self.loc.clamp(0, 1) - self.loc).detach()

    @property
    def variance(self) -> Tensor:
        """The variance of the logistic before it is cut."""
        return (math.pi**2 / 3) * (2 * self.log_scale).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of each gray level, in nats."""
        half = 0.5 / (self.levels - 1)
        inverse = (-self.log_scale).exp()
        centered = value - self.loc
        below = F.logsigmoid((centered + half) * inverse)
        above = F.logsigmoid((half - centered) * inverse)
        width = torch.log(-torch.expm1(-2 * half * inverse))
        inside = below + above + width
        return torch.where(value < half, below, torch.where(value > 1 - half, above, inside))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Refuse a gradient through levels."""
        raise VariedError("Gray levels have no gradient; use sample().")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw gray levels; shape (*sample_shape, *batch_shape)."""
        with torch.no_grad():
            u = self._uniform(sample_shape)
            drawn = self.loc + self.log_scale.exp() * (torch.log(u) - torch.log1p(-u))
            top = self.levels - 1
            return (drawn.clamp(0, 1) * top).round() / top


class CategoricalLevels(Distribution):
    r"""A free probability for each of :math:`L` gray levels :math:`\{0, 1/(L-1), \dots, 1\}`.

    Arguments:
        logits: Unnormalised log-probabilities, with shape (*, L).
    """

    support = constraints.unit_interval
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Tensor) -> None:
        self.logits = torch.log_softmax(logits, dim=-1)
        super().__init__(batch_shape=logits.shape[:-1], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """Return the same distribution with a larger batch shape."""
        return CategoricalLevels(self.logits.expand(*batch_shape, self.logits.shape[-1]))

    @property
    def _values(self) -> Tensor:
        like = self.logits
        return torch.linspace(0, 1, like.shape[-1], device=like.device, dtype=like.dtype)

    @property
    def mean(self) -> Tensor:
        """The expected level."""
        return (self.logits.exp() * self._values).sum(-1)

    @property
    def variance(self) -> Tensor:
        """The variance of the level."""
        return (self.logits.exp() * self._values.square()).sum(-1) - self.mean.square()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of the level nearest to each value, in nats."""
        index = (value * (self.logits.shape[-1] - 1)).round().long().unsqueeze(-1)
        index, logits = torch.broadcast_tensors(index, self.logits[..., :1])[0], self.logits
        logits = logits.expand(*index.shape[:-1], logits.shape[-1])
        return logits.gather(-1, index).squeeze(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw levels; shape (*sample_shape, *batch_shape)."""
        shape = Size(sample_shape) + self.batch_shape
        rows = self.logits.exp().reshape(-1, self.logits.shape[-1])
        count = math.prod(sample_shape)
        drawn = torch.multinomial(rows, count, replacement=True).T.reshape(shape)
        return drawn.to(self.logits.dtype) / (self.logits.shape[-1] - 1)
