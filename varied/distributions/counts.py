"""Distributions of counts: Poisson, negative binomial and zero-inflated negative binomial."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Size, Tensor
from torch.distributions import Distribution, Independent, constraints

from varied.distributions.base import (
    LOG_2PI,
    Elementwise,
    UnvalidatedDistribution,
    base_distribution,
)

#: The minimum value for which the error of Stirling's formula is computed from a series.
_MIN_STIRLING = 8.0
#: The absolute value of u below which u - log(1 + u) is computed from a series.
_MAX_SERIES = 0.25
#: The minimum fraction of the expected sum of a row that observed elements are assumed to have.
_MIN_SHARE = 1e-6


class Counts(Elementwise, ABC):
    """A distribution of counts, whose first parameter is the logarithm of a mean m."""

    support = constraints.nonnegative_integer

    @property
    def log_mean(self) -> Tensor:
        """The logarithm of m."""
        return self.params[0]

    def multiply_mean(self, log_factor: Tensor) -> Counts:
        """Return the distribution for the product of m and a factor, given its logarithm."""
        return type(self)(self.log_mean + log_factor, *self.params[1:])

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """The mean of each count."""

    @property
    @abstractmethod
    def overdispersion(self) -> Tensor:
        """The variance minus the mean, which is proportional to the square of m."""

    @property
    def variance(self) -> Tensor:
        """The variance of each count."""
        return self.mean + self.overdispersion


class Poisson(Counts):
    r"""A Poisson distribution.

    .. math:: \log p(x) = x \log m - m - \log x!

    For large counts, these terms nearly cancel. The formula is therefore evaluated as the sum of a
    deviance and the error of Stirling's formula, which do not cancel.

    References:
        Fast and Accurate Computation of Binomial Probabilities (Loader, 2000)

    Arguments:
        log_mean: The logarithm of m, with shape (*).
    """

    @property
    def mean(self) -> Tensor:
        """The mean of each count."""
        return self.log_mean.exp()

    @property
    def overdispersion(self) -> Tensor:
        """The variance minus the mean, which is 0."""
        return torch.zeros_like(self.log_mean)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of each count, in nats."""
        m, x = self.mean, torch.where(value > 0, value, 1.0)
        log_x = x.log()
        deviance = x * _excess((m - x) / x, self.log_mean - log_x)
        log_p = -deviance - _stirling_error(x) - 0.5 * (LOG_2PI + log_x)
        return torch.where(value > 0, log_p, -m)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return counts, with shape (*sample_shape, *batch_shape)."""
        return torch.poisson(self.mean.expand(self._extended_shape(Size(sample_shape))))


class NegativeBinomial(Counts):
    r"""A negative binomial distribution with mean m and inverse dispersion r.

    .. math:: \log p(x) = \log \frac{\Gamma(x + r)}{\Gamma(r) \, x!}
        + r \log \frac{r}{m + r} + x \log \frac{m}{m + r}

    The variance is :math:`m + m^2 / r`; as r increases, the distribution approaches a Poisson
    distribution. Differences of log-gamma functions would lose all digits in this limit; the
    formula is evaluated as the sum of a deviance and the errors of Stirling's formula, which do not
    cancel.

    References:
        Fast and Accurate Computation of Binomial Probabilities (Loader, 2000)

    Arguments:
        log_mean: The logarithm of m, with shape (*).
        log_inverse_dispersion: The logarithm of r, with shape (*).
    """

    def __init__(self, log_mean: Tensor, log_inverse_dispersion: Tensor) -> None:
        super().__init__(log_mean, log_inverse_dispersion)

    @property
    def mean(self) -> Tensor:
        """The mean of each count."""
        return self.log_mean.exp()

    @property
    def overdispersion(self) -> Tensor:
        """The variance minus the mean."""
        log_mean, log_r = self.params
        return (2 * log_mean - log_r).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of each count, in nats."""
        return negative_binomial_log_prob(value, *self.params)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return counts, with shape (*sample_shape, *batch_shape)."""
        shape = self._extended_shape(Size(sample_shape))
        return sample_negative_binomial(*(p.expand(shape) for p in self.params))


class ZeroInflatedNegativeBinomial(Counts):
    r"""A negative binomial distribution with additional zeros.

    .. math:: p(x) = \pi \, [x = 0] + (1 - \pi) \, NB(x; m, r)

    References:
        Deep generative modeling for single-cell transcriptomics (Lopez et al., 2018),
        https://doi.org/10.1038/s41592-018-0229-2

    Arguments:
        log_mean: The logarithm of m, the mean without additional zeros, with shape (*).
        log_inverse_dispersion: The logarithm of r, with shape (*).
        zero_logits: The logit of the probability :math:`\pi` of an additional zero, with shape (*).
    """

    def __init__(
        self, log_mean: Tensor, log_inverse_dispersion: Tensor, zero_logits: Tensor
    ) -> None:
        super().__init__(log_mean, log_inverse_dispersion, zero_logits)

    @property
    def mean(self) -> Tensor:
        """The mean of each count."""
        log_mean, _, zero_logits = self.params
        return log_mean.exp() * torch.sigmoid(-zero_logits)

    @property
    def overdispersion(self) -> Tensor:
        """The variance minus the mean."""
        log_mean, log_r, zero_logits = self.params
        factor = (-log_r).exp() + torch.sigmoid(zero_logits)
        return (2 * log_mean).exp() * torch.sigmoid(-zero_logits) * factor

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of each count, in nats."""
        log_mean, log_r, zero_logits = self.params
        log_p = F.logsigmoid(-zero_logits) + negative_binomial_log_prob(value, log_mean, log_r)
        return torch.where(value > 0, log_p, torch.logaddexp(F.logsigmoid(zero_logits), log_p))

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return counts, with shape (*sample_shape, *batch_shape)."""
        shape = self._extended_shape(Size(sample_shape))
        *params, zero_logits = (p.expand(shape) for p in self.params)
        is_zero = self._uniform(sample_shape) < torch.sigmoid(zero_logits)
        return sample_negative_binomial(*params).masked_fill(is_zero, 0.0)


class LibraryScaledCounts(UnvalidatedDistribution):
    r"""Counts whose means are rates times the library size of the row, the sum of its counts.

    .. math:: m_j = l \, \rho_j, \qquad l = \sum_j x_j

    The log-probability of the counts is conditional on the library size, which is not modeled. For
    samples, the library size is drawn from a log-normal distribution.

    References:
        Deep generative modeling for single-cell transcriptomics (Lopez et al., 2018),
        https://doi.org/10.1038/s41592-018-0229-2

    Arguments:
        rates: The distribution for a library size of 1, with shape (*, *event).
        n_dims: The number of dimensions of a row.
        log_location: The mean of the logarithm of the library size, a scalar.
        log_scale: The standard deviation of the logarithm of the library size, a scalar.
    """

    support = constraints.nonnegative_integer

    def __init__(self, rates: Counts, n_dims: int, log_location: Tensor, log_scale: Tensor) -> None:
        self.rates, self.n_dims = rates, n_dims
        self.log_location, self.log_scale = log_location, log_scale
        super().__init__(rates.batch_shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """Return the same distribution with a larger batch shape."""
        rates = self.rates.expand(batch_shape)
        assert isinstance(rates, Counts)
        return LibraryScaledCounts(rates, self.n_dims, self.log_location, self.log_scale)

    def given_row(self, value: Tensor, mask: Tensor | None = None) -> Counts:
        """Return the distribution given the library sizes of rows.

        If elements are missing, the library size is the sum of the observed elements, divided by
        the sum of their rates. The library size of an empty row is 1.

        Arguments:
            value: The counts, with shape (*, *event).
            mask: A tensor with the same shape that is 1 where observed, or None.
        """
        dims = tuple(range(-self.n_dims, 0))
        observed = value if mask is None else value.masked_fill(mask == 0, 0)
        log_size = observed.sum(dims, keepdim=True).clamp(min=1).log()
        if mask is not None:
            share = (self.rates.log_mean.exp() * mask).sum(dims, keepdim=True)
            log_size = log_size - share.clamp(min=_MIN_SHARE).log()
        return self.rates.multiply_mean(log_size)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of each count given the library size, in nats."""
        return self.given_row(value).log_prob(value)

    @property
    def mean(self) -> Tensor:
        """The mean, averaged over library sizes."""
        return self.rates.multiply_mean(self.log_location + self.log_scale.square() / 2).mean

    @property
    def variance(self) -> Tensor:
        """The variance, including the variation of the library size."""
        rates = self.rates.multiply_mean(self.log_location + self.log_scale.square())
        mean = self.mean
        return mean + rates.overdispersion + rates.mean.square() - mean.square()

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return counts, with shape (*sample_shape, *batch_shape)."""
        shape = self._extended_shape(Size(sample_shape))
        size_shape = (*shape[: len(shape) - self.n_dims], *[1] * self.n_dims)
        noise = self.rates.log_mean.new_empty(size_shape).normal_()
        log_size = self.log_location + self.log_scale * noise
        return self.rates.expand(shape).multiply_mean(log_size).sample()  # type: ignore[attr-defined, no-any-return]


def given_library_size(px: Distribution, x: Tensor, mask: Tensor | None = None) -> Distribution:
    """Return p(x | z) given the library sizes of rows; other distributions are returned unchanged.

    Arguments:
        px: The distribution p(x | z).
        x: The rows, with shape (*, *event).
        mask: A tensor with the same shape that is 1 where observed, or None.
    """
    base = base_distribution(px)
    if not isinstance(base, LibraryScaledCounts):
        return px
    return Independent(base.given_row(x, mask), base.n_dims, validate_args=False)


def negative_binomial_log_prob(value: Tensor, log_mean: Tensor, log_r: Tensor) -> Tensor:
    """Return the log-probability of counts under a `NegativeBinomial`, in nats."""
    m, r, x = log_mean.exp(), log_r.exp(), torch.where(value > 0, value, 1.0)
    n, total, log_x = x + r, m + r, x.log()
    log_ratio = n.log() - total.log()
    deviance = r * _excess((x - m) / total, log_ratio)
    deviance = deviance + x * _excess((m - x) / x * (r / total), log_mean + log_ratio - log_x)
    errors = _stirling_error(n) - _stirling_error(r) - _stirling_error(x)
    log_p = errors - deviance + 0.5 * (log_r - n.log() - log_x - LOG_2PI)
    return torch.where(value > 0, log_p, -r * F.softplus(log_mean - log_r))


def sample_negative_binomial(log_mean: Tensor, log_r: Tensor) -> Tensor:
    """Return a sample from each `NegativeBinomial`, as a Poisson sample with a gamma mean."""
    r = log_r.exp()
    return torch.poisson(torch._standard_gamma(r) * (log_mean - log_r).exp())


def _excess(u: Tensor, log1p_u: Tensor) -> Tensor:
    """Return u - log(1 + u), from a series for small u."""
    is_small = u.abs() < _MAX_SERIES
    w = (u / (2 + u)).where(is_small, 0.0)
    t, total = w * w, torch.zeros_like(u)
    for k in range(17, 2, -2):
        total = total * t + 1 / k
    return torch.where(is_small, u.where(is_small, 0.0) * w - 2 * w * t * total, u - log1p_u)


def _stirling_error(x: Tensor) -> Tensor:
    """Return log(x! / s(x)), where s is Stirling's formula, for x > 0."""
    small, large = x.clamp(max=_MIN_STIRLING), x.clamp(min=_MIN_STIRLING)
    exact = torch.lgamma(small + 1) - (small + 0.5) * small.log() + small - 0.5 * LOG_2PI
    t = 1 / large.square()
    series = torch.zeros_like(x)
    for coefficient in (-691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12):
        series = series * t + coefficient
    return torch.where(x < _MIN_STIRLING, exact, series / large)
