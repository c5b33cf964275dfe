"""A normal distribution pushed through invertible maps."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Size, Tensor
from torch.distributions import Distribution, Transform, constraints

from varied.distributions.gaussian import Gaussian

__all__ = ["Flow", "GatedAffine"]

#: Fixed draws of the base from which the variance of a flow is estimated.
PROBES = 64


class GatedAffine(Transform):
    r"""A step that keeps a share of its input and takes the rest from elsewhere.

    .. math:: y = s x + (1 - s) m, \qquad s = \sigma(\log 9 + b \tanh(h / b))

    Numerically stable since it is a mean of two numbers; it starts at :math:`s = 0.9`.

    References:
        Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016),
        https://arxiv.org/abs/1606.04934

    Arguments:
        m: What is taken in, with shape (*).
        h: How much is kept, before the sigmoid, with shape (*).
        bound: The largest size of :math:`h` that counts: the gate is never wholly shut, so that
            the step can always be undone.
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = +1

    def __init__(self, m: Tensor, h: Tensor, bound: float = 5.0) -> None:
        super().__init__()
        self.m, self.logit = m, math.log(9) + bound * torch.tanh(h / bound)

    def _call(self, x: Tensor) -> Tensor:
        return torch.lerp(self.m, x, torch.sigmoid(self.logit))

    def _inverse(self, y: Tensor) -> Tensor:
        # (y - (1 - s) m) / s, without the small number s in a denominator of its own.
        return y + (y - self.m) * (-self.logit).exp()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log s, with shape (*)."""
        return F.logsigmoid(self.logit)


class Flow(Distribution):
    r"""A diagonal normal distribution pushed through an invertible map of the whole event.

    .. math:: z = f(z_0), \qquad \log q(z) = \log \mathcal N(z_0; \mu, e^\ell) - \log |\det f'(z_0)|

    The map need be quick in one direction only: the distribution remembers its last draw, by
    identity, with its log-density, and for any other value inverts the map, which may be slow and
    is exact. So a draw must not be changed in place; and what is remembered is a function of the
    parameters and the noise, so that a slope in the value itself is taken at a copy of it.

    References:
        Variational Inference with Normalizing Flows (Rezende & Mohamed, 2015),
        https://arxiv.org/abs/1505.05770

    Arguments:
        mean: The mean of the base, with shape (*, D).
        log_variance: The logarithm of the variance of the base, with shape (*, D).
        map: A transform of vectors with ``call_and_ladj``, as those of zuko; its parameters may
            have the leading dimensions (*).
        event: The shape of one event, of D elements.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real
    has_rsample = True

    def __init__(
        self, mean: Tensor, log_variance: Tensor, map: Transform, event: tuple[int, ...]
    ) -> None:
        self.base, self.map = Gaussian(mean, log_variance), map
        self.drawn: tuple[Tensor, Tensor] | None = None
        super().__init__(mean.shape[:-1], Size(event), validate_args=False)

    def _shaped(self, flat: Tensor) -> Tensor:
        return flat.reshape(*flat.shape[:-1], *self.event_shape)

    @property
    def mean(self) -> Tensor:
        """Where the mean of the base goes: a fixed code, near the mean but not the mean itself."""
        return self._shaped(self.map(self.base.mean))

    @property
    def variance(self) -> Tensor:
        """The variance, estimated from 64 fixed and evenly spread draws: good to a few percent."""
        noise = _probes(self.base.mean.shape[-1]).to(self.base.mean)
        shape = (PROBES, *[1] * len(self.batch_shape), noise.shape[-1])
        scale = (0.5 * self.base.log_variance).exp()
        z: Tensor = self.map(self.base.mean + scale * noise.reshape(shape))
        return self._shaped(z.var(0))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw with a gradient, in one pass; shape (*sample_shape, *batch_shape, *event)."""
        start = self.base.rsample(sample_shape)
        flat, log_q = self._pushed(start)
        z = self._shaped(flat)
        self.drawn = z, log_q
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density, in nats: at once for the last draw, else by the inverse."""
        if self.drawn is not None and value is self.drawn[0]:
            return self.drawn[1]
        flat = value.reshape(*value.shape[: value.dim() - len(self.event_shape)], -1)
        return self._pushed(self.map.inv(flat))[1]

    def _pushed(self, start: Tensor) -> tuple[Tensor, Tensor]:
        flat, log_det = self.map.call_and_ladj(start)  # type: ignore[attr-defined]
        log_q: Tensor = self.base.log_prob(start).sum(-1) - log_det
        return flat, log_q


@cache
def _probes(size: int) -> Tensor:
    """Return standard normal numbers that fill the space evenly, with shape (64, size)."""
    engine = torch.quasirandom.SobolEngine(size, scramble=True, seed=0)
    even: Tensor = engine.draw(PROBES, dtype=torch.float64)
    normal: Tensor = torch.special.ndtri(even.clamp(1e-6, 1 - 1e-6))
    return normal
