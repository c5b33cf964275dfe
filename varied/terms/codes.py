"""What a codebook costs."""

from __future__ import annotations

import torch
from torch import Tensor

from varied.distributions import each
from varied.distributions.code import Code
from varied.terms.base import reads
from varied.trace import Trace

__all__ = ["quantization"]


@reads("codes")
def quantization(trace: Trace) -> Tensor:
    """The loss of the quantizers themselves for each datum, over all levels.

    Returns:
        Shape (B): squared distances, and for LFQ entropies, summed over places and dimensions, with
        the weights that the quantizers give them.
    """
    pairs = [(each(level.q), level.z.shape[:2]) for level in trace.levels]
    costs = [code.cost.expand(lead) for code, lead in pairs if isinstance(code, Code)]
    return trace.expect(torch.stack(costs).sum(0))
