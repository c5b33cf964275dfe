"""Terms about the codes of all data together: how many nats, how dependent, how spread."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from varied.distributions import Product, base_distribution, kl_per_factor
from varied.errors import VariedError
from varied.scheduled_value import ScheduledValue
from varied.schedules import Number
from varied.terms.base import full_precision, requires
from varied.terms.elbo import kl
from varied.trace import Level, Trace

__all__ = [
    "Capacity",
    "DimensionWiseKL",
    "IndexCodeMI",
    "PartCapacity",
    "TotalCorrelation",
    "VariancePenalty",
    "covariance_penalty",
]


@requires("density")
class Capacity(nn.Module):
    r"""How far the KL is from a number of nats.

    .. math:: \left| \overline{KL(q(z \mid x), p(z))} - C \right|

    where the mean is over the batch.

    References:
        Understanding disentangling in beta-VAE (Burgess et al., 2018),
        https://arxiv.org/abs/1804.03599

    Warning:
        Code in the wild takes the absolute value for each datum, which makes every datum cost the
        same number of nats; the paper lets a plain datum cost less and a rare one more.

    Arguments:
        nats: The capacity C, a number or a schedule.
    """

    def __init__(self, nats: Number) -> None:
        super().__init__()
        self.nats = ScheduledValue(nats)

    def forward(self, trace: Trace) -> Tensor:
        """Return nats, the same for each datum, with shape (B)."""
        return (self._rate(trace).mean() - self.nats.value).abs().expand(len(trace.x))

    def _rate(self, trace: Trace) -> Tensor:
        return kl(trace)


@requires("density", "parts")
class PartCapacity(Capacity):
    """How far the KL of one part of a latent of several is from a number of nats.

    References:
        Learning Disentangled Joint Continuous and Discrete Representations (Dupont, 2018),
        https://arxiv.org/abs/1804.00104

    Arguments:
        nats: The capacity, a number or a schedule.
        part: Which part: of posterior='gaussian-gumbel', 0 is the numbers and 1 the choice.
    """

    def __init__(self, nats: Number, part: int) -> None:
        super().__init__(nats)
        self.part = part

    def _rate(self, trace: Trace) -> Tensor:
        (level,) = trace.levels
        assert isinstance(level.q, Product)
        assert isinstance(level.p, Product)
        return kl_per_factor(level.q, level.p)[self.part]


class _Aggregate(ABC):
    r"""What terms on the mixture of the posteriors of all data share.

    .. math:: q(z) = \frac1N \sum_n q(z \mid x_n)

    is read off the batch by weighted sampling, :math:`\frac1{N B} \sum_b q(z \mid x_b)`.

    Arguments:
        rows: The number N of training rows; it shifts the value and not the gradient. 0 takes the
            batch for the whole, with :math:`\frac1B \sum_b`, which is exact where it is.
    """

    def __init__(self, rows: int = 0) -> None:
        if rows < 0:
            raise VariedError(f"rows={rows} must not be below 0; 0 takes the batch for the whole.")
        self.rows = rows

    def __call__(self, trace: Trace) -> Tensor:
        """Return nats, with shape (B)."""
        found = [self._part(level, *self._mixture(level)) for level in trace.levels]
        return trace.expect(torch.stack(found).sum(0))

    @abstractmethod
    def _part(self, level: Level, whole: Tensor, alone: Tensor) -> Tensor:
        """Return the term of each draw, with shape (K, B)."""

    def _mixture(self, level: Level) -> tuple[Tensor, Tensor]:
        """Return log q(z) with shape (K, B), and the sum of log q(z_j) over dimensions."""
        _one_a_datum(level)
        # Draws down, data across: (K, B, B, D).
        pairs = base_distribution(level.q).log_prob(level.z.unsqueeze(2)).flatten(3)
        size = math.log(pairs.shape[2] * (self.rows or 1))
        return pairs.sum(3).logsumexp(2) - size, (pairs.logsumexp(2) - size).sum(2)


@requires("density", "marginals")
class IndexCodeMI(_Aggregate):
    r"""What a code says of which datum it is: their mutual information.

    .. math:: \mathbb E [\log q(z \mid x) - \log q(z)]

    References:
        Isolating Sources of Disentanglement in VAEs (Chen et al., 2018),
        https://arxiv.org/abs/1802.04942

    Arguments:
        rows: The number of training rows; 0 takes the batch for the whole. It shifts the value.
    """

    def _part(self, level: Level, whole: Tensor, alone: Tensor) -> Tensor:
        return level.q.log_prob(level.z) - whole


@requires("density", "marginals")
class TotalCorrelation(_Aggregate):
    r"""How far the dimensions of the codes of all data are from independent.

    .. math:: \mathbb E [\log q(z) - \textstyle\sum_j \log q(z_j)]

    References:
        Isolating Sources of Disentanglement in VAEs (Chen et al., 2018),
        https://arxiv.org/abs/1802.04942

    Arguments:
        rows: The number of training rows; 0 takes the batch for the whole. It shifts the value.
    """

    def _part(self, level: Level, whole: Tensor, alone: Tensor) -> Tensor:
        return whole - alone


@requires("density", "marginals")
class DimensionWiseKL(_Aggregate):
    r"""How far each dimension of the codes of all data is from the prior, summed.

    .. math:: \textstyle\sum_j \mathbb E [\log q(z_j) - \log p(z_j)]

    References:
        Isolating Sources of Disentanglement in VAEs (Chen et al., 2018),
        https://arxiv.org/abs/1802.04942

    Arguments:
        rows: The number of training rows; 0 takes the batch for the whole. It shifts the value.
    """

    def _part(self, level: Level, whole: Tensor, alone: Tensor) -> Tensor:
        return alone - level.p.log_prob(level.z)


@requires("marginals")
@full_precision
def covariance_penalty(trace: Trace) -> Tensor:
    r"""The squared covariances between the means of different dimensions, summed.

    .. math:: \textstyle\sum_{i \ne j} \mathrm{Cov}[\mu(x)]_{ij}^2

    References:
        Variational Inference of Disentangled Latent Concepts from Unlabeled Observations
        (Kumar et al., 2017), https://arxiv.org/abs/1711.00848

    Returns:
        The same for each datum, with shape (B).
    """
    found = [_covariance(level) for level in trace.levels]
    parts = [cov.square().sum() - cov.diagonal().square().sum() for cov in found]
    return torch.stack(parts).sum().expand(len(trace.x))


@requires("marginals")
class VariancePenalty:
    r"""How far the variance of the codes in each dimension is from 1, squared and summed.

    .. math:: \textstyle\sum_i (\mathrm{Cov}[\mu(x)]_{ii} + [\mathrm{ii}] \, \mathbb E \sigma_i^2(x)
        - 1)^2

    References:
        Variational Inference of Disentangled Latent Concepts from Unlabeled Observations
        (Kumar et al., 2017), https://arxiv.org/abs/1711.00848

    Arguments:
        variant: "i" takes the means alone, "ii" the draws.
    """

    def __init__(self, variant: str = "i") -> None:
        if variant not in ("i", "ii"):
            raise VariedError(f"variant='{variant}' must be 'i' (the means) or 'ii' (the draws).")
        self.variant = variant

    @full_precision
    def __call__(self, trace: Trace) -> Tensor:
        """Return the same for each datum, with shape (B)."""
        parts = [(self._variance(level) - 1).square().sum() for level in trace.levels]
        return torch.stack(parts).sum().expand(len(trace.x))

    def _variance(self, level: Level) -> Tensor:
        variance = _covariance(level).diagonal()
        if self.variant == "i":
            return variance
        return variance + level.q.variance.flatten(1).mean(0)


def _covariance(level: Level) -> Tensor:
    _one_a_datum(level)
    mean = level.q.mean.flatten(1)
    centered = mean - mean.mean(0)
    return centered.T @ centered / len(mean)


def _one_a_datum(level: Level) -> None:
    if len(level.q.batch_shape) != 1:
        raise VariedError(
            "This objective wants one posterior for each datum, and a ladder's depend on the "
            "levels above; use architecture='vae', or objective='elbo'."
        )
