"""Multivariate normal distribution of rows with missing cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

#: The maximum number of rows to which the distribution is fitted, and the number per batch.
MAX_ROWS, BATCH_ROWS = 1000, 100
ITERATIONS = 30
#: The number of uncorrelated pseudo-observations that are added to the covariance estimate.
PRIOR_ROWS = 1
#: The maximum distance of values from the mean of a column, in standard deviations. More distant
#: values are clipped; otherwise, a few outliers would determine the covariance.
MAX_DEVIATION = 5


@dataclass(frozen=True)
class MultivariateNormal:
    r"""A normal distribution, fitted to incomplete rows with the EM algorithm.

    .. math:: \mathbb E[x_m \mid x_o] = \mu_m + \Sigma_{mo} \Sigma_{oo}^{-1} (x_o - \mu_o)

    References:
        Statistical Analysis with Missing Data (Little & Rubin, 2002), section 11.2,
        https://doi.org/10.1002/9781119013563

    Arguments:
        mean: The mean, with shape (M).
        covariance: The covariance, with shape (M, M).
        low: The value to which lower values are clipped, with shape (M).
        high: The value to which higher values are clipped, with shape (M).
    """

    mean: Array
    covariance: Array
    low: Array | float = -np.inf
    high: Array | float = np.inf

    @classmethod
    def fit(cls, x: Array) -> Self:
        """Fit the distribution to rows with shape (N, M); NaN marks missing cells."""
        x = x[:MAX_ROWS]
        n, width = x.shape
        n_observed = (~np.isnan(x)).sum(0).clip(1)
        mean = np.nansum(x, 0) / n_observed
        variance = np.nansum((x - mean) ** 2, 0) / n_observed
        limit = MAX_DEVIATION * np.sqrt(variance)
        normal = cls(mean, np.diag(variance + 1e-9), mean - limit, mean + limit)
        for _ in range(ITERATIONS):
            completed, covariance = normal._expect(x)
            mean = completed.mean(0)
            covariance += (completed - mean).T @ (completed - mean)
            prior = np.diag(PRIOR_ROWS / n * covariance.diagonal())
            covariance = (covariance + prior) / (n + PRIOR_ROWS)
            normal = replace(normal, mean=mean, covariance=covariance + 1e-9 * np.eye(width))
        return normal

    def impute(self, x: Array) -> Array:
        """Return the rows with the conditional means of missing cells, with shape (N, M)."""
        return np.where(np.isnan(x), self._expect(x)[0].clip(self.low, self.high), x)

    def _expect(self, x: Array) -> tuple[Array, Array]:
        """Return the clipped and completed rows, and the sum of their conditional covariances."""
        x = x.clip(self.low, self.high)
        completed, total = x.copy(), np.zeros_like(self.covariance)
        diagonal = np.arange(x.shape[1])
        for start in range(0, len(x), BATCH_ROWS):
            rows = x[start : start + BATCH_ROWS]
            missing = np.isnan(rows)
            observed = (~missing).astype(float)
            # The covariance of the observed cells, and the identity for the missing ones.
            a = self.covariance * observed[:, :, None] * observed[:, None, :]
            a[:, diagonal, diagonal] += missing
            b = self.covariance * observed[:, :, None]
            weights = np.linalg.solve(a, b)
            deviations = np.where(missing, 0, rows - self.mean)
            mean = self.mean + (deviations[:, None] @ weights)[:, 0]
            completed[start : start + BATCH_ROWS] = np.where(missing, mean, rows)
            conditional = self.covariance - b.transpose(0, 2, 1) @ weights
            total += (conditional * missing[:, :, None] * missing[:, None, :]).sum(0)
        return completed, total
