"""What a codebook costs."""

from __future__ import annotations

import torch
from torch import Tensor

from varied.distributions import base_distribution
from varied.distributions.codebook import CodebookPoint
from varied.terms.base import requires
from varied.trace import Trace

__all__ = ["quantization"]


@requires("codes")
def quantization(trace: Trace) -> Tensor:
    """The loss of the quantizers themselves for each datum, over all levels.

    Returns:
        Shape (B): squared distances, and for LFQ entropies, summed over places and dimensions, with
        the weights that the quantizers give them.
    """
    pairs = [(base_distribution(level.q), level.z.shape[:2]) for level in trace.levels]
    costs = [code.cost.expand(lead) for code, lead in pairs if isinstance(code, CodebookPoint)]
    return trace.expect(torch.stack(costs).sum(0))
