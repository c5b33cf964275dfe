"""What one pass leaves behind, and the one module that makes distributions out of networks."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from varied.distributions import analytic_kl, base_distribution
from varied.distributions.codebook import CodebookPoint
from varied.heads import Head
from varied.nets.autocast import AutocastModule

__all__ = ["ConditionalDistribution", "Level", "Trace"]


class ConditionalDistribution(AutocastModule):
    """p(a given b) or p(a given b, c): a network, then a head.

    Encoder and decoder are both one of these. Leading dimensions, precision and context are handled
    here and nowhere else: the network runs in ``precision`` where one is set, and the head always
    in float32.

    Arguments:
        net: A module from (N, *inputs) to (N, *head.param_shape); with context it takes ``(b, c)``.
        head: The head that makes the distribution.
        inputs: The shape of one ``b``.
    """

    def __init__(self, net: nn.Module, head: Head, inputs: tuple[int, ...]) -> None:
        super().__init__()
        self.net, self.head, self.inputs = net, head, tuple(inputs)

    def forward(self, b: Tensor, c: Tensor | None = None) -> Distribution:
        """Return the distribution of ``a``.

        Arguments:
            b: What is given, with shape (*, *inputs).
            c: The context, with shape (B, F), where B is the last of the leading dimensions.

        Returns:
            A distribution with batch shape (*) and the event shape of the head.
        """
        with torch.autocast(b.device.type, enabled=False):
            return self.head(self.outputs(b, c))  # type: ignore[no-any-return]

    def outputs(self, b: Tensor, c: Tensor | None = None) -> Tensor:
        """Return what the network puts out, with shape (*, *head.param_shape), in float32 at least."""
        lead = b.shape[: b.dim() - len(self.inputs)]
        flat = b.reshape(-1, *self.inputs)
        args = (flat,) if c is None else (flat, c.expand(*lead, -1).reshape(-1, c.shape[-1]))
        with self.autocast(flat.device):
            h: Tensor = self.net(*args)
        return (h if h.dtype == torch.float64 else h.float()).reshape(*lead, *self.head.param_shape)


@dataclass
class Level:
    """One rung of latents: what was drawn, from what, against what.

    Arguments:
        z: The latents that were drawn, with shape (K, B, *event).
        q: The posterior, with a batch shape that broadcasts to (K, B).
        p: The prior, with a batch shape that broadcasts to (K, B).
        log_importance: log p(z) minus the log-density of the proposal, with shape (K, B), if z was
            not drawn from q.
    """

    z: Tensor
    q: Distribution
    p: Distribution
    log_importance: Tensor | None = None

    @property
    def log_ratio(self) -> Tensor:
        """log p(z) - log q(z given x) of what was drawn, with shape (K, B), in nats.

        A point on a code has probability 1, so there it is the code's log-probability.
        """
        if self.log_importance is not None:
            return self.log_importance
        if isinstance(base_distribution(self.q), CodebookPoint):
            return -self.kl
        return self.p.log_prob(self.z) - self.q.log_prob(self.z)

    @property
    def kl(self) -> Tensor:
        """KL(q, p) with shape (K, B), in nats: closed form if there is one, else from the draws."""
        exact = analytic_kl(self.q, self.p)
        if exact is None:
            return -self.log_ratio
        event = len(self.q.event_shape)
        return exact.expand(self.z.shape[: self.z.dim() - event])

    @property
    def kl_per_element(self) -> Tensor:
        """KL of each element of the latent, with shape (B, *event), in nats; needs marginals."""
        exact = analytic_kl(base_distribution(self.q), base_distribution(self.p))
        assert exact is not None, "read only by terms that read 'marginals'"
        return exact


@dataclass
class Trace:
    """What one pass of a model leaves: all that objectives and evaluation read.

    Arguments:
        x: The data, with shape (B, *event).
        px: p(x given z), with batch shape (K, B).
        levels: The rungs of latents, from the datum upwards; a plain VAE has one.
        mask: 1 where a datum was observed, 0 where it is missing, with shape (B, *event), or None.
        weights: The weight of each sample, with shape (K, B) and sum 1 over K; None is 1/K each.
        upper: The trace of a model whose data are latents of this one, or None.
        c: The context that the pass was given, with shape (B, F), or None.
        code: What `decode` takes of what was drawn, with shape (K, B, *latent), where that is not
            the levels side by side; or None.
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
        """What was drawn, as `decode` takes it: several levels laid side by side; (K, B, *)."""
        if self.code is not None:
            return self.code
        if len(self.levels) == 1:
            return self.levels[0].z
        return torch.cat([level.z.flatten(2) for level in self.levels], 2)

    @property
    def log_px(self) -> Tensor:
        """log p(x given z) of what was observed, with shape (K, B), in nats."""
        if self.mask is None:
            return self.px.log_prob(self.x)
        event = tuple(range(-len(self.px.event_shape), 0))
        return (base_distribution(self.px).log_prob(self.x) * self.mask).sum(event)

    @property
    def log_weight(self) -> Tensor:
        """log p(x, z) - log q(z given x) of what was drawn, with shape (K, B), in nats."""
        return self.log_px + torch.stack([level.log_ratio for level in self.levels]).sum(0)

    def expect(self, value: Tensor) -> Tensor:
        """Return the mean over samples of a (K, B) tensor, with shape (B)."""
        return value.mean(0) if self.weights is None else (self.weights * value).sum(0)
