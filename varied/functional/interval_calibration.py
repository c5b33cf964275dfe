"""Draws that are widened until they keep their word on cells that were not learned from."""

from __future__ import annotations

import bisect
import math

import torch
from torch import Tensor

from varied.seeding import seeded

__all__ = ["DRAWN", "ENOUGH", "inflate_draws", "inflation_factor"]

#: Draws of each cell that say what its interval holds, and the fewest cells that say a width.
DRAWN, ENOUGH = 200, 30

#: Widths that are looked at.
WIDTHS = [1 + step / 20 for step in range(61)]


def inflate_draws(draws: Tensor, width: Tensor | float, *, seed: int = 0) -> Tensor:
    r"""Return draws with noise, so that each spreads wider around its cell's mean.

    .. math:: x'_{mj} = x_{mj} + \sqrt{w^2 - 1} \; s_j \, \varepsilon_{mj}, \qquad
        \varepsilon_{mj} \sim \mathcal N(0, 1)

    with :math:`s_j` the standard deviation of the draws of cell j; theirs is then :math:`w s_j`.

    Arguments:
        draws: Draws of cells, with shape (M, *), M of 2 or more.
        width: The factor w, 1 or more, or one for each cell; 1 leaves draws as they are.
        seed: Which noise.
    """
    more = (torch.as_tensor(width).to(draws) ** 2 - 1).sqrt() * draws.std(0)
    with seeded(seed, "widen"):
        return draws + more * torch.randn_like(draws)


def inflation_factor(draws: Tensor, truth: Tensor, *, level: float = 0.9) -> float:
    r"""Return the least width at which the intervals of draws hold as many cells as they promise.

    An interval holds the central ``level`` of the draws of a cell. Of n cells that were not learned
    from, :math:`\lceil (n + 1) \, \mathrm{level} \rceil` are to be inside, so that a further one is
    inside with the chance that was promised. From few cells this is wide on average, and uncertain
    by :math:`\sqrt{\mathrm{level} (1 - \mathrm{level}) / n}`: 3 in 100 for a hundred of them.

    References:
        Distribution-Free Predictive Inference for Regression (Lei et al., 2018),
        https://arxiv.org/abs/1604.04173

    Arguments:
        draws: Draws of each cell, with shape (M, n).
        truth: What the cells hold, with shape (n).
        level: The share of draws that an interval holds, between 0 and 1.

    Returns:
        A factor from 1, where nothing is to be widened or cells are fewer than `ENOUGH`, to 4.
    """
    if len(truth) < ENOUGH:
        return 1.0
    wanted = min(math.ceil((len(truth) + 1) * level), len(truth))
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=draws.dtype)

    def inside(width: float) -> int:
        low, high = inflate_draws(draws, width).quantile(ends, dim=0)
        return int(((low <= truth) & (truth <= high)).sum())

    return WIDTHS[min(bisect.bisect_left(WIDTHS, wanted, key=inside), len(WIDTHS) - 1)]
