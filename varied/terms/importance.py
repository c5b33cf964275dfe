r"""Importance-weighted bounds, and which part of a model learns from which of them.

With :math:`w_k = p(x, z_k) / q(z_k \mid x)`, more draws make a bound tighter, which helps the
decoder, and starve the encoder of signal. So some objectives teach the two by different bounds.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.scheduled_value import ScheduledValue
from varied.schedules import Number
from varied.terms.base import requires
from varied.terms.elbo import kl, reconstruction
from varied.trace import Level, Trace

__all__ = ["CIWAE", "PIWAE", "DReG", "MultiplyIWAE", "SubsampledIWAE", "iwae"]

#: What a draw counts at least for the decoder: next to nothing, and the encoder's weight can still
#: be written as a multiple of it in float32.
LEAST = 1e-30


@requires("density")
def iwae(trace: Trace) -> Tensor:
    r"""The negative importance-weighted bound of each datum.

    .. math:: -\log \frac1K \sum_k w_k

    References:
        Importance Weighted Autoencoders (Burda et al., 2015), https://arxiv.org/abs/1509.00519

    Warning:
        Much code in the wild averages losses by a softmax of losses, which weighs the worst draw
        most, or puts the closed KL in place of that of the draw. Neither is a bound.

    Returns:
        Nats, with shape (B).
    """
    return _bound(_log_w(trace), 1)


@requires("density")
class MultiplyIWAE:
    r"""The mean of the negative importance-weighted bounds of groups of draws.

    .. math:: -\frac1M \sum_m \log \frac1K \sum_k w_{mk}

    References:
        Tighter Variational Bounds are Not Necessarily Better (Rainforth et al., 2018),
        https://arxiv.org/abs/1802.04537

    Arguments:
        groups: The number M of groups; the draws of a trace are shared out among them.
    """

    def __init__(self, groups: int) -> None:
        self.groups = groups

    def __call__(self, trace: Trace) -> Tensor:
        """Return nats, with shape (B)."""
        return _bound(_log_w(trace), self.groups)


@requires("density")
class CIWAE(nn.Module):
    r"""A mixture of the evidence lower bound and the importance-weighted one.

    .. math:: -\beta \, \mathrm{ELBO} - (1 - \beta) \log \frac1K \sum_k w_k

    References:
        Tighter Variational Bounds are Not Necessarily Better (Rainforth et al., 2018),
        https://arxiv.org/abs/1802.04537

    Arguments:
        mix: The share :math:`\beta` of the evidence lower bound, a number or a schedule.
    """

    def __init__(self, mix: Number) -> None:
        super().__init__()
        self.mix = ScheduledValue(mix)

    def forward(self, trace: Trace) -> Tensor:
        """Return nats, with shape (B)."""
        mix = self.mix.value
        return mix * (reconstruction(trace) + kl(trace)) + (1 - mix) * iwae(trace)


@requires("density")
class SubsampledIWAE:
    r"""The negative importance-weighted bound, learnt from few of its draws.

    The gradient of the bound is a mean of those of the draws by their normalized weights
    :math:`\tilde w`, so draws that are picked with these chances give it without bias:

    .. math:: \nabla \log \frac1K \sum_k w_k = \sum_k \tilde w_k \nabla \log w_k
        = \mathbb E_{k_m \sim \tilde w} \Big[ \frac1M \sum_m \nabla \log w_{k_m} \Big]

    All K draws are decoded, and the gradient runs through M of them alone. They are picked at even
    steps of the cumulated weights (systematic resampling), so that each comes up as often as its
    weight says, to within one: where one draw has nearly all the weight, nothing is lost.

    References:
        Importance Weighted Autoencoders (Burda et al., 2015), section 3,
        https://arxiv.org/abs/1509.00519

    Arguments:
        kept: The number M of draws to learn from.
    """

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self._decode: Any = None

    def attach(self, model: Any) -> None:
        """Take the decoder, through which the draws that are kept go once more."""
        self._decode = model.decode

    def __call__(self, trace: Trace) -> Tensor:
        """Return nats, with shape (B)."""
        log_w = _log_w(trace).detach()
        value = _bound(log_w, 1)
        if not torch.is_grad_enabled():
            return value
        draws, shares = self._picked(log_w.softmax(0))
        z, log_ratio = self._seen(_level(trace), log_w)
        log_px = Trace(trace.x, self._decode(z[draws], trace.c), mask=trace.mask).log_px
        learnt: Tensor = (shares * (log_px + log_ratio[draws])).sum(0)
        return value - learnt + learnt.detach()

    def _picked(self, weights: Tensor) -> tuple[Any, Any]:
        """Return an index of the draws to learn from, (M, B), and how much each of them counts."""
        below = weights.cumsum(0)
        start = torch.rand(weights.shape[1], dtype=weights.dtype, device=weights.device)
        steps = torch.arange(self.kept, dtype=weights.dtype, device=weights.device)
        places = (start + steps[:, None]) / self.kept
        kept = (below[:, None] < places).sum(0).clamp_max(len(weights) - 1)
        return (kept, torch.arange(weights.shape[1], device=weights.device)), 1 / self.kept

    def _seen(self, level: Level, log_w: Tensor) -> tuple[Tensor, Tensor]:
        """Return all draws, (K, B, *latent), and log p(z) - log q(z), as the gradient sees them.

        Arguments:
            level: The draws and their densities.
            log_w: The log-weight of each draw, in nats, (K, B), without a gradient.
        """
        return level.z, level.log_ratio


class DReG(SubsampledIWAE):
    r"""The negative importance-weighted bound, with a steadier gradient of the encoder.

    With :math:`\tilde w` the normalized weights, the decoder and the prior get the gradient of the
    bound, and the encoder, without bias, that of the bound as well, as

    .. math::
        \nabla_\phi = \sum_k \tilde w_k^2 \, \frac{\partial \log w_k}{\partial z_k}
        \frac{\partial z_k}{\partial \phi}

    Its ratio of signal to noise grows with the number of draws, where that of the plain estimator
    falls. Where draws are picked by their weights, one of the two weights is the picking.

    References:
        Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives (Tucker et al., 2018),
        https://arxiv.org/abs/1810.04152

    Arguments:
        kept: The number of draws to learn from; 0 takes all.
    """

    def __init__(self, kept: int = 0) -> None:
        super().__init__(kept)

    def _picked(self, weights: Tensor) -> tuple[Any, Any]:
        return super()._picked(weights) if self.kept else (..., weights)

    def _seen(self, level: Level, log_w: Tensor) -> tuple[Tensor, Tensor]:
        weights = log_w.softmax(0)
        z: Tensor = _Weighed.apply(level.z, weights)  # type: ignore[no-untyped-call]
        # What is left of the difference is how log q changes with z alone.
        log_q = level.q.log_prob(level.z) - level.q.log_prob(level.z.detach())
        return z, level.p.log_prob(z) - weights * log_q


class PIWAE(SubsampledIWAE):
    r"""The decoder learns by the bound of all draws, the encoder by the mean over groups of them.

    The value is that of the decoder's, `iwae`; the encoder's gradient is that of `MIWAE`:

    .. math::
        \nabla_\theta = \sum_k a_k \nabla_\theta \log p(x, z_k), \qquad
        \nabla_\phi = \sum_k b_k \nabla_\phi \log w_k

    with a the weights among all draws, and b those within each group over the number of groups.

    References:
        Tighter Variational Bounds are Not Necessarily Better (Rainforth et al., 2018),
        https://arxiv.org/abs/1802.04537

    Arguments:
        groups: The number M of groups; the draws of a trace are shared out among them.
    """

    def __init__(self, groups: int) -> None:
        super().__init__(0)
        self.groups = groups

    def _picked(self, weights: Tensor) -> tuple[Any, Any]:
        return ..., weights.clamp_min(LEAST)

    def _seen(self, level: Level, log_w: Tensor) -> tuple[Tensor, Tensor]:
        within = _grouped(log_w, self.groups).softmax(1).reshape(log_w.shape) / self.groups
        # How many times the decoder's weight, which the sum will bring in, the encoder's is.
        times = within / log_w.softmax(0).clamp_min(LEAST)
        z: Tensor = _Weighed.apply(level.z, times)  # type: ignore[no-untyped-call]
        log_q = level.q.log_prob(level.z)
        return z, level.p.log_prob(z) - times * (log_q - log_q.detach())


class _Weighed(torch.autograd.Function):
    """Draws (K, B, *latent) as they are; the gradient passes times a weight of each, (K, B)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(weights)
        return z.view_as(z)  # of which a compiler knows that it was decoded already

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        return slope * weights.reshape(*weights.shape, *[1] * (slope.dim() - 2)), None


def _log_w(trace: Trace) -> Tensor:
    if trace.weights is not None:
        raise VariedError(
            "Importance-weighted bounds count each draw alike, and the draws of this model have "
            "weights; use objective='elbo'."
        )
    return trace.log_weight


def _level(trace: Trace) -> Level:
    if len(trace.levels) != 1:
        raise VariedError(
            "This way to learn from draws is for a model with one level of latents; use "
            "objective='iwae' or objective='multiply-iwae' here, as they are."
        )
    return trace.levels[0]


def _grouped(log_w: Tensor, groups: int) -> Tensor:
    """Return (K, B) as (groups, K / groups, B)."""
    if len(log_w) % groups:
        raise VariedError(
            f"{len(log_w)} draws are no {groups} equal groups; pass samples={groups} times a "
            f"whole number to the model."
        )
    return log_w.reshape(groups, -1, *log_w.shape[1:])


def _bound(log_w: Tensor, groups: int) -> Tensor:
    parts = _grouped(log_w, groups)
    return (math.log(parts.shape[1]) - parts.logsumexp(1)).mean(0)
