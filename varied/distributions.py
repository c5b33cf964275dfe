"""Distributions that ``torch.distributions`` lacks, or has with weaker numerics.

All are elementwise: their batch shape is the shape of their parameters, and a `varied.heads.Head`
declares which trailing dimensions make one event. None validates its arguments, since a check in
each step costs more than the step; finite losses are checked by the loop instead.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Size, Tensor
from torch.distributions import Distribution, constraints, kl_divergence, register_kl
from torch.distributions.independent import Independent

from varied.errors import VariedError

__all__ = [
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Gaussian",
    "Levels",
    "Point",
    "closed_kl",
    "each",
    "soft_clamp",
]

LOG_2PI = math.log(2 * math.pi)


def soft_clamp(h: Tensor, bound: float) -> Tensor:
    r"""Keep a number within (-bound, bound), with a gradient everywhere.

    .. math:: b \tanh(h / b)

    A hard clamp has no gradient outside its bounds, so a unit that diverged could never return.

    References:
        NVAE: A Deep Hierarchical Variational Autoencoder (Vahdat & Kautz, 2020),
        https://arxiv.org/abs/2007.03898
    """
    return bound * torch.tanh(h / bound)


class Elementwise(Distribution):
    """A distribution of numbers whose batch shape is the shape of its first parameter."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, *params: Tensor) -> None:
        params = tuple(torch.broadcast_tensors(*params)) if len(params) > 1 else params
        self.params = params
        super().__init__(batch_shape=params[0].shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """Return the same distribution with a larger batch shape."""
        return self.remade(*(param.expand(batch_shape) for param in self.params))

    def remade(self, *params: Tensor) -> Distribution:
        """Return one of the same kind with other parameters."""
        return type(self)(*params)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw without a gradient; shape (*sample_shape, *batch_shape)."""
        with torch.no_grad():
            return self.rsample(sample_shape).detach()  # a view of a leaf keeps its gradient

    def _uniform(self, sample_shape: Any) -> Tensor:
        u = torch.rand(self._extended_shape(sample_shape), device=self.params[0].device)
        return u.to(self.params[0].dtype).clamp(1e-6, 1 - 1e-6)


class Gaussian(Elementwise):
    r"""A normal distribution in its mean and log-variance.

    .. math:: \log p(x) = -\tfrac12 (\log 2\pi + \ell + (x - \mu)^2 e^{-\ell})

    The log-variance is the parameter since a variance can underflow and its logarithm cannot.

    Arguments:
        mean: The mean, with shape (*).
        log_variance: The logarithm of the variance, with shape (*).
    """

    support = constraints.real
    has_rsample = True

    def __init__(self, mean: Tensor, log_variance: Tensor) -> None:
        super().__init__(mean, log_variance)

    @property
    def mean(self) -> Tensor:
        """The mean."""
        return self.params[0]

    @property
    def log_variance(self) -> Tensor:
        """The logarithm of the variance."""
        return self.params[1]

    @property
    def variance(self) -> Tensor:
        """The variance."""
        return self.log_variance.exp()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw with a gradient; shape (*sample_shape, *batch_shape)."""
        scale = (0.5 * self.log_variance).exp()
        shape = self._extended_shape(sample_shape)
        noise = torch.randn(shape, device=scale.device, dtype=scale.dtype)
        return torch.addcmul(self.mean, scale, noise)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of each number, in nats."""
        square = (value - self.mean).square() * (-self.log_variance).exp()
        return -0.5 * (LOG_2PI + self.log_variance + square)

    def entropy(self) -> Tensor:
        """Return the differential entropy, in nats."""
        return 0.5 * (LOG_2PI + 1 + self.log_variance)


@register_kl(Gaussian, Gaussian)
def _kl_gaussian_gaussian(q: Gaussian, p: Gaussian) -> Tensor:
    # exp(l) - 1 - l is l * l / 2 where l is small: even with expm1, float32 loses the digits of
    # rates below 1e-6, so this one difference is taken in float64.
    log_ratio = (q.log_variance - p.log_variance).double()
    square = (q.mean - p.mean).square() * (-p.log_variance).exp()
    return 0.5 * (square + (torch.expm1(log_ratio) - log_ratio).to(square.dtype))


class Point(Elementwise):
    """All mass on one value: what an autoencoder's encoder says of a code. It has no density.

    Arguments:
        value: The value, with shape (*).
    """

    support = constraints.real
    has_rsample = True

    def __init__(self, value: Tensor) -> None:
        super().__init__(value)

    @property
    def mean(self) -> Tensor:
        """The value."""
        return self.params[0]

    @property
    def variance(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.params[0])

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return the value; shape (*sample_shape, *batch_shape)."""
        return self.params[0].expand(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Refuse: a point has no density.

        Raises:
            VariedError: Always.
        """
        raise VariedError(
            "A point posterior has no density, so KL and ELBO do not exist for it; "
            "use posterior='gaussian' for a variational autoencoder."
        )


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
    r"""A logistic density integrated over bins: a probability for each grey level.

    With :math:`a, b` the edges of the bin of :math:`x` in units of the scale, the mass is

    .. math:: \sigma(b) - \sigma(a) = \sigma(b) \, \sigma(-a) \, (1 - e^{a - b}),

    which is exact in floating point wherever the bin lies; the lowest and the highest bin take the
    tails. Values are on the grid :math:`\{0, 1/(L-1), \dots, 1\}`.

    References:
        PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517

    Arguments:
        loc: The centre, in units of the data, with shape (*).
        log_scale: The logarithm of the scale, with shape (*).
        levels: The number of grey levels :math:`L`.
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
        """The centre."""
        return self.params[0]

    @property
    def log_scale(self) -> Tensor:
        """The logarithm of the scale."""
        return self.params[1]

    @property
    def mean(self) -> Tensor:
        """The centre, kept within the data: the tails are cut at 0 and 1."""
        return self.loc.clamp(0, 1)

    @property
    def variance(self) -> Tensor:
        """The variance of the logistic before it is cut."""
        return (math.pi**2 / 3) * (2 * self.log_scale).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of each grey level, in nats."""
        half = 0.5 / (self.levels - 1)
        inverse = (-self.log_scale).exp()
        centred = value - self.loc
        below = F.logsigmoid((centred + half) * inverse)
        above = F.logsigmoid((half - centred) * inverse)
        width = torch.log(-torch.expm1(-2 * half * inverse))
        inside = below + above + width
        return torch.where(value < half, below, torch.where(value > 1 - half, above, inside))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Refuse a gradient through levels."""
        raise VariedError("Grey levels have no gradient; use sample().")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw grey levels; shape (*sample_shape, *batch_shape)."""
        with torch.no_grad():
            u = self._uniform(sample_shape)
            drawn = self.loc + self.log_scale.exp() * (torch.log(u) - torch.log1p(-u))
            top = self.levels - 1
            return (drawn.clamp(0, 1) * top).round() / top


class Levels(Distribution):
    r"""A free probability for each of :math:`L` grey levels :math:`\{0, 1/(L-1), \dots, 1\}`.

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
        return Levels(self.logits.expand(*batch_shape, self.logits.shape[-1]))

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


def each(d: Distribution) -> Distribution:
    """Return the distribution of single elements under an event, where there is one."""
    return d.base_dist if isinstance(d, Independent) else d


def closed_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """Return KL(q, p) in nats where a closed form is known, else None."""
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None
