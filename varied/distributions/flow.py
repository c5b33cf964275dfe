"""A normal distribution transformed by an invertible map."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Transform, constraints

from varied.distributions.base import UnvalidatedDistribution
from varied.distributions.gaussian import Gaussian

#: The number of quasi-random samples from which the variance of a flow is estimated.
VARIANCE_SAMPLES = 64


class GatedAffine(Transform):
    r"""A gated step of an inverse autoregressive flow.

    .. math:: y = s x + (1 - s) m, \qquad s = \sigma(\log 9 + b \tanh(h / b))

    The step is numerically stable because :math:`y` is between :math:`x` and :math:`m`. For
    :math:`h = 0`, the gate :math:`s` is 0.9.

    References:
        Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016),
        https://arxiv.org/abs/1606.04934

    Arguments:
        m: The shift, with shape (*).
        h: The raw gate, with shape (*).
        bound: The bound :math:`b`, which keeps the gate above 0, so that the step is invertible.
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
        # Equal to (y - (1 - s) m) / s, but without division by a small s.
        return y + (y - self.m) * (-self.logit).exp()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log s, with shape (*)."""
        return F.logsigmoid(self.logit)


class Flow(UnvalidatedDistribution):
    r"""A diagonal normal distribution transformed by an invertible map.

    .. math:: z = f(z_0), \qquad \log q(z) = \log \mathcal N(z_0; \mu, e^\ell) - \log |\det f'(z_0)|

    The map only has to be fast in one direction. The distribution caches its last sample and the
    corresponding log-density, which `log_prob` returns if it is called with this sample. Therefore,
    do not modify samples in place. For any other value, `log_prob` inverts the map, which is exact
    but may be slow. The cached log-density is a function of the parameters and the noise; to
    differentiate with respect to the value, pass a copy of the sample.

    References:
        Variational Inference with Normalizing Flows (Rezende & Mohamed, 2015),
        https://arxiv.org/abs/1505.05770

    Arguments:
        mean: The mean of the base distribution, with shape (*, D).
        log_variance: The log-variance of the base distribution, with shape (*, D).
        map: A transform of vectors with a method ``call_and_ladj``, such as a zuko transform; its
            parameters may have the leading dimensions (*).
        event: The shape of an event with D elements.
    """

    has_rsample = True

    def __init__(
        self, mean: Tensor, log_variance: Tensor, map: Transform, event: tuple[int, ...]
    ) -> None:
        self.base, self.map = Gaussian(mean, log_variance), map
        self._cache: tuple[Tensor, Tensor] | None = None
        super().__init__(mean.shape[:-1], event)

    def _to_event(self, flat: Tensor) -> Tensor:
        return flat.reshape(*flat.shape[:-1], *self.event_shape)

    @property
    def mean(self) -> Tensor:
        """The transformed mean of the base distribution, in general not the mean of the flow."""
        return self._to_event(self.map(self.base.mean))

    @property
    def variance(self) -> Tensor:
        """The variance, estimated to within a few percent from 64 quasi-random samples."""
        noise = _quasirandom_normal(self.base.mean.shape[-1]).to(self.base.mean)
        shape = (VARIANCE_SAMPLES, *[1] * len(self.batch_shape), noise.shape[-1])
        scale = (0.5 * self.base.log_variance).exp()
        z: Tensor = self.map(self.base.mean + scale * noise.reshape(shape))
        return self._to_event(z.var(0))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return differentiable samples, with shape (*sample_shape, *batch_shape, *event)."""
        flat, log_q = self._transform(self.base.rsample(sample_shape))
        z = self._to_event(flat)
        self._cache = z, log_q
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density, in nats, from the cache or by inverting the map."""
        if self._cache is not None and value is self._cache[0]:
            return self._cache[1]
        flat = value.reshape(*value.shape[: value.dim() - len(self.event_shape)], -1)
        return self._transform(self.map.inv(flat))[1]

    def _transform(self, base: Tensor) -> tuple[Tensor, Tensor]:
        """Return the transformed base sample and its log-density."""
        flat, log_det = self.map.call_and_ladj(base)  # type: ignore[attr-defined]
        log_q: Tensor = self.base.log_prob(base).sum(-1) - log_det
        return flat, log_q


@cache
def _quasirandom_normal(size: int) -> Tensor:
    """Return quasi-random standard normal vectors, with shape (64, size)."""
    engine = torch.quasirandom.SobolEngine(size, scramble=True, seed=0)
    uniform: Tensor = engine.draw(VARIANCE_SAMPLES, dtype=torch.float64)
    normal: Tensor = torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6))
    return normal
