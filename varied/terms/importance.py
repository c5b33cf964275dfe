r"""Importance-weighted bounds, and which part of a model learns from which of them.

With :math:`w_k = p(x, z_k) / q(z_k \mid x)`, more draws make a bound tighter, which helps the
decoder, and starve the encoder of signal. So some objectives teach the two by different bounds.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from varied.dial import Dial
from varied.errors import VariedError
from varied.schedules import Number
from varied.terms.base import eager, reads, slope
from varied.terms.bound import distortion, rate
from varied.trace import Level, Trace

__all__ = ["CIWAE", "MIWAE", "PIWAE", "Resampled", "dreg", "iwae"]


@reads("density")
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


@reads("density")
class MIWAE:
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


@reads("density")
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
        self.mix = Dial(mix)

    def forward(self, trace: Trace) -> Tensor:
        """Return nats, with shape (B)."""
        mix = self.mix.value
        return mix * (distortion(trace) + rate(trace)) + (1 - mix) * iwae(trace)


@eager
@reads("density")
def dreg(trace: Trace) -> Tensor:
    r"""The negative importance-weighted bound, with a steadier gradient of the encoder.

    With :math:`\tilde w` the normalised weights, the decoder and the prior get the gradient of the
    bound, and the encoder, without bias, that of the bound as well, as

    .. math::
        \nabla_\phi = \sum_k \tilde w_k^2 \, \frac{\partial \log w_k}{\partial z_k}
        \frac{\partial z_k}{\partial \phi}

    Its ratio of signal to noise grows with the number of draws, where that of the plain estimator
    falls. It runs backward through the decoder twice.

    References:
        Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives (Tucker et al., 2018),
        https://arxiv.org/abs/1810.04152

    Returns:
        Nats, with shape (B).
    """
    weights = _log_w(trace).detach().softmax(0)
    return _taught(trace, iwae(trace), weights, weights.square(), score=False)


@eager
@reads("density")
class PIWAE:
    r"""The decoder learns by the bound of all draws, the encoder by the mean over groups of them.

    The value is that of the decoder's, `iwae`; the encoder's gradient is that of `MIWAE`.

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
        log_w = _log_w(trace).detach()
        within = _grouped(log_w, self.groups).softmax(1).reshape(log_w.shape) / self.groups
        return _taught(trace, iwae(trace), log_w.softmax(0), within, score=True)


@reads("density")
class Resampled:
    r"""The negative importance-weighted bound, learnt from few of its draws.

    The gradient of the bound is a mean of those of the draws by their normalised weights
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
        log_w = _log_w(trace)
        value = _bound(log_w.detach(), 1)
        if not torch.is_grad_enabled():
            return value
        level = _level(trace)
        rows, kept = torch.arange(log_w.shape[1], device=log_w.device), self._picked(log_w.detach())
        px = self._decode(level.z[kept, rows], trace.c)
        log_px = Trace(trace.x, px, mask=trace.mask).log_px
        learnt = (log_px + level.log_ratio[kept, rows]).mean(0)
        return value - learnt + learnt.detach()

    def _picked(self, log_w: Tensor) -> Tensor:
        """Return which draws of each datum are kept, with shape (M, B)."""
        below = log_w.softmax(0).cumsum(0)
        start = torch.rand(log_w.shape[1], dtype=log_w.dtype, device=log_w.device)
        steps = torch.arange(self.kept, dtype=log_w.dtype, device=log_w.device)
        places = (start + steps[:, None]) / self.kept
        return (below[:, None] < places).sum(0).clamp_max(len(log_w) - 1)


def _log_w(trace: Trace) -> Tensor:
    if trace.weights is not None:
        raise VariedError(
            "Importance-weighted bounds count each draw alike, and the draws of this model have "
            "weights; use objective='elbo'."
        )
    return trace.log_w


def _level(trace: Trace) -> Level:
    if len(trace.levels) != 1:
        raise VariedError(
            "This way to learn from draws is for a model with one level of latents; use "
            "objective='iwae' or objective='miwae' here, as they are."
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


def _taught(trace: Trace, value: Tensor, whole: Tensor, path: Tensor, *, score: bool) -> Tensor:
    r"""Return a value whose gradient weighs draws in one way for the decoder, in one for the rest.

    Of :math:`\log w_k = \log p(x, z_k) - \log q(z_k)` the parameters of the decoder and the prior
    get the weights ``whole``; what comes through z gets ``path``; and what comes through the
    parameters of q with z held gets ``path`` where ``score``, else nothing. All is exact, whatever
    the distributions are, and needs the trace alone: the loss is

    .. math:: -\sum_k a_k \log p(x, z_k) - \sum_k g_k \cdot z_k, \qquad
        g_k = \partial_{z_k} \sum_k [(b_k - a_k) \log p(x, z_k) - b_k \log q(z_k)]

    with a and b the weights, and g without a gradient of its own: it takes from what comes
    through z what is too much, and adds what is too little.
    """
    if not torch.is_grad_enabled():
        return value.detach()
    level = _level(trace)
    parts = (trace.log_px, level.p.log_prob(level.z))
    surrogate = (whole * (parts[0] + parts[1])).sum(0)
    if level.z.requires_grad:
        # One by one: a part that cannot be seen must be told of, and not be left out of a sum.
        found = sum(slope(((path - whole) * part).sum(), level.z) for part in parts)
        if not score:
            found = found - _of_density(trace, path)
        surrogate = surrogate + (found * level.z).flatten(2).sum((0, 2))
    if score:
        surrogate = surrogate - (path * level.q.log_prob(level.z)).sum(0)
    return value.detach() - surrogate + surrogate.detach()


def _of_density(trace: Trace, path: Tensor) -> Tensor:
    """Return how log q changes with z alone, times the weights of the draws; no gradient."""
    # A leaf of its own: a flow that remembers how it drew z would not look at z again.
    level = trace.levels[0]
    z = level.z.detach().requires_grad_()
    return slope((path * level.q.log_prob(z)).sum(), z)
