"""The two terms of the evidence lower bound, and the KL with a part of it free."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from varied.scheduled_value import ScheduledValue
from varied.schedules import Number
from varied.terms.base import requires
from varied.trace import Level, Trace

__all__ = ["FreeBits", "FreeBitsPerLevel", "kl", "reconstruction"]


@requires()
def reconstruction(trace: Trace) -> Tensor:
    r"""The reconstruction term of each datum.

    .. math:: -\mathbb E_{q(z \mid x)} \log p(x \mid z)

    Returns:
        Nats, with shape (B).
    """
    return -trace.expect(trace.log_px)


@requires("density")
def kl(trace: Trace) -> Tensor:
    r"""The KL term of each datum, over all levels.

    .. math:: KL(q(z \mid x), p(z))

    Returns:
        Nats, with shape (B).
    """
    return trace.expect(torch.stack([level.kl for level in trace.levels]).sum(0))


@requires("density", "marginals")
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
        self.nats = ScheduledValue(nats)

    def forward(self, trace: Trace) -> Tensor:
        """Return nats, with shape (B)."""
        free = [_above(_rows(trace, level), self.nats.value) for level in trace.levels]
        return torch.stack(free).sum(0)


@requires("density")
class FreeBitsPerLevel(nn.Module):
    r"""The KL, with so many nats of each level of latents free.

    .. math:: \sum_l \max(\lambda, \overline{KL}_l)

    where the mean is over the batch. A level below :math:`\lambda` gets no gradient, so the upper
    rungs of a ladder are not emptied before they are of use. The KL of a level may be taken from
    draws, so this goes with any posterior.

    References:
        Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016),
        https://arxiv.org/abs/1606.04934

    Arguments:
        nats: The free nats of each level, a number or a schedule.
    """

    def __init__(self, nats: Number) -> None:
        super().__init__()
        self.nats = ScheduledValue(nats)

    def forward(self, trace: Trace) -> Tensor:
        """Return nats, with shape (B)."""
        kl = torch.stack([trace.expect(level.kl) for level in trace.levels], 1)
        return _above(kl, self.nats.value)


def _above(kl: Tensor, free: Tensor) -> Tensor:
    """Return the sum of what each column of (B, D) pays: itself, or the free nats."""
    paid = kl.mean(0, keepdim=True) > free
    return torch.where(paid, kl, free).sum(1)


def _rows(trace: Trace, level: Level) -> Tensor:
    """Return the KL of each dimension with shape (B, D), whether q has its own for each draw."""
    event = len(level.q.event_shape)
    kl = level.kl_per_element.flatten(-event)
    if kl.dim() == 2:
        return kl
    return torch.stack([trace.expect(column) for column in kl.unbind(-1)], -1)
