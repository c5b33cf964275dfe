"""The two terms of the evidence lower bound: reconstruction and KL."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from varied.scheduled_value import ScheduledValue
from varied.schedules import Number
from varied.terms.base import Term, requires
from varied.trace import Trace

#: The distance between adjacent gray levels.
GRAY_LEVEL = 1 / 255


@requires()
def reconstruction(trace: Trace) -> Tensor:
    r"""Return the negative expected log-likelihood of each example.

    .. math:: -\mathbb E_{q(z \mid x)} \log p(x \mid z)

    Returns:
        The value of the term for each example, in nats, with shape (B).
    """
    return -trace.expect(trace.log_px)


class MixedReconstruction(nn.Module, Term):
    r"""The reconstruction term, interpolated with its value for a Gaussian with the same mean.

    .. math:: \mathbb E_{q(z \mid x)}[-(1 - w) \log p(x \mid z)
        - w \log (\mathcal N(x; \mathbb E[x \mid z], \sigma^2) / 255)]

    where :math:`\sigma^2` is the mean squared error of the batch, which maximizes the likelihood.
    The density is multiplied by the distance between adjacent gray levels, so that it is comparable
    with the probability of a gray level.

    With a scale for each element, elements with large errors have large scales and hence small
    gradients, so that the color of small objects is learned late or never. If w decreases from 1 to
    0, the means are learned first, with the same scale for all elements.

    References:
        Simple and Effective VAE Training with Calibrated Decoders (Rybkin et al., 2021),
        https://arxiv.org/abs/2006.13202, for the optimal variance.

    Arguments:
        gaussian_weight: The weight w of the Gaussian, a number or a schedule. Values above 1 count
            as 1, so that the weight of linear(3, 0, 0.3) is 1 until 20% of training.
    """

    def __init__(self, gaussian_weight: Number) -> None:
        super().__init__()
        self.gaussian_weight = ScheduledValue(gaussian_weight)

    def forward(self, trace: Trace) -> Tensor:
        """Return the value of the term for each example, in nats, with shape (B)."""
        weight = self.gaussian_weight.value.clamp(max=1)
        return torch.lerp(reconstruction(trace), _gaussian_reconstruction(trace), weight)


def _gaussian_reconstruction(trace: Trace) -> Tensor:
    """Return the negative Gaussian log-likelihood with the optimal variance, with shape (B)."""
    observed = torch.ones_like(trace.x) if trace.mask is None else trace.mask.to(trace.x)
    error = trace.expect(((trace.x - trace.px.mean).square() * observed).flatten(2).sum(-1))
    n = observed.flatten(1).sum(-1)
    # The lower bound is the variance of the rounding error of gray levels.
    variance = (error.sum() / n.sum()).detach().clamp_min(GRAY_LEVEL**2 / 12)
    return n / 2 * (2 * math.pi * variance / GRAY_LEVEL**2).log() + error / (2 * variance)


@requires("density")
def kl(trace: Trace) -> Tensor:
    r"""Return the KL divergence of each example, summed over all levels.

    .. math:: KL(q(z \mid x) \,\|\, p(z))

    Returns:
        The value of the term for each example, in nats, with shape (B).
    """
    return trace.expect(torch.stack([level.kl for level in trace.levels]).sum(0))
