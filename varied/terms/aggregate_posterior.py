"""Terms for the aggregate posterior: capacities, the KL decomposition and covariance penalties."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from varied.distributions import Product, base_distribution, kl_per_factor
from varied.errors import VariedError
from varied.scheduled_value import ScheduledValue
from varied.schedules import Number
from varied.terms.base import Term, full_precision, requires
from varied.terms.elbo import kl
from varied.trace import Level, Trace


class Capacity(nn.Module, Term):
    r"""The distance between the KL and a target capacity.

    .. math:: \left| \overline{KL(q(z \mid x) \,\|\, p(z))} - C \right|

    where the mean is over the batch.

    References:
        Understanding disentangling in beta-VAE (Burgess et al., 2018),
        https://arxiv.org/abs/1804.03599

        Learning Disentangled Joint Continuous and Discrete Representations (Dupont, 2018), for
        factors, https://arxiv.org/abs/1804.00104

    Warning:
        Some implementations take the absolute value per example, which pulls the KL of every
        example toward the same value. In the paper, a simple example may have a lower KL than a
        rare one.

    Arguments:
        nats: The capacity C, a number or a schedule.
        factor: The index of the factor whose KL is used, if the posterior is a product. With
            posterior='gaussian-gumbel', 0 is the continuous factor and 1 is the discrete factor. If
            None, the KL of the entire latent variable is used.
    """

    def __init__(self, nats: Number, factor: int | None = None) -> None:
        super().__init__()
        self.nats, self.factor = ScheduledValue(nats), factor
        self.requires = frozenset({"density"} if factor is None else {"density", "parts"})

    def forward(self, trace: Trace) -> Tensor:
        """Return the value in nats, with shape (B); it is the same for all examples."""
        return (self._kl(trace).mean() - self.nats.value).abs().expand(len(trace.x))

    def _kl(self, trace: Trace) -> Tensor:
        if self.factor is None:
            return kl(trace)
        (level,) = trace.levels
        assert isinstance(level.q, Product)
        assert isinstance(level.p, Product)
        return kl_per_factor(level.q, level.p)[self.factor]


class AggregateTerm(Term):
    r"""Base class for terms that depend on the aggregate posterior, the mixture of all posteriors.

    .. math:: q(z) = \frac1N \sum_n q(z \mid x_n)
        \approx \frac1{N B} \sum_b q(z \mid x_b)

    The mixture is estimated from a batch by minibatch-weighted sampling (Chen et al., 2018).

    Arguments:
        dataset_size: The number N of training rows; it shifts the value but does not affect the
            gradient. If 0, the batch is treated as the dataset, so that the estimate is
            :math:`\frac1B \sum_b`.
    """

    requires = frozenset({"density", "marginals"})

    def __init__(self, dataset_size: int = 0) -> None:
        if dataset_size < 0:
            raise VariedError(
                f"dataset_size={dataset_size} must not be negative; use 0 to treat the batch as "
                "the dataset."
            )
        self.dataset_size = dataset_size

    def __call__(self, trace: Trace) -> Tensor:
        """Return the value of the term for each example, in nats, with shape (B)."""
        values = [self._value(level, *self._log_mixture(level)) for level in trace.levels]
        return trace.expect(torch.stack(values).sum(0))

    @abstractmethod
    def _value(self, level: Level, log_joint: Tensor, log_marginals: Tensor) -> Tensor:
        """Return the value of the term for each draw, with shape (K, B).

        Arguments:
            level: The draws and their densities.
            log_joint: log q(z), with shape (K, B).
            log_marginals: The sum of log q(z_j) over the dimensions, with shape (K, B).
        """

    def _log_mixture(self, level: Level) -> tuple[Tensor, Tensor]:
        _check_single_posterior(level)
        # The log-density of each draw under the posterior of each example, (K, B, B, D).
        pairs = base_distribution(level.q).log_prob(level.z.unsqueeze(2)).flatten(3)
        log_size = math.log(pairs.shape[2] * (self.dataset_size or 1))
        return pairs.sum(3).logsumexp(2) - log_size, (pairs.logsumexp(2) - log_size).sum(2)


class IndexCodeMI(AggregateTerm):
    r"""The mutual information between the index of an example and its code.

    .. math:: \mathbb E [\log q(z \mid x) - \log q(z)]

    References:
        Isolating Sources of Disentanglement in VAEs (Chen et al., 2018),
        https://arxiv.org/abs/1802.04942
    """

    def _value(self, level: Level, log_joint: Tensor, log_marginals: Tensor) -> Tensor:
        return level.q.log_prob(level.z) - log_joint


class TotalCorrelation(AggregateTerm):
    r"""The total correlation of the latent dimensions under the aggregate posterior.

    .. math:: \mathbb E [\log q(z) - \textstyle\sum_j \log q(z_j)]

    References:
        Isolating Sources of Disentanglement in VAEs (Chen et al., 2018),
        https://arxiv.org/abs/1802.04942
    """

    def _value(self, level: Level, log_joint: Tensor, log_marginals: Tensor) -> Tensor:
        return log_joint - log_marginals


class DimensionWiseKL(AggregateTerm):
    r"""The summed KL divergences between the aggregate posterior's marginals and the prior.

    .. math:: \textstyle\sum_j \mathbb E [\log q(z_j) - \log p(z_j)]

    References:
        Isolating Sources of Disentanglement in VAEs (Chen et al., 2018),
        https://arxiv.org/abs/1802.04942
    """

    def _value(self, level: Level, log_joint: Tensor, log_marginals: Tensor) -> Tensor:
        return log_marginals - level.p.log_prob(level.z)


@requires("marginals")
@full_precision
def covariance_penalty(trace: Trace) -> Tensor:
    r"""Return the sum of the squared covariances between the dimensions of the posterior means.

    .. math:: \textstyle\sum_{i \ne j} \mathrm{Cov}[\mu(x)]_{ij}^2

    References:
        Variational Inference of Disentangled Latent Concepts from Unlabeled Observations
        (Kumar et al., 2017), https://arxiv.org/abs/1711.00848

    Returns:
        The value of the term with shape (B); it is the same for all examples.
    """
    covariances = [_mean_covariance(level) for level in trace.levels]
    sums = [cov.square().sum() - cov.diagonal().square().sum() for cov in covariances]
    return torch.stack(sums).sum().expand(len(trace.x))


class VariancePenalty(Term):
    r"""The sum of the squared differences between the variance of each dimension and 1.

    .. math:: \textstyle\sum_i (\mathrm{Cov}[\mu(x)]_{ii} + [\mathrm{ii}] \, \mathbb E \sigma_i^2(x)
        - 1)^2

    where :math:`[\mathrm{ii}]` is 1 for variant "ii" and 0 for variant "i".

    References:
        Variational Inference of Disentangled Latent Concepts from Unlabeled Observations
        (Kumar et al., 2017), https://arxiv.org/abs/1711.00848

    Arguments:
        variant: The DIP-VAE variant: "i" for the variance of the posterior means, or "ii" for the
            variance of posterior draws.
    """

    requires = frozenset({"marginals"})

    def __init__(self, variant: str = "i") -> None:
        if variant not in ("i", "ii"):
            raise VariedError(f"variant='{variant}' must be 'i' (means) or 'ii' (draws).")
        self.variant = variant

    @full_precision
    def __call__(self, trace: Trace) -> Tensor:
        """Return the value of the term with shape (B); it is the same for all examples."""
        sums = [(self._variance(level) - 1).square().sum() for level in trace.levels]
        return torch.stack(sums).sum().expand(len(trace.x))

    def _variance(self, level: Level) -> Tensor:
        variance = _mean_covariance(level).diagonal()
        if self.variant == "i":
            return variance
        return variance + level.q.variance.flatten(1).mean(0)


def _mean_covariance(level: Level) -> Tensor:
    """Return the covariance matrix of the posterior means over the batch."""
    _check_single_posterior(level)
    mean = level.q.mean.flatten(1)
    centered = mean - mean.mean(0)
    return centered.T @ centered / len(mean)


def _check_single_posterior(level: Level) -> None:
    if len(level.q.batch_shape) != 1:
        raise VariedError(
            "This objective requires one posterior per example, but the posteriors of a ladder VAE "
            "also depend on the levels above; use architecture='vae', or objective='elbo'."
        )
