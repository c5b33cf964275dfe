"""Data that take one of a few values: which one, and how likely each is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributions as td
from torch.distributions import Distribution

from varied import distributions as d
from varied.distributions import base_distribution
from varied.errors import VariedError

__all__ = ["chances", "count", "index_of", "value_of"]


def count(law: Distribution) -> int:
    """Return how many values an element can take, evenly from 0 to 1.

    Raises:
        VariedError: If it can take any value between.
    """
    one = base_distribution(law)
    if isinstance(one, td.MixtureSameFamily):
        one = one.component_distribution
    if isinstance(one, td.Bernoulli):
        return 2
    if isinstance(one, d.DiscretizedLogistic):
        return one.levels
    if isinstance(one, d.CategoricalLevels):
        return one.logits.shape[-1]
    raise VariedError(
        "This run has a density, and bits need a probability for each value: train pictures with "
        "`--likelihood discretized-logistic`, or data of 0 and 1 with `--likelihood bernoulli`."
    )


def index_of(x: Tensor, levels: int) -> Tensor:
    """Return which value each element has, int32 with the shape of ``x``.

    Raises:
        VariedError: If an element has none of them.
    """
    index = (x.double() * (levels - 1)).round()
    if not torch.equal(value_of(index, levels).to(x.dtype), x) or index.min() < 0 or x.max() > 1:
        raise VariedError(
            f"These data have values that are none of the {levels} levels of the run; train with "
            "`--likelihood discretized-logistic`, which has 256."
        )
    return index.to(torch.int32)


def value_of(index: Tensor, levels: int) -> Tensor:
    """Return the values, float64 in [0, 1] with the shape of ``index``."""
    return index.double() / (levels - 1)


def chances(law: Distribution, levels: int) -> Tensor:
    """Return the probability of each value, with shape (*, levels), * that of all elements."""
    one = base_distribution(law)
    if isinstance(one, td.Bernoulli):
        return torch.stack([torch.sigmoid(-one.logits), torch.sigmoid(one.logits)], -1)
    if isinstance(one, d.CategoricalLevels):
        return one.logits.exp()
    if isinstance(one, td.MixtureSameFamily):
        weights = one.mixture_distribution.probs.unsqueeze(-1)
        return _between((weights * _below(one.component_distribution)).sum(-2))
    return _between(_below(one))


def _below(one: Any) -> Tensor:
    """Return the chance to lie below the upper edge of each level but the last, of a logistic."""
    edges = (torch.arange(one.levels - 1, dtype=torch.float64) + 0.5) / (one.levels - 1)
    inverse = (-one.log_scale).exp().unsqueeze(-1)
    return torch.sigmoid((edges - one.loc.unsqueeze(-1)) * inverse)


def _between(below: Tensor) -> Tensor:
    zero = torch.zeros_like(below[..., :1])
    return torch.diff(below, dim=-1, prepend=zero, append=zero + 1).clamp_min(0)
