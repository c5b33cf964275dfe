"""Conformal calibration of intervals for imputed values on held-out cells."""

from __future__ import annotations

import bisect
import math

import torch
from torch import Tensor

from varied.seeding import seeded

#: Number of draws for each held-out cell, and minimum number of cells for estimating a factor.
CALIBRATION_DRAWS, MIN_CELLS = 200, 30

#: The factors that are considered.
FACTORS = [1 + step / 20 for step in range(61)]


def inflate_draws(draws: Tensor, factor: Tensor | float, *, seed: int = 0) -> Tensor:
    r"""Return the draws of each cell with noise that scales their standard deviation by a factor.

    .. math:: x'_{mj} = x_{mj} + \sqrt{f^2 - 1} \; s_j \, \varepsilon_{mj}, \qquad
        \varepsilon_{mj} \sim \mathcal N(0, 1)

    where :math:`s_j` is the standard deviation of the draws of cell j.

    Arguments:
        draws: Draws for each cell, with shape (M, *), where M is at least 2.
        factor: The factor f, which must be at least 1, or one such factor for each cell.
        seed: The random seed.
    """
    noise_std = (torch.as_tensor(factor).to(draws) ** 2 - 1).sqrt() * draws.std(0)
    with seeded(seed, "widen"):
        return draws + noise_std * torch.randn_like(draws)


def inflation_factor(draws: Tensor, truth: Tensor, *, level: float = 0.9) -> float:
    r"""Return the smallest factor at which the intervals of the draws reach their nominal coverage.

    The interval of a cell contains the central fraction ``level`` of its draws. Of n held-out
    cells, :math:`\lceil (n + 1) \, \mathrm{level} \rceil` must lie in their intervals; a new cell
    then lies in its interval with probability ``level``. For a given set of n cells, the coverage
    has a standard error of :math:`\sqrt{\mathrm{level} (1 - \mathrm{level}) / n}`, which is 0.03
    for a hundred cells.

    References:
        Distribution-Free Predictive Inference for Regression (Lei et al., 2018),
        https://arxiv.org/abs/1604.04173

    Arguments:
        draws: Draws for each cell, with shape (M, n).
        truth: The true values of the cells, with shape (n).
        level: The nominal coverage, between 0 and 1.

    Returns:
        A factor between 1 and 4; 1 if there are fewer than 30 cells.
    """
    if len(truth) < MIN_CELLS:
        return 1.0
    target = min(math.ceil((len(truth) + 1) * level), len(truth))
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=draws.dtype)

    def count_covered(factor: float) -> int:
        low, high = inflate_draws(draws, factor).quantile(ends, dim=0)
        return int(((low <= truth) & (truth <= high)).sum())

    return FACTORS[min(bisect.bisect_left(FACTORS, target, key=count_covered), len(FACTORS) - 1)]
