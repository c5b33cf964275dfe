"""The losses of quantizers."""

from __future__ import annotations

import torch
from torch import Tensor

from varied.distributions import base_distribution
from varied.distributions.codebook import CodebookPoint
from varied.terms.base import requires
from varied.trace import Trace


@requires("codes")
def quantization(trace: Trace) -> Tensor:
    """Return the loss of the quantizers, summed over all levels.

    Returns:
        The weighted squared distances and, for LFQ, entropies, summed over positions and
        dimensions, with shape (B).
    """
    pairs = [(base_distribution(level.q), level.z.shape[:2]) for level in trace.levels]
    costs = [code.cost.expand(shape) for code, shape in pairs if isinstance(code, CodebookPoint)]
    return trace.expect(torch.stack(costs).sum(0))
