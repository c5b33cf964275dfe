"""The aggregate posterior: mutual information, total correlation and divergence from the prior."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate._checks import as_table
from varied.evaluate._types import Data
from varied.evaluate.estimate import Estimate
from varied.seeding import generator, permutation

#: The number of (sample, row) pairs in memory at a time: 1 MB, which fits in the cache.
PAIRS = 2**17
#: The number of samples whose prior density is evaluated at a time.
CHUNK = 1000
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class AggregatePosterior:
    r"""Properties of the aggregate posterior q(z), in nats.

    ``kl = mutual_information + marginal_kl`` holds exactly for the same samples, and so does
    ``marginal_kl = total_correlation + dimension_wise_kl`` if the prior is factorized.

    Arguments:
        n: The number N of rows in the mixture.
        kl: The mean of :math:`KL(q(z \mid x) \,\|\, p(z))`, estimated from the samples.
        mutual_information: :math:`I(x; z)`, at most log N.
        mutual_information_upper: The same quantity, with each sample's own row excluded from the
            mixture.
        marginal_kl: :math:`KL(q(z) \,\|\, p(z))`.
        total_correlation: :math:`KL(q(z) \,\|\, \prod_j q(z_j))`; 0 if the units are independent.
        dimension_wise_kl: :math:`\sum_j KL(q(z_j) \,\|\, p(z_j))`; None if the prior has no
            density for individual units.
        dimension_wise_kl_by_unit: The D terms of that sum.
    """

    n: int
    kl: Estimate
    mutual_information: Estimate
    mutual_information_upper: Estimate
    marginal_kl: Estimate
    total_correlation: Estimate
    dimension_wise_kl: Estimate | None
    dimension_wise_kl_by_unit: tuple[float, ...] | None

    @property
    def max_information(self) -> float:
        """The maximum of the mutual information, log N."""
        return math.log(self.n)

    @property
    def warnings(self) -> list[str]:
        """Caveats about the reliability of the estimates."""
        information = self.mutual_information.value
        if information < 0.9 * self.max_information:
            return []
        return [
            f"The mutual information of {information:.2f} nats is close to its maximum, log "
            f"{self.n:,} = {self.max_information:.2f}, since the posteriors hardly overlap. "
            "Information above this maximum is counted in the marginal KL and the total "
            "correlation; use more rows, or report the KL instead."
        ]


def aggregate_posterior(
    mean: Data,
    std: Data,
    *,
    log_prior: Callable[[Tensor], Tensor] | None = None,
    n_samples: int | None = None,
    seed: int = 0,
) -> AggregatePosterior:
    r"""Decompose the mean KL divergence of Gaussian posteriors, using their aggregate q(z).

    .. math:: q(z) = \frac1N \sum_n q(z \mid x_n), \qquad
        \overline{KL(q(z \mid x) \,\|\, p)} =
        \underbrace{\mathbb E \log \frac{q(z \mid x)}{q(z)}}_{I(x; z)}
        + \underbrace{\mathbb E \log \frac{q(z)}{\prod_j q(z_j)}}_{\text{total correlation}}
        + \underbrace{\mathbb E \log \frac{\prod_j q(z_j)}{p(z)}}_{\text{dimension-wise KL}}

    The mixture contains the posteriors of all N rows, not only of one batch, and is evaluated in
    float64. The expectation is over one posterior sample for each row; the mixture includes the
    posterior of this row.

    References:
        ELBO surgery: yet another way to carve up the variational evidence lower bound (Hoffman &
        Johnson, 2016), http://approximateinference.org/accepted/HoffmanJohnson2016.pdf, for the
        first term. Isolating Sources of Disentanglement in Variational Autoencoders (Chen et al.,
        2018), https://arxiv.org/abs/1802.04942, for the other two terms. On Variational Bounds of
        Mutual Information (Poole et al., 2019), https://arxiv.org/abs/1905.06922, for the
        leave-one-out bound.

    Warning:
        The mutual information is between the code and the index of the row, so it is at most log N:
        9.2 nats for 10,000 rows. As an estimate for the data distribution, ``mutual_information``
        is biased downward and ``mutual_information_upper`` is biased upward; if they differ
        greatly, N is too small. Standard errors are computed over rows and their samples, for a
        fixed mixture. All posteriors are treated as factorized Gaussians with the given means and
        standard deviations.

    Arguments:
        mean: The mean of each posterior, with shape (N, D).
        std: The standard deviation of each posterior, with shape (N, D).
        log_prior: Maps z, float64 with shape (M, D), to log p(z), with shape (M), or with shape
            (M, D) if the prior is factorized. The default is the standard normal prior.
        n_samples: The number of randomly chosen rows for which a code is sampled; all rows by
            default. The computation time is proportional to n_samples * N * D: about ten seconds
            for 10,000 rows with 32 units.
        seed: The seed for the samples.

    Raises:
        VariedError: If the shapes differ, a value is not finite, or a standard deviation is not
            positive.

    Example:
        >>> result = aggregate_posterior(torch.zeros(100, 3), torch.ones(100, 3))
        >>> abs(result.mutual_information.value) + abs(result.marginal_kl.value) < 1e-9
        True
    """
    mean, std = as_table(mean, "means", min_rows=2), as_table(std, "standard deviations")
    if mean.shape != std.shape:
        raise VariedError(
            f"The means have shape {tuple(mean.shape)}, but the standard deviations have shape "
            f"{tuple(std.shape)}; both must have the same shape."
        )
    if not (std > 0).all():
        raise VariedError(
            "A standard deviation is not positive; use a model whose posterior has a density."
        )
    n = len(mean)
    if n_samples is not None and not 2 <= n_samples <= n:
        raise VariedError(
            f"n_samples={n_samples} must be between 2 and the number of rows ({n:,})."
        )
    rows = torch.arange(n) if n_samples is None else permutation(n, seed, "rows drawn")[:n_samples]
    noise = torch.randn(mean.shape, dtype=torch.float64, generator=generator(seed, "codes"))
    z = mean[rows] + std[rows] * noise[rows]
    posterior, others, aggregate, marginals = _log_densities(z, rows, mean, std)
    prior, prior_marginals = _log_prior(log_prior, z)
    by_unit = None if prior_marginals is None else marginals - prior_marginals
    return AggregatePosterior(
        n=n,
        kl=Estimate.of(posterior - prior),
        mutual_information=Estimate.of(posterior - aggregate),
        mutual_information_upper=Estimate.of(posterior - others),
        marginal_kl=Estimate.of(aggregate - prior),
        total_correlation=Estimate.of(aggregate - marginals.sum(1)),
        dimension_wise_kl=None if by_unit is None else Estimate.of(by_unit.sum(1)),
        dimension_wise_kl_by_unit=None if by_unit is None else tuple(by_unit.mean(0).tolist()),
    )


def _log_densities(
    z: Tensor, rows: Tensor, mean: Tensor, std: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the log-densities of samples under the posteriors and their mixtures.

    Returns:
        The log-density of each sample under the posterior of its row, under the mixture of the
        other rows, and under the mixture of all rows, each with shape (M); and the log-density of
        each unit under its mixture, with shape (M, D).
    """
    n, units = mean.shape
    precision = std.reciprocal().T.contiguous()
    centers, scale = mean.T.contiguous(), precision / math.sqrt(2)
    log_heights = precision.log().sum(0)
    parts = []
    chunk = max(1, PAIRS // n)
    for samples, own in zip(z.split(chunk), rows.split(chunk), strict=True):
        pairs, marginals = log_heights.repeat(len(samples), 1), torch.empty_like(samples)
        for j in range(units):
            exponent = (samples[:, j, None] - centers[j]).mul_(scale[j]).square_().neg_()
            pairs += exponent
            # The sum includes the sample's own posterior, so it is positive.
            marginals[:, j] = (exponent.exp_() @ precision[j]).log()
        aggregate = pairs.logsumexp(1)
        at = torch.arange(len(samples)), own
        posterior = pairs[at]
        pairs[at] = -math.inf
        parts.append((posterior, pairs.logsumexp(1), aggregate, marginals))
    posterior, others, aggregate, marginals = (torch.cat(p) for p in zip(*parts, strict=True))
    constant = units * HALF_LOG_TWO_PI
    return (
        posterior - constant,
        others - constant - math.log(n - 1),
        aggregate - constant - math.log(n),
        marginals - HALF_LOG_TWO_PI - math.log(n),
    )


def _log_prior(
    log_prior: Callable[[Tensor], Tensor] | None, z: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Return log p(z) with shape (M), and log p(z_j) with shape (M, D) if it is available."""
    if log_prior is None:
        by_unit = -0.5 * z.square() - HALF_LOG_TWO_PI
        return by_unit.sum(1), by_unit
    with torch.no_grad():
        values = torch.cat([log_prior(part).double().cpu() for part in z.split(CHUNK)])
    if values.shape not in (z.shape, z.shape[:1]):
        raise VariedError(
            f"log_prior returned log-densities of shape {tuple(values.shape)} for codes of shape "
            f"{tuple(z.shape)}; it must return one for each code, or one for each unit of "
            "each code."
        )
    if not values.isfinite().all():
        raise VariedError(
            "log_prior returned a non-finite log-density; use a prior whose density is positive at "
            "all codes."
        )
    return (values, None) if values.ndim == 1 else (values.sum(1), values)
