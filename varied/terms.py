"""What an objective is made of: one number for each datum, in nats, read off a trace.

A term is a function of a trace that owns nothing. Sums run over the dimensions of the data, never
means; the mean over the batch is taken once, by the objective. What a term ``reads`` ("density",
"marginals") is compared with what the heads give, before anything is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from varied.schedules import Number, at
from varied.trace import Trace

__all__ = ["Dial", "FreeBits", "Term", "distortion", "rate", "reads"]

F = TypeVar("F", bound=Callable[..., object])


class Term(Protocol):
    """A function from a trace to one number for each datum, with shape (B), in nats."""

    def __call__(self, trace: Trace) -> Tensor:
        """Return the term of each datum."""
        ...


def reads(*what: str) -> Callable[[F], F]:
    """Mark what a term reads of the distributions: "density" or "marginals"."""

    def mark(term: F) -> F:
        term.reads = frozenset(what)  # type: ignore[attr-defined]
        return term

    return mark


class Dial(nn.Module):
    """A number that moves with the step, kept in a buffer so that a compiled graph reads it anew.

    Arguments:
        value: A number or a schedule.
    """

    value: Tensor

    def __init__(self, value: Number) -> None:
        super().__init__()
        self.schedule = value
        self.register_buffer("value", torch.tensor(at(value, 0, 0.0)), persistent=False)

    def turn(self, step: int, progress: float = 1.0) -> None:
        """Set the number for a step, or a share of the run that is done."""
        if not isinstance(self.schedule, float | int):
            self.value.fill_(at(self.schedule, step, progress))


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
