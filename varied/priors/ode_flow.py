"""Continuous normalizing flows: noise transformed by an ordinary differential equation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap

from varied.distributions.base import LOG_2PI, HasTrainingCost, Tempered, UnvalidatedDistribution
from varied.priors.base import apply_in_chunks, expand_context, to_size

#: The maximum number of dimensions for an exact divergence, which requires one pass per dimension.
MAX_EXACT_DIMS = 64

#: Maps points with shape (N, D), times with shape (N, 1) and an optional context to velocities.
Velocity = Callable[..., Tensor]


class OdeFlow(Tempered, HasTrainingCost, UnvalidatedDistribution):
    r"""The distribution of standard normal noise transported by a velocity field from time 0 to 1.

    .. math:: \frac{dz}{dt} = v(z, t), \qquad
              \log p(z_1) = \log \mathcal N(z_0; 0, I) - \int_0^1 \mathrm{tr} \, \partial_z v \, dt

    Both equations are integrated with Heun's method, using the same steps. The trace is exact for
    up to 64 dimensions. For more dimensions, Hutchinson's estimator is used with one random sign
    vector per latent, which keeps the log-density unbiased.

    References:
        Neural Ordinary Differential Equations (Chen et al., 2018), https://arxiv.org/abs/1806.07366;
        FFJORD (Grathwohl et al., 2018), https://arxiv.org/abs/1810.01367;
        Flow Matching for Generative Modeling (Lipman et al., 2023), https://arxiv.org/abs/2210.02747

    Arguments:
        velocity: Maps points (N, D), times (N, 1) and an optional context (N, F) to velocities
            (N, D).
        shift: The mean of the latents, with the shape of one latent variable.
        scale: The standard deviation of the latents; the velocity applies to standardized latents.
        steps: The number of steps of Heun's method.
        c: The context, with shape (B, F) or (F), or None.
    """

    def __init__(
        self, velocity: Velocity, shift: Tensor, scale: Tensor, steps: int, c: Tensor | None = None
    ) -> None:
        self.velocity, self.shift, self.scale = velocity, shift, scale
        self.steps, self.c, self.size = steps, c, shift.numel()
        super().__init__(torch.Size() if c is None else c.shape[:-1], shift.shape)

    def _to_points(self, value: Tensor) -> tuple[torch.Size, tuple[Tensor, ...]]:
        """Return the leading shape of latents, and the standardized latents with their context."""
        inner = value.shape[: value.dim() - len(self.event_shape)]
        lead = torch.broadcast_shapes(inner, self.batch_shape)
        points = ((value - self.shift) / self.scale).flatten(len(inner))
        points = points.expand(*lead, -1).reshape(lead.numel(), self.size)
        return lead, (points, *expand_context(self.c, lead))

    def _to_latents(self, points: Tensor, lead: torch.Size) -> Tensor:
        return points.reshape(*lead, *self.event_shape) * self.scale + self.shift

    def _integrate(self, z: Tensor, *c: Tensor) -> Tensor:
        """Transport points from time 0 to time 1."""
        h = 1 / self.steps
        for step in range(self.steps):
            now, then = (z.new_full((len(z), 1), (step + k) * h) for k in (0, 1))
            first = self.velocity(z, now, *c)
            z = z + h / 2 * (first + self.velocity(z + h * first, then, *c))
        return z

    def _log_density(self, z: Tensor, *c: Tensor) -> Tensor:
        """Return the log-density of points at time 1 by integrating back to time 0."""
        probes = self._probes(z)
        h, log_det = 1 / self.steps, z.new_zeros(len(z))
        for step in range(self.steps, 0, -1):
            now, then = (z.new_full((len(z), 1), (step - k) * h) for k in (0, 1))
            first, divergence = self._velocity_and_divergence(z, now, probes, *c)
            second, other = self._velocity_and_divergence(z - h * first, then, probes, *c)
            z = z - h / 2 * (first + second)
            log_det = log_det + h / 2 * (divergence + other)
        return -0.5 * (z.square() + LOG_2PI).sum(1) - log_det

    def _probes(self, z: Tensor) -> Tensor:
        """Return vectors (P, N, D) whose outer products sum to the identity in expectation."""
        if self.size <= MAX_EXACT_DIMS:
            basis = torch.eye(self.size, dtype=z.dtype, device=z.device).unsqueeze(1)
            return basis.expand(-1, *z.shape)
        return torch.randint_like(z, 2).mul(2).sub(1).unsqueeze(0)

    def _velocity_and_divergence(
        self, z: Tensor, t: Tensor, probes: Tensor, *c: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the velocity, with shape (N, D), and its divergence, with shape (N)."""
        velocity, pullback = vjp(lambda at: self.velocity(at, t, *c), z)  # type: ignore[misc]
        (products,) = vmap(pullback)(probes)
        return velocity, (probes * products).sum((0, 2))

    def cost(self, value: Tensor) -> Tensor:
        r"""Return the flow matching loss, which is not a likelihood, of each latent variable.

        .. math:: \lVert v((1 - t) z_0 + t z_1, t) - (z_1 - z_0) \rVert^2

        with a single time and noise vector for each latent variable.

        Arguments:
            value: Latents with shape (*, *event).

        Returns:
            The squared errors, summed over dimensions, with shape (*).
        """
        lead, (z, *c) = self._to_points(value)
        # Times on a grid with a random offset reduce the variance relative to independent times.
        start = torch.rand(1, device=z.device)
        t = (start + torch.arange(len(z), device=z.device) / len(z)).remainder(1).to(z).unsqueeze(1)
        noise = torch.randn_like(z)
        error = self.velocity((1 - t) * noise + t * z, t, *c) - (z - noise)
        return error.square().sum(1).reshape(lead)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of each latent variable, in nats, with shape (*)."""
        lead, rows = self._to_points(value)
        floats = 4096 * (self.size if self.size <= MAX_EXACT_DIMS else 1) + 16 * self.size
        log_prob = apply_in_chunks(
            self._log_density, *rows, floats_per_row=floats, max_floats=2**25
        )
        return log_prob.reshape(lead) - self.scale.log().sum()

    @torch.no_grad()
    def draw(self, shape: Any = (), temperature: float = 1.0) -> Tensor:
        """Return samples; the temperature scales the initial noise."""
        lead = to_size(shape) + self.batch_shape
        noise = temperature * torch.randn(lead.numel(), self.size, device=self.shift.device)
        rows, floats = (noise.to(self.shift), *expand_context(self.c, lead)), 16 * self.size + 4096
        points = apply_in_chunks(self._integrate, *rows, floats_per_row=floats, max_floats=2**25)
        return self._to_latents(points, lead)

    @property
    @torch.no_grad()
    def mean(self) -> Tensor:
        """The latent to which zero noise is transported, in general not the mean of the flow."""
        lead = self.batch_shape
        zero = self.shift.new_zeros(lead.numel(), self.size)
        return self._to_latents(self._integrate(zero, *expand_context(self.c, lead)), lead)
