"""The flow matching prior: a learned velocity field that transports noise to latents."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from varied.errors import check_at_least
from varied.priors.base import Shape
from varied.priors.ex_post import ExPostPrior, mean_and_std
from varied.priors.ode_flow import OdeFlow


class VelocityNet(nn.Module):
    r"""A network that maps a point, a time and an optional context to a velocity.

    .. math:: v(z, t) = \frac{2t - 1}{t^2 + (1 - t)^2} z + f(z, t, c)

    The first term is the exact solution for standard normal latents. The initial velocity is close
    to this term, and f learns the difference.

    Arguments:
        size: The number D of dimensions.
        context: The number of context features; 0 for none.
        width: The number of hidden units.
        depth: The number of residual layers.
    """

    frequencies: Tensor

    def __init__(self, size: int, context: int, width: int, depth: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.pi * 2.0 ** torch.arange(6), persistent=False)
        self.in_proj = nn.Linear(size, width)
        self.embedding = nn.Sequential(nn.Linear(12 + context, width), nn.SiLU())
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.embedding_projs = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.layers = nn.ModuleList(
            nn.Sequential(nn.SiLU(), nn.Linear(width, width)) for _ in range(depth)
        )
        self.norm, self.out_proj = nn.LayerNorm(width), nn.Linear(width, size)
        nn.init.normal_(self.out_proj.weight, std=0.1 / math.sqrt(width))
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, z: Tensor, t: Tensor, c: Tensor | None = None) -> Tensor:
        """Return velocities with shape (N, D).

        Arguments:
            z: Points with shape (N, D).
            t: Times between 0 and 1, with shape (N, 1).
            c: The context, with shape (N, F), or None.
        """
        phases = t * self.frequencies
        features = [phases.sin(), phases.cos()] + ([c.to(z)] if c is not None else [])
        embedding, h = self.embedding(torch.cat(features, 1)), self.in_proj(z)
        for norm, proj, layer in zip(self.norms, self.embedding_projs, self.layers, strict=True):
            h = h + layer(norm(h) + proj(embedding))
        exact = (2 * t - 1) / (t.square() + (1 - t).square()) * z
        return exact + self.out_proj(self.norm(h))  # type: ignore[no-any-return]


class FlowMatching(ExPostPrior):
    r"""Flow matching in latent space, a small latent diffusion model.

    .. math:: \min_v \, \mathbb E \, \lVert v((1 - t) z_0 + t z_1, t) - (z_1 - z_0) \rVert^2

    The prior is trained after the model, on standardized latents; until then, it is the standard
    normal. Samples and densities are computed with Heun's method.

    References:
        Flow Matching for Generative Modeling (Lipman et al., 2023),
        https://arxiv.org/abs/2210.02747;
        High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2022),
        https://arxiv.org/abs/2112.10752

    Arguments:
        event: The shape of a latent variable.
        context: The number of context features; 0 for none.
        width: The number of hidden units.
        depth: The number of residual layers.
        steps: The number of steps of Heun's method, each with two evaluations of the network. For
            the codes of MNIST, the log-densities with 16 and with 100 steps differ by less than 0.1
            nats for every code, and by 0.01 nats on average.
    """

    reads_context = True

    shift: Tensor
    scale: Tensor

    def __init__(
        self, event: Shape, context: int, width: int = 256, depth: int = 3, steps: int = 16
    ) -> None:
        super().__init__(event)
        check_at_least(1, width=width, depth=depth, steps=steps)
        self.context, self.steps = context, steps
        self.velocity = VelocityNet(math.prod(self.event_shape), context, width, depth)
        self.register_buffer("shift", torch.zeros(self.event_shape))
        self.register_buffer("scale", torch.ones(self.event_shape))

    @torch.no_grad()
    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Set the mean and scale from latents with shape (N, *event); mark the prior as fitted.

        The network is then trained on the standardized latents.
        """
        mean, std = mean_and_std(x)
        self.shift.copy_(mean)
        self.scale.copy_(std)
        self.mark_fitted()

    def fitted_distribution(self, c: Tensor | None) -> OdeFlow:
        """Return the distribution of the latents."""
        return OdeFlow(self.velocity, self.shift, self.scale, self.steps, self._given_context(c))
