"""Free bits: a KL with a minimum per latent dimension or level."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.scheduled_value import ScheduledValue
from varied.schedules import Number
from varied.terms.base import Term
from varied.trace import Level, Trace


class FreeBits(nn.Module, Term):
    r"""The KL with a minimum per latent dimension, or per level of latent variables.

    .. math:: \sum_j \max(\lambda, \overline{KL}_j)

    where the mean is over the batch, as in the paper; some implementations take the maximum per
    example. A dimension or level whose mean KL is below :math:`\lambda` receives no gradient from
    this term, so it does not collapse. A minimum per dimension requires a posterior with
    independent dimensions.

    References:
        Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016),
        https://arxiv.org/abs/1606.04934

    Arguments:
        nats: The minimum, in nats: a number or a schedule.
        per: Whether the minimum applies per "dimension" or per "level".
    """

    def __init__(self, nats: Number, per: str = "dimension") -> None:
        super().__init__()
        if per not in ("dimension", "level"):
            raise VariedError(f"per='{per}' must be 'dimension' or 'level'.")
        self.nats, self.per = ScheduledValue(nats), per
        self.requires = frozenset({"density", "marginals"} if per == "dimension" else {"density"})

    def forward(self, trace: Trace) -> Tensor:
        """Return the value of the term for each example, in nats, with shape (B)."""
        if self.per == "level":
            return self._clamp(torch.stack([trace.expect(level.kl) for level in trace.levels], 1))
        per_level = [self._clamp(_kl_per_dimension(trace, level)) for level in trace.levels]
        return torch.stack(per_level).sum(0)

    def _clamp(self, kl: Tensor) -> Tensor:
        """Sum the KL (B, D) over columns; a column whose mean is too low counts as the minimum."""
        is_above = kl.mean(0, keepdim=True) > self.nats.value
        return torch.where(is_above, kl, self.nats.value).sum(1)


def _kl_per_dimension(trace: Trace, level: Level) -> Tensor:
    """Return the KL divergence of each dimension, averaged over draws, with shape (B, D)."""
    kl = level.kl_per_element.flatten(-len(level.q.event_shape))
    if kl.dim() == 2:
        return kl
    return torch.stack([trace.expect(column) for column in kl.unbind(-1)], -1)
