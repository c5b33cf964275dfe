"""Distributions on [0, 1], continuous or on a grid of gray levels."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from varied.distributions.base import Elementwise, UnvalidatedDistribution
from varied.errors import VariedError


class ContinuousBernoulli(Elementwise):
    r"""A density on [0, 1]: the Bernoulli cross-entropy with its missing normalizing constant.

    .. math:: \log p(x) = \eta x - A(\eta), \qquad A(\eta) = \log \frac{e^\eta - 1}{\eta}

    The density is parameterized by the logit :math:`\eta`, with a Taylor series near 0. This
    retains full precision where the usual parameterization by the probability suffers from
    cancellation.

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
        self.logits = self.params[0]

    def _safe_logits(self) -> tuple[Tensor, Tensor]:
        """Return whether each logit is near 0, and the logits with those near 0 replaced by 1."""
        use_series = self.logits.abs() < 1e-1
        return use_series, torch.where(use_series, torch.ones_like(self.logits), self.logits)

    def _log_normalizer(self) -> Tensor:
        use_series, eta = self._safe_logits()
        size = eta.abs()
        exact = F.relu(eta) + torch.log(-torch.expm1(-size) / size)
        t = self.logits * self.logits
        series = self.logits / 2 + t / 24 - t * t / 2880 + t * t * t / 181440
        return torch.where(use_series, series, exact)

    @property
    def mean(self) -> Tensor:
        """The mean: the derivative of the log-normalizer."""
        use_series, eta = self._safe_logits()
        # The clamp prevents the gradient of the first term from becoming 0 * inf.
        exact = -1 / torch.expm1(-eta.clamp(min=-40)) - 1 / eta
        h = self.logits
        return torch.where(use_series, 0.5 + h / 12 - h**3 / 720 + h**5 / 30240, exact)

    @property
    def variance(self) -> Tensor:
        """The variance: the second derivative of the log-normalizer."""
        use_series, eta = self._safe_logits()
        exact = 1 / eta.square() - 1 / (2 * torch.sinh((eta / 2).clamp(-40, 40))).square()
        t = self.logits * self.logits
        return torch.where(use_series, 1 / 12 - t / 240 + t * t / 6048, exact)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of each element, in nats."""
        return self.logits * value - self._log_normalizer()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return samples from the inverse CDF, with shape (*sample_shape, *batch_shape)."""
        u = self._uniform(sample_shape)
        use_series, eta = self._safe_logits()
        # Symmetry is used to keep the exponent negative, so that a large logit does not overflow.
        size = eta.abs()
        mirrored = torch.where(eta > 0, 1 - u, u)
        lower_half = -torch.log1p(mirrored * torch.expm1(-size)) / size
        exact = torch.where(eta > 0, 1 - lower_half, lower_half)
        return torch.where(use_series, self._inverse_cdf_series(u), exact).clamp(0, 1)

    def _inverse_cdf_series(self, u: Tensor) -> Tensor:
        # The series of log(1 + u (e^h - 1)), the cumulant-generating function of a Bernoulli(u),
        # divided by h.
        h, v = self.logits, u * (1 - u)
        skew = v * (1 - 2 * u)
        return u + h * v / 2 + h**2 * skew / 6 + h**3 * v * (1 - 6 * v) / 24


class DiscretizedLogistic(Elementwise):
    r"""A logistic density integrated over bins, which yields a probability for each gray level.

    If :math:`a` and :math:`b` are the edges of the bin of :math:`x`, relative to the location and
    in units of the scale, the probability is

    .. math:: \sigma(b) - \sigma(a) = \sigma(b) \, \sigma(-a) \, (1 - e^{a - b}),

    which does not suffer from cancellation. The lowest and highest bins include the tails.
    Values are on the grid :math:`\{0, 1/(L-1), \dots, 1\}`.

    References:
        PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517

    Arguments:
        loc: The location, in units of the data, with shape (*).
        log_scale: The logarithm of the scale, with shape (*).
        levels: The number of gray levels :math:`L`.
    """

    support = constraints.unit_interval

    def __init__(self, loc: Tensor, log_scale: Tensor, levels: int = 256) -> None:
        super().__init__(loc, log_scale, levels=levels)
        self.loc, self.log_scale = self.params
        self.levels = levels

    @property
    def mean(self) -> Tensor:
        """The location, clamped to [0, 1] since the lowest and highest bins include the tails.

        Its gradient is that of the unclamped location, so that the location can return to [0, 1].
        """
        return self.loc + (self.loc.clamp(0, 1) - self.loc).detach()

    @property
    def variance(self) -> Tensor:
        """The variance of the logistic distribution before discretization."""
        return (math.pi**2 / 3) * (2 * self.log_scale).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of each gray level, in nats."""
        half = 0.5 / (self.levels - 1)
        inverse_scale = (-self.log_scale).exp()
        centered = value - self.loc
        log_cdf = F.logsigmoid((centered + half) * inverse_scale)
        log_survival = F.logsigmoid((half - centered) * inverse_scale)
        log_width = torch.log(-torch.expm1(-2 * half * inverse_scale))
        inner = log_cdf + log_survival + log_width
        upper = torch.where(value > 1 - half, log_survival, inner)
        return torch.where(value < half, log_cdf, upper)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Raise an error, since samples of gray levels are not differentiable.

        Raises:
            VariedError: Always.
        """
        raise VariedError("Gray levels are not differentiable; use sample().")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return gray levels, with shape (*sample_shape, *batch_shape)."""
        with torch.no_grad():
            u = self._uniform(sample_shape)
            value = self.loc + self.log_scale.exp() * (torch.log(u) - torch.log1p(-u))
            top = self.levels - 1
            return (value.clamp(0, 1) * top).round() / top


class CategoricalLevels(UnvalidatedDistribution):
    r"""A categorical distribution over :math:`L` gray levels :math:`\{0, 1/(L-1), \dots, 1\}`.

    Arguments:
        logits: Unnormalized log-probabilities, with shape (*, L).
    """

    support = constraints.unit_interval

    def __init__(self, logits: Tensor) -> None:
        self.logits = torch.log_softmax(logits, dim=-1)
        super().__init__(logits.shape[:-1])

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """Return the same distribution with a larger batch shape."""
        return CategoricalLevels(self.logits.expand(*batch_shape, self.logits.shape[-1]))

    @property
    def _grid(self) -> Tensor:
        logits = self.logits
        return torch.linspace(0, 1, logits.shape[-1], device=logits.device, dtype=logits.dtype)

    @property
    def mean(self) -> Tensor:
        """The expected gray level of each element."""
        return (self.logits.exp() * self._grid).sum(-1)

    @property
    def variance(self) -> Tensor:
        """The variance of the gray level of each element."""
        return (self.logits.exp() * self._grid.square()).sum(-1) - self.mean.square()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of the level nearest to each value, in nats."""
        index = (value * (self.logits.shape[-1] - 1)).round().long().unsqueeze(-1)
        index, logits = torch.broadcast_tensors(index, self.logits[..., :1])[0], self.logits
        logits = logits.expand(*index.shape[:-1], logits.shape[-1])
        return logits.gather(-1, index).squeeze(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return gray levels, with shape (*sample_shape, *batch_shape)."""
        shape = Size(sample_shape) + self.batch_shape
        probs = self.logits.exp().reshape(-1, self.logits.shape[-1])
        count = math.prod(sample_shape)
        index = torch.multinomial(probs, count, replacement=True).T.reshape(shape)
        return index.to(self.logits.dtype) / (self.logits.shape[-1] - 1)
