"""Conditional distributions, and the record of a forward pass through a model.

A VAE consists of three distributions: an encoder q(z | x), a decoder p(x | z) and a prior p(z).
The encoder and the decoder are each a `ConditionalDistribution`: a network and a head. A forward
pass returns a `Trace` of all distributions and samples. Objectives and metrics are computed only
from the trace, so they work with every model.

In shapes, B is the number of examples, K is the number of samples of the latent variables for each
example, and F is the number of context features.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from varied.distributions import (
    CodebookPoint,
    analytic_kl,
    base_distribution,
    given_library_size,
)
from varied.heads import Head
from varied.nets.autocast import AutocastModule


class ConditionalDistribution(AutocastModule):
    """A conditional distribution p(a | b) or p(a | b, c): a network followed by a head.

    Leading dimensions, mixed precision and the context are handled only in this class. If
    ``precision`` is set, the network runs under autocast in this precision; the head runs in
    float32.

    Arguments:
        net: A network that maps (N, *inputs) to (N, *head.param_shape), called as ``net(b)`` or
            ``net(b, c)``.
        head: The head, which determines the family of distributions.
        inputs: The shape of one ``b``.
    """

    def __init__(self, net: nn.Module, head: Head, inputs: tuple[int, ...]) -> None:
        super().__init__()
        self.net, self.head, self.inputs = net, head, tuple(inputs)

    def forward(self, b: Tensor, c: Tensor | None = None) -> Distribution:
        """Return the distribution of ``a``.

        Arguments:
            b: The values to condition on, with shape (*, *inputs).
            c: The context, with shape (B, F), where B is the last of the leading dimensions.

        Returns:
            A distribution with batch shape (*) and the event shape of the head.
        """
        with torch.autocast(b.device.type, enabled=False):
            return self.head(self.outputs(b, c))  # type: ignore[no-any-return]

    def outputs(self, b: Tensor, c: Tensor | None = None) -> Tensor:
        """Return the output of the network, with shape (*, *head.param_shape).

        Its data type is float32, or float64 if the network uses float64.
        """
        lead = b.shape[: b.dim() - len(self.inputs)]
        rows = b.reshape(-1, *self.inputs)
        args = (rows,) if c is None else (rows, c.expand(*lead, -1).reshape(-1, c.shape[-1]))
        with self.autocast(rows.device):
            h: Tensor = self.net(*args)
        return (h if h.dtype == torch.float64 else h.float()).reshape(*lead, *self.head.param_shape)


@dataclass
class Level:
    """A group of latent variables: their samples, posterior and prior.

    Arguments:
        z: Samples from the posterior, with shape (K, B, *event).
        q: The posterior, with a batch shape that can be broadcast to (K, B).
        p: The prior, with a batch shape that can be broadcast to (K, B).
        log_importance: log p(z) minus the log-density of the proposal, with shape (K, B); None if
            z was drawn from q.
    """

    z: Tensor
    q: Distribution
    p: Distribution
    log_importance: Tensor | None = None

    @property
    def log_ratio(self) -> Tensor:
        """log p(z) - log q(z | x) of the samples, with shape (K, B), in nats.

        A quantized posterior assigns probability 1 to its code, so the ratio is the log-probability
        of the code under the prior.
        """
        if self.log_importance is not None:
            return self.log_importance
        if isinstance(base_distribution(self.q), CodebookPoint):
            return -self.kl
        return self.p.log_prob(self.z) - self.q.log_prob(self.z)

    @property
    def kl(self) -> Tensor:
        """KL(q ‖ p) in nats, with shape (K, B).

        If the KL has no closed form, it is estimated separately from each sample.
        """
        exact = analytic_kl(self.q, self.p)
        if exact is None:
            return -self.log_ratio
        return exact.expand(self.z.shape[: self.z.dim() - len(self.q.event_shape)])

    @property
    def kl_per_element(self) -> Tensor:
        """The KL divergence of each latent dimension, in nats, with shape (B, *event).

        The posterior and the prior must provide "marginals".
        """
        exact = analytic_kl(base_distribution(self.q), base_distribution(self.p))
        assert exact is not None, "a term that uses this must require 'marginals'"
        return exact


@dataclass
class Trace:
    """The record of a forward pass, from which objectives and metrics are computed.

    Arguments:
        x: The data, with shape (B, *event).
        px: The likelihood p(x | z), with batch shape (K, B).
        levels: The levels of latent variables, from the bottom up; a plain VAE has one.
        mask: A tensor with shape (B, *event) that is 1 where ``x`` is observed and 0 where it is
            missing, or None.
        weights: The weights of the samples, with shape (K, B), which sum to 1 over K; None for
            equal weights.
        upper: The trace of a second model whose data are latent variables of this model, or None.
        c: The context, with shape (B, F), or None.
        code: The input of the decoder, with shape (K, B, *latent), or None if it is the
            concatenation of all levels.
    """

    x: Tensor
    px: Distribution
    levels: list[Level] = field(default_factory=list)
    mask: Tensor | None = None
    weights: Tensor | None = None
    upper: Trace | None = None
    c: Tensor | None = None
    code: Tensor | None = None

    @property
    def z(self) -> Tensor:
        """The input of the decoder, with shape (K, B, *latent).

        If there are several levels, they are flattened and concatenated.
        """
        if self.code is not None:
            return self.code
        if len(self.levels) == 1:
            return self.levels[0].z
        return torch.cat([level.z.flatten(2) for level in self.levels], 2)

    @property
    def log_px(self) -> Tensor:
        """log p(x | z) of the observed elements, with shape (K, B), in nats."""
        if self.mask is None:
            return self.px.log_prob(self.x)
        event = tuple(range(-len(self.px.event_shape), 0))
        px = base_distribution(given_library_size(self.px, self.x, self.mask))
        return (px.log_prob(self.x) * self.mask).sum(event)

    @property
    def log_weight(self) -> Tensor:
        """The log importance weight log p(x, z) - log q(z | x), with shape (K, B), in nats."""
        return self.log_px + torch.stack([level.log_ratio for level in self.levels]).sum(0)

    def expect(self, value: Tensor) -> Tensor:
        """Return the (weighted) mean over samples of a (K, B) tensor, with shape (B)."""
        return value.mean(0) if self.weights is None else (self.weights * value).sum(0)
