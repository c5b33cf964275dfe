"""Tables of level probabilities for discrete likelihoods."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributions as td
from torch.distributions import Distribution

from varied import distributions as d
from varied.distributions import base_distribution
from varied.errors import VariedError


def num_levels(px: Distribution) -> int:
    """Return the number of levels: the possible values of an element, evenly spaced in [0, 1].

    Raises:
        VariedError: If the distribution is continuous.
    """
    base = base_distribution(px)
    if isinstance(base, td.MixtureSameFamily):
        base = base.component_distribution
    if isinstance(base, td.Bernoulli):
        return 2
    if isinstance(base, d.DiscretizedLogistic):
        return base.levels
    if isinstance(base, d.CategoricalLevels):
        return base.logits.shape[-1]
    raise VariedError(
        "Lossless compression requires a likelihood with a finite number of values; "
        "train on images with `--likelihood discretized-logistic`, or on binary data with "
        "`--likelihood "
        "bernoulli`."
    )


def to_levels(x: Tensor, levels: int) -> Tensor:
    """Return the level of each element, int32 with the shape of ``x``.

    Raises:
        VariedError: If an element is not one of the levels.
    """
    index = (x.double() * (levels - 1)).round()
    if not torch.equal(from_levels(index, levels).to(x.dtype), x) or index.min() < 0 or x.max() > 1:
        raise VariedError(
            f"Some values of the data are not among the {levels} levels of this run; train with "
            "`--likelihood discretized-logistic`, which has 256 levels."
        )
    return index.to(torch.int32)


def from_levels(index: Tensor, levels: int) -> Tensor:
    """Return the value of each level, float64 in [0, 1] with the shape of ``index``."""
    return index.double() / (levels - 1)


def level_probabilities(px: Distribution, levels: int) -> Tensor:
    """Return the probability of each level for each element, with shape (*, levels)."""
    base = base_distribution(px)
    if isinstance(base, td.Bernoulli):
        return torch.stack([torch.sigmoid(-base.logits), torch.sigmoid(base.logits)], -1)
    if isinstance(base, d.CategoricalLevels):
        return base.logits.exp()
    if isinstance(base, td.MixtureSameFamily):
        weights = base.mixture_distribution.probs.unsqueeze(-1)
        cdf = (weights * _logistic_cdf(base.component_distribution)).sum(-2)
    else:
        cdf = _logistic_cdf(base)
    zero = torch.zeros_like(cdf[..., :1])
    return torch.diff(cdf, dim=-1, prepend=zero, append=zero + 1).clamp_min(0)


def _logistic_cdf(base: Any) -> Tensor:
    """Return the cumulative probability at the upper edge of each level except the last."""
    edges = (torch.arange(base.levels - 1, dtype=torch.float64) + 0.5) / (base.levels - 1)
    inverse_scale = (-base.log_scale).exp().unsqueeze(-1)
    return torch.sigmoid((edges - base.loc.unsqueeze(-1)) * inverse_scale)
