"""Conformal calibration of the standard deviation of draws for imputed values."""

from __future__ import annotations

import torch
from torch import Tensor

#: The number of draws for each held-out cell.
CALIBRATION_DRAWS = 200
#: The number of cells of a group to which the cells of all other groups together are equivalent.
POOLED_CELLS = 4
#: The maximum factor for a group.
MAX_SCALE = 4.0
#: The number of cells for which quantiles are computed at a time; PyTorch limits their number.
_MAX_CELLS = 10_000


def draw_scale(
    deviations: Tensor, residuals: Tensor, groups: Tensor, n_groups: int, *, level: float = 0.9
) -> Tensor:
    r"""Return the factor for each group of cells that gives intervals their nominal coverage.

    The interval of a cell is :math:`[\hat x + f q_-, \hat x + f q_+]`, where :math:`q_\pm` are the
    quantiles of the deviations of its draws. The factor f is a quantile of the factors
    :math:`f_i`, for which the true value of a held-out cell is equal to a bound of its interval:

    .. math:: f_i = r_i / q_{i\pm}, \qquad
        f = \min \Bigl\{ f_k : \sum_{i: f_i \le f_k} \omega_i \ge
        \mathrm{level} \, (1 + 1 / n_{\mathrm{eff}}) \Bigr\}

    The weights :math:`\omega_i` sum to 1, and :math:`n_{\mathrm{eff}} = 1 / \sum_i \omega_i^2`. All
    cells of the group have the same weight. Cells in other groups have a smaller weight, such that
    all of them together are equivalent to at most four cells of the group. If there are too few
    cells for this level, the factor is the largest :math:`f_i`, but at least 1.

    References:
        Distribution-Free Predictive Inference for Regression (Lei et al., 2018),
        https://arxiv.org/abs/1604.04173; for weights, Conformal Prediction Under Covariate Shift
        (Tibshirani et al., 2019), https://arxiv.org/abs/1904.06019

    Arguments:
        deviations: The deviations of the draws for each held-out cell from their mean, with shape
            (draws, n).
        residuals: The true value of each cell minus the imputed mean, with shape (n).
        groups: The group of each cell, such as its column, as int64 with shape (n).
        n_groups: The number of groups.
        level: The nominal coverage, between 0 and 1.

    Returns:
        Factors of at most 4, with shape (n_groups); 1 if there are no cells.
    """
    scale = deviations.new_ones(n_groups)
    if not len(residuals):
        return scale
    ends = deviations.new_tensor([(1 - level) / 2, (1 + level) / 2])
    parts = [part.quantile(ends, dim=0) for part in deviations.split(_MAX_CELLS, dim=1)]
    low, high = torch.cat(parts, 1)
    distance = torch.where(residuals > 0, high, -low)
    factors = torch.where(distance > 0, residuals.abs() / distance, MAX_SCALE).clamp(max=MAX_SCALE)
    factors, order = factors.sort()
    groups = groups[order]
    for group in range(n_groups):
        weights = torch.where(groups == group, 1.0, POOLED_CELLS / len(groups)).double()
        weights /= weights.sum()
        target = level * (1 + (weights**2).sum())  # the sum of squares is 1 / n_eff
        index = int(torch.searchsorted(weights.cumsum(0), target))
        scale[group] = factors[index] if index < len(factors) else factors[-1].clamp(min=1)
    return scale
