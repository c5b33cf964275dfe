"""Calibration of the standard deviation of draws for each column."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

#: Number of cells of a column to which the cells of all columns are equivalent.
POOLED_CELLS = 10
#: The maximum factor.
MAX_SCALE = 4.0


def draw_scale(
    deviations: Array, residuals: Array, columns: Array, n_columns: int, *, level: float = 0.9
) -> Array:
    r"""Return the factor for each column at which intervals have their nominal coverage.

    The interval of a cell is :math:`[\hat x + f q_-, \hat x + f q_+]`, where :math:`q_\pm` are the
    quantiles of the deviations of its draws. The factor f is a quantile of the factors at which the
    held-out cells lie at the end of their intervals:

    .. math:: f_i = r_i / q_{i\pm}, \qquad
        f = \min \Bigl\{ f_k : \sum_{i: f_i \le f_k} \omega_i \ge
        \mathrm{level} \, (1 + 1 / n_{\mathrm{eff}}) \Bigr\}

    The weight :math:`\omega_i` of a cell in another column is such that all of them are equivalent
    to ten cells of the column.

    References:
        Distribution-Free Predictive Inference for Regression (Lei et al., 2018),
        https://arxiv.org/abs/1604.04173; for weights, Conformal Prediction Under Covariate Shift
        (Tibshirani et al., 2019), https://arxiv.org/abs/1904.06019

    Arguments:
        deviations: The deviations of the draws of each held-out cell from their mean, with shape
            (draws, n).
        residuals: The true value of each cell minus the imputed mean, with shape (n).
        columns: The column of each cell, with shape (n).
        n_columns: The number of columns.
        level: The nominal coverage, between 0 and 1.

    Returns:
        Factors of at most 4, with shape (n_columns).
    """
    low, high = np.quantile(deviations, ((1 - level) / 2, (1 + level) / 2), axis=0)
    ends = np.where(residuals > 0, high, -low)
    factors = np.full(len(residuals), MAX_SCALE)
    np.divide(np.abs(residuals), ends, out=factors, where=ends > 0)
    order = np.argsort(factors)
    factors, columns = factors[order].clip(max=MAX_SCALE), columns[order]
    scale = np.empty(n_columns)
    for column in range(n_columns):
        weights = np.where(columns == column, 1.0, POOLED_CELLS / len(columns))
        weights /= weights.sum()
        target = level * (1 + (weights**2).sum())  # the sum of squares is 1 / n_eff
        index = np.searchsorted(weights.cumsum(), target)
        scale[column] = factors[min(index, len(factors) - 1)]
    return scale
