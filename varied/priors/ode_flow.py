"""A normal distribution carried along by a velocity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.func import vjp, vmap

from varied.distributions.base import LOG_2PI, HasTrainingCost, Tempered
from varied.priors.base import chunked, to_size

__all__ = ["EXACT", "OdeFlow"]

#: The most dimensions for which the divergence is taken exactly: it costs a pass for each.
EXACT = 64

#: From points with shape (N, D), times with shape (N, 1) and a context to velocities.
Velocity = Callable[..., Tensor]


class OdeFlow(Tempered, HasTrainingCost, Distribution):
    r"""Normal numbers at time 0 that a velocity has carried to time 1.

    .. math:: \frac{dz}{dt} = v(z, t), \qquad
              \log p(z_1) = \log \mathcal N(z_0; 0, I) - \int_0^1 \mathrm{tr} \, \partial_z v \, dt

    by Heun's steps, in which the density follows the path that a draw takes. Up to 64 dimensions
    the trace is exact; above, it is estimated with one random sign for each number and row, which
    leaves the log-density right on average.

    References:
        Neural Ordinary Differential Equations (Chen et al., 2018), https://arxiv.org/abs/1806.07366;
        FFJORD (Grathwohl et al., 2018), https://arxiv.org/abs/1810.01367;
        Flow Matching for Generative Modeling (Lipman et al., 2023), https://arxiv.org/abs/2210.02747

    Arguments:
        velocity: From points (N, D), times (N, 1) and a context (N, F), or none, to (N, D).
        shift: The mean of the latents, which stands at the origin of the points.
        scale: Their deviation, by which points are smaller; with the shape of a latent, as shift.
        steps: Heun's steps from noise to latents.
        c: The context, with shape (B, F) or (F), or None.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real
    has_rsample = False

    def __init__(
        self, velocity: Velocity, shift: Tensor, scale: Tensor, steps: int, c: Tensor | None = None
    ) -> None:
        self.velocity, self.shift, self.scale = velocity, shift, scale
        self.steps, self.c = steps, c
        self.size = shift.numel()
        batch = torch.Size() if c is None else c.shape[:-1]
        super().__init__(batch, shift.shape, validate_args=False)

    # Between latents of any shape and rows of points

    def _rows(self, value: Tensor) -> tuple[torch.Size, tuple[Tensor, ...]]:
        inner = value.shape[: value.dim() - len(self.event_shape)]
        lead = torch.broadcast_shapes(inner, self.batch_shape)
        points = ((value - self.shift) / self.scale).flatten(len(inner))
        points = points.expand(*lead, -1).reshape(lead.numel(), self.size)
        return lead, (points, *self._contexts(lead))

    def _contexts(self, lead: torch.Size) -> tuple[Tensor, ...]:
        return (
            ()
            if self.c is None
            else (self.c.expand(*lead, -1).reshape(lead.numel(), self.c.shape[-1]),)
        )

    def _latents(self, points: Tensor, lead: torch.Size) -> Tensor:
        return points.reshape(*lead, *self.event_shape) * self.scale + self.shift

    # Along the velocity

    def _carry(self, z: Tensor, *c: Tensor) -> Tensor:
        """Return points at time 1 from points at time 0."""
        h = 1 / self.steps
        for step in range(self.steps):
            now, then = (z.new_full((len(z), 1), (step + k) * h) for k in (0, 1))
            first = self.velocity(z, now, *c)
            z = z + h / 2 * (first + self.velocity(z + h * first, then, *c))
        return z

    def _density(self, z: Tensor, *c: Tensor) -> Tensor:
        """Return the log-density of points at time 1, carried back to time 0."""
        probes = self._probes(z)
        h, gained = 1 / self.steps, z.new_zeros(len(z))
        for step in range(self.steps, 0, -1):
            now, then = (z.new_full((len(z), 1), (step - k) * h) for k in (0, 1))
            first, grows = self._spread(z, now, probes, *c)
            second, also = self._spread(z - h * first, then, probes, *c)
            z = z - h / 2 * (first + second)
            gained = gained + h / 2 * (grows + also)
        return -0.5 * (z.square() + LOG_2PI).sum(1) - gained

    def _probes(self, z: Tensor) -> Tensor:
        """Return directions, with shape (P, N, D), whose outer products add up to the identity."""
        if self.size <= EXACT:
            one = torch.eye(self.size, dtype=z.dtype, device=z.device).unsqueeze(1)
            return one.expand(-1, *z.shape)
        return torch.randint_like(z, 2).mul(2).sub(1).unsqueeze(0)

    def _spread(self, z: Tensor, t: Tensor, probes: Tensor, *c: Tensor) -> tuple[Tensor, Tensor]:
        """Return the velocity, and its divergence with shape (N)."""
        moves, back = vjp(lambda at: self.velocity(at, t, *c), z)  # type: ignore[misc]
        (bends,) = vmap(back)(probes)
        return moves, (probes * bends).sum((0, 2))

    # What is asked of it

    def cost(self, value: Tensor) -> Tensor:
        r"""Return what training makes small: how far the velocity is from that of straight lines.

        .. math:: \lVert v((1 - t) z_0 + t z_1, t) - (z_1 - z_0) \rVert^2

        with one time and one noise for each latent. It is no likelihood.

        Arguments:
            value: Latents with shape (*, *event).

        Returns:
            Squared deviations, summed over dimensions, with shape (*).
        """
        lead, (z, *c) = self._rows(value)
        # Times evenly spread over the rows, from one random start: less noise than one draw each.
        start = torch.rand(1, device=z.device)
        t = (start + torch.arange(len(z), device=z.device) / len(z)).remainder(1).to(z).unsqueeze(1)
        noise = torch.randn_like(z)
        off = self.velocity((1 - t) * noise + t * z, t, *c) - (z - noise)
        return off.square().sum(1).reshape(lead)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of each latent, in nats; shape (*)."""
        lead, rows = self._rows(value)
        cost = 4096 * (self.size if self.size <= EXACT else 1) + 16 * self.size
        found = chunked(self._density, *rows, each=cost, most=2**25)
        return found.reshape(lead) - self.scale.log().sum()

    @torch.no_grad()
    def draw(self, shape: Any = (), temperature: float = 1.0) -> Tensor:
        """Draw from noise whose deviation is scaled; shape (*shape, *batch_shape, *event)."""
        lead = to_size(shape) + self.batch_shape
        noise = temperature * torch.randn(lead.numel(), self.size, device=self.shift.device)
        each = 16 * self.size + 4096
        noise = noise.to(self.shift)
        points = chunked(self._carry, noise, *self._contexts(lead), each=each, most=2**25)
        return self._latents(points, lead)

    @property
    @torch.no_grad()
    def mean(self) -> Tensor:
        """Where the mean of the noise goes: the middle, not the average."""
        lead = self.batch_shape
        start = self.shift.new_zeros(lead.numel(), self.size)
        return self._latents(self._carry(start, *self._contexts(lead)), lead)
