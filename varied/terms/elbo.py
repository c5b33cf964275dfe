"""The two terms of the evidence lower bound: reconstruction and KL."""

from __future__ import annotations

import torch
from torch import Tensor

from varied.terms.base import requires
from varied.trace import Trace


@requires()
def reconstruction(trace: Trace) -> Tensor:
    r"""Return the negative expected log-likelihood of each example.

    .. math:: -\mathbb E_{q(z \mid x)} \log p(x \mid z)

    Returns:
        The value of the term for each example, in nats, with shape (B).
    """
    return -trace.expect(trace.log_px)


@requires("density")
def kl(trace: Trace) -> Tensor:
    r"""Return the KL divergence of each example, summed over all levels.

    .. math:: KL(q(z \mid x) \,\|\, p(z))

    Returns:
        The value of the term for each example, in nats, with shape (B).
    """
    return trace.expect(torch.stack([level.kl for level in trace.levels]).sum(0))
