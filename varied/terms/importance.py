r"""Importance-weighted bounds, and separate gradients for the encoder and the decoder.

With :math:`w_k = p(x, z_k) / q(z_k \mid x)`, more draws result in a tighter bound, which helps the
decoder, but reduce the signal-to-noise ratio of the encoder's gradient. Some terms therefore use
different bounds or estimators for the encoder and the decoder.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.models import LatentModel
from varied.scheduled_value import ScheduledValue
from varied.schedules import Number
from varied.terms.base import Term, requires
from varied.terms.elbo import kl, reconstruction
from varied.trace import Level, Trace

#: The minimum weight of a draw for the decoder, which is negligible, but large enough to divide the
#: encoder's weight by it in float32.
MIN_WEIGHT = 1e-30

#: An index into the draws: an ellipsis for all, or indices of draws and examples.
Index = EllipsisType | tuple[Tensor, Tensor]


@requires("density")
def iwae(trace: Trace) -> Tensor:
    r"""Return the negative importance-weighted bound for each example.

    .. math:: -\log \frac1K \sum_k w_k

    References:
        Importance Weighted Autoencoders (Burda et al., 2015), https://arxiv.org/abs/1509.00519

    Warning:
        Many implementations weight the losses of the draws by a softmax of these losses, so that
        the worst draw has the largest weight, or use the closed-form KL instead of the log-ratio of
        each draw. In both cases, the result is not a bound.

    Returns:
        The value of the term for each example, in nats, with shape (B).
    """
    return _negative_bound(_log_weight(trace))


class MultiplyIWAE(Term):
    r"""The mean of the negative importance-weighted bounds of groups of draws.

    .. math:: -\frac1M \sum_m \log \frac1K \sum_k w_{mk}

    References:
        Tighter Variational Bounds are Not Necessarily Better (Rainforth et al., 2018),
        https://arxiv.org/abs/1802.04537

    Arguments:
        groups: The number M of groups into which the draws of a trace are divided.
    """

    requires = frozenset({"density"})

    def __init__(self, groups: int) -> None:
        self.groups = groups

    def __call__(self, trace: Trace) -> Tensor:
        """Return the value of the term for each example, in nats, with shape (B)."""
        return _negative_bound(_log_weight(trace), self.groups)


class CIWAE(nn.Module, Term):
    r"""A convex combination of the negative ELBO and the negative importance-weighted bound.

    .. math:: -\beta \, \mathrm{ELBO} - (1 - \beta) \log \frac1K \sum_k w_k

    References:
        Tighter Variational Bounds are Not Necessarily Better (Rainforth et al., 2018),
        https://arxiv.org/abs/1802.04537

    Arguments:
        elbo_share: The weight :math:`\beta` of the ELBO, a number or a schedule.
    """

    requires = frozenset({"density"})

    def __init__(self, elbo_share: Number) -> None:
        super().__init__()
        self.elbo_share = ScheduledValue(elbo_share)

    def forward(self, trace: Trace) -> Tensor:
        """Return the value of the term for each example, in nats, with shape (B)."""
        share = self.elbo_share.value
        return share * (reconstruction(trace) + kl(trace)) + (1 - share) * iwae(trace)


class DrawWeightedBound(Term):
    """Base class for importance-weighted bounds whose gradient is a weighted sum over draws.

    The term has the same value as `iwae`.
    """

    requires = frozenset({"density"})

    def attach(self, model: LatentModel) -> None:
        """Store the decoder, which decodes the selected draws a second time."""
        self._decode = model.decode

    def __call__(self, trace: Trace) -> Tensor:
        """Return the value of the term for each example, in nats, with shape (B)."""
        log_weight = _log_weight(trace).detach()
        value = _negative_bound(log_weight)
        if not torch.is_grad_enabled():
            return value
        draws, shares = self._select(log_weight.softmax(0))
        z, log_ratio = self._latents(_single_level(trace), log_weight)
        log_px = Trace(trace.x, self._decode(z[draws], trace.c), mask=trace.mask).log_px
        surrogate: Tensor = (shares * (log_px + log_ratio[draws])).sum(0)
        return value - surrogate + surrogate.detach()

    @abstractmethod
    def _select(self, weights: Tensor) -> tuple[Index, Tensor | float]:
        """Return the indices of the draws that receive a gradient, and their weights."""

    @abstractmethod
    def _latents(self, level: Level, log_weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the draws, with shape (K, B, *latent), and log p(z) - log q(z), with gradients.

        Arguments:
            level: The draws and their densities.
            log_weight: The detached log-weights, in nats, with shape (K, B).
        """


class SubsampledIWAE(DrawWeightedBound):
    r"""The negative importance-weighted bound, with a gradient estimated from a subset of draws.

    The gradient of the bound is a mean over draws, weighted by the normalized weights
    :math:`\tilde w`. Sampling draws with these probabilities therefore gives an unbiased estimate:

    .. math:: \nabla \log \frac1K \sum_k w_k = \sum_k \tilde w_k \nabla \log w_k
        = \mathbb E_{k_m \sim \tilde w} \Big[ \frac1M \sum_m \nabla \log w_{k_m} \Big]

    All K draws are decoded, but gradients are backpropagated through only M of them. With
    systematic resampling, the number of times that a draw is selected is proportional to its
    weight, rounded up or down, so no information is lost if a single draw has nearly all the
    weight.

    References:
        Importance Weighted Autoencoders (Burda et al., 2015), section 3,
        https://arxiv.org/abs/1509.00519

    Arguments:
        n_kept: The number M of draws with a gradient.
    """

    def __init__(self, n_kept: int) -> None:
        self.n_kept = n_kept

    def _select(self, weights: Tensor) -> tuple[Index, float]:
        return _resample(weights, self.n_kept), 1 / self.n_kept

    def _latents(self, level: Level, log_weight: Tensor) -> tuple[Tensor, Tensor]:
        return level.z, level.log_ratio


class DReG(DrawWeightedBound):
    r"""The negative importance-weighted bound, with doubly reparameterized gradients.

    The decoder and the prior receive the gradient of the bound. The encoder receives an unbiased
    estimate of this gradient with less variance, where :math:`\tilde w` are the normalized weights:

    .. math::
        \nabla_\phi = \sum_k \tilde w_k^2 \, \frac{\partial \log w_k}{\partial z_k}
        \frac{\partial z_k}{\partial \phi}

    The signal-to-noise ratio of this estimate increases with the number of draws, whereas that of
    the standard estimator decreases. If draws are subsampled according to their weights, the
    sampling replaces one of the two factors :math:`\tilde w_k`.

    References:
        Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives (Tucker et al., 2018),
        https://arxiv.org/abs/1810.04152

    Arguments:
        n_kept: The number of draws with a gradient, as in `SubsampledIWAE`; 0 keeps all draws.
    """

    def __init__(self, n_kept: int = 0) -> None:
        self.n_kept = n_kept

    def _select(self, weights: Tensor) -> tuple[Index, Tensor | float]:
        if self.n_kept:
            return _resample(weights, self.n_kept), 1 / self.n_kept
        return ..., weights

    def _latents(self, level: Level, log_weight: Tensor) -> tuple[Tensor, Tensor]:
        weights = log_weight.softmax(0)
        z: Tensor = _ScaleGradient.apply(level.z, weights)  # type: ignore[no-untyped-call]
        # The difference is 0; its gradient is that of log q with respect to the parameters of q.
        log_q = level.q.log_prob(level.z) - level.q.log_prob(level.z.detach())
        return z, level.p.log_prob(z) - weights * log_q


class PIWAE(DrawWeightedBound):
    r"""The bound over all draws for the decoder, and the mean bound over groups for the encoder.

    The value is the decoder's bound, `iwae`, and the encoder's gradient is that of `MultiplyIWAE`:

    .. math::
        \nabla_\theta = \sum_k a_k \nabla_\theta \log p(x, z_k), \qquad
        \nabla_\phi = \sum_k b_k \nabla_\phi \log w_k

    where a are the weights normalized over all draws, and b are the weights normalized over each
    group and divided by the number of groups.

    References:
        Tighter Variational Bounds are Not Necessarily Better (Rainforth et al., 2018),
        https://arxiv.org/abs/1802.04537

    Arguments:
        groups: The number M of groups into which the draws of a trace are divided.
    """

    def __init__(self, groups: int) -> None:
        self.groups = groups

    def _select(self, weights: Tensor) -> tuple[Index, Tensor]:
        return ..., weights.clamp_min(MIN_WEIGHT)

    def _latents(self, level: Level, log_weight: Tensor) -> tuple[Tensor, Tensor]:
        grouped = _in_groups(log_weight, self.groups).softmax(1).reshape(log_weight.shape)
        # The sum over draws applies the decoder's weights; ratio converts them to the encoder's.
        ratio = grouped / self.groups / log_weight.softmax(0).clamp_min(MIN_WEIGHT)
        z: Tensor = _ScaleGradient.apply(level.z, ratio)  # type: ignore[no-untyped-call]
        log_q = level.q.log_prob(level.z)
        return z, level.p.log_prob(z) - ratio * (log_q - log_q.detach())


class _ScaleGradient(torch.autograd.Function):
    """The identity for draws (K, B, *latent); their gradients are multiplied by weights (K, B)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(weights)
        return z.view_as(z)  # an alias, so that a compiler can reuse the decoder's output for z

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        return gradient * weights.reshape(*weights.shape, *[1] * (gradient.dim() - 2)), None


def _log_weight(trace: Trace) -> Tensor:
    if trace.weights is not None:
        raise VariedError(
            "Importance-weighted bounds require equally weighted draws, but the draws of this "
            "model have different weights; use objective='m2' or objective='elbo'."
        )
    return trace.log_weight


def _single_level(trace: Trace) -> Level:
    if len(trace.levels) != 1:
        raise VariedError(
            "This gradient estimator requires a model with a single level of latent variables; use "
            "objective='iwae' or objective='multiply-iwae' with their default settings."
        )
    return trace.levels[0]


def _resample(weights: Tensor, n: int) -> Index:
    """Return the indices of n draws per example, by systematic resampling with weights (K, B)."""
    cumulative = weights.cumsum(0)
    rows = weights.shape[1]
    offset = torch.rand(rows, dtype=weights.dtype, device=weights.device)
    steps = torch.arange(n, dtype=weights.dtype, device=weights.device)
    points = (offset + steps[:, None]) / n
    draws = (cumulative[:, None] < points).sum(0).clamp_max(len(weights) - 1)
    return draws, torch.arange(rows, device=weights.device)


def _in_groups(log_weight: Tensor, groups: int) -> Tensor:
    """Reshape (K, B) to (groups, K / groups, B)."""
    if len(log_weight) % groups:
        raise VariedError(
            f"{len(log_weight)} draws cannot be divided into {groups} groups of equal size; set "
            f"the number of samples to a multiple of {groups}."
        )
    return log_weight.reshape(groups, -1, *log_weight.shape[1:])


def _negative_bound(log_weight: Tensor, groups: int = 1) -> Tensor:
    grouped = _in_groups(log_weight, groups)
    return (math.log(grouped.shape[1]) - grouped.logsumexp(1)).mean(0)
