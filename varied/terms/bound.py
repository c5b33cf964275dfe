"""The two terms of the evidence lower bound, and the KL with a part of it free."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from varied.schedules import Number
from varied.terms.base import Dial, reads
from varied.trace import Trace

__all__ = ["FreeBits", "distortion", "rate"]


@reads()
def distortion(trace: Trace) -> Tensor:
    r"""The reconstruction term of each datum.

    .. math:: -\mathbb E_{q(z \mid x)} \log p(x \mid z)

    Returns:
        Nats, with shape (B).
    """
    return -trace.expect(trace.log_px)


@reads("density")
def rate(trace: Trace) -> Tensor:
    r"""The KL term of each datum, over all levels.

    .. math:: KL(q(z \mid x), p(z))

    Returns:
        Nats, with shape (B).
    """
    return trace.expect(torch.stack([level.kl for level in trace.levels]).sum(0))


@reads("density", "marginals")
class FreeBits(nn.Module):
    r"""The KL, with so many nats of each dimension free.

    .. math:: \sum_j \max(\lambda, \overline{KL}_j)

    where the mean is over the batch, as in the paper; code in the wild often takes the maximum for
    each datum. A dimension below :math:`\lambda` gets no gradient, so it is not pushed to zero.

    References:
        Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016),
        https://arxiv.org/abs/1606.04934

    Arguments:
        nats: The free nats of each dimension, a number or a schedule.
    """

    def __init__(self, nats: Number) -> None:
        super().__init__()
        self.nats = Dial(nats)

    def forward(self, trace: Trace) -> Tensor:
        """Return nats, with shape (B)."""
        return torch.stack([self._level(level.kl_each) for level in trace.levels]).sum(0)

    def _level(self, kl: Tensor) -> Tensor:
        kl = kl.flatten(1)
        paid = kl.mean(0, keepdim=True) > self.nats.value
        return torch.where(paid, kl, self.nats.value).sum(1)
