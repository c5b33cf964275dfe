"""Distributions on the unit hypersphere, and the Bessel functions that they require."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Size, Tensor
from torch.distributions import constraints, register_kl

from varied.distributions.base import UnvalidatedDistribution

#: The maximum number of rounds of rejection sampling. Each round accepts about two thirds of the
#: proposals, so the probability that a sample is still rejected after all rounds is 1e-30.
ROUNDS = 64

#: The number of quadrature nodes for the gradient of a sample.
NODES = 64


def log_area(dim: int) -> float:
    r"""Return the log of the surface area of the sphere, :math:`2 \pi^{d/2} / \Gamma(d/2)`."""
    return math.log(2) + 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim)


def _series(order: float, y: Any) -> Any:
    """Return Gamma(order + 1) (2 / k)^order I_order(k) - 1 for y = k^2 / 4 up to order + 1."""
    total, term = np.zeros_like(y), np.ones_like(y)
    for n in range(1, 24):
        term = term * y / (n * (order + n))
        total = total + term
    return total


def _bessel(kappa: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the values of `bessel_ratio` and `log_mean_exp`, with the dtype of ``kappa``.

    Exponentially scaled Bessel functions underflow if their order is large and their argument is
    small. A power series is used in this case; it also keeps full relative precision near 0.
    """
    from scipy.special import ive  # imported here because it takes 0.2 s

    k, order = kappa.detach().double().cpu().numpy(), dim / 2 - 1
    is_small = k * k < 4 * (order + 1)
    small, large = np.where(is_small, k, 1.0), np.where(is_small, 4 * (order + 2), k)
    low, high = _series(order, small**2 / 4), _series(order + 1, small**2 / 4)
    scaled = ive(order, large)
    log_scaled = math.lgamma(order + 1) + order * np.log(2 / large) + np.log(scaled)
    ratio = np.where(is_small, small / dim * (1 + high) / (1 + low), ive(order + 1, large) / scaled)
    log_mean = np.where(is_small, np.log1p(low) - small, log_scaled)
    return torch.as_tensor(ratio).to(kappa), torch.as_tensor(log_mean).to(kappa)


class _WithDerivative(torch.autograd.Function):
    """Attach a known derivative with respect to ``x`` to a value computed without autograd."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, value: Tensor, derivative: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        ctx.derivative = derivative
        output = value.clone()
        ctx.save_for_backward(x, output)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0] * ctx.derivative(*ctx.saved_tensors), None, None


def _with_derivative(
    x: Tensor, value: Tensor, derivative: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    return _WithDerivative.apply(x, value, derivative)  # type: ignore[no-any-return, no-untyped-call]


def bessel_ratio(kappa: Tensor, dim: int) -> Tensor:
    r"""Return the mean cosine of a von Mises-Fisher distribution, with the shape of ``kappa``.

    .. math:: A_d(\kappa) = I_{d/2}(\kappa) / I_{d/2-1}(\kappa), \qquad
        A' = 1 - A^2 - (d - 1) A / \kappa

    Arguments:
        kappa: The concentration, which must be positive; float64 is recommended.
        dim: The dimension of the space, which must be at least 2.
    """
    return _with_derivative(
        kappa, _bessel(kappa, dim)[0], lambda k, a: 1 - a.square() - (dim - 1) * a / k
    )


def log_mean_exp(kappa: Tensor, dim: int) -> Tensor:
    r"""Return the shifted log-normalizer of a von Mises-Fisher distribution.

    .. math:: \log \mathbb E_{w} e^{\kappa (w - 1)} = \log
        \frac{\Gamma(d/2) I_{d/2-1}(\kappa)}{(\kappa / 2)^{d/2-1}} - \kappa

    where :math:`w` is the cosine of the angle to a uniformly distributed direction. This is the
    log-normalizer relative to the uniform distribution, minus :math:`\kappa`. The result has the
    shape of ``kappa``, and its derivative is :math:`A_d(\kappa) - 1`.

    Arguments:
        kappa: The concentration, which must be positive; float64 is recommended.
        dim: The dimension of the space, which must be at least 2.
    """
    return _with_derivative(kappa, _bessel(kappa, dim)[1], lambda k, _: bessel_ratio(k, dim) - 1)


class VonMisesFisher(UnvalidatedDistribution):
    r"""A von Mises-Fisher distribution, the analog of a normal distribution on the sphere.

    .. math:: \log p(z) = \kappa \mu^\top z - \log \int_{S^{d-1}} e^{\kappa \mu^\top y} dy

    A sample combines an angle to the mean direction with a uniform orthogonal direction. The angle
    is drawn with rejection sampling, in vectorized rounds over the samples that have not yet been
    accepted. The gradient of the angle does not flow through the proposals, because their
    acceptance also depends on :math:`\kappa`. Instead, it is the implicit gradient at a fixed
    quantile, which is computed with quadrature and is therefore exact. The orthogonal direction
    rotates with the mean direction along the shortest path.

    References:
        Hyperspherical Variational Auto-Encoders (Davidson et al., 2018),
        https://arxiv.org/abs/1804.00891;
        Simulation of the von Mises Fisher distribution (Wood, 1994),
        https://doi.org/10.1080/03610919408813161;
        Implicit Reparameterization Gradients (Figurnov et al., 2018),
        https://arxiv.org/abs/1805.08498

    Arguments:
        direction: The mean direction, with shape (*, D) and any nonzero length.
        kappa: The concentration, which must be positive, with shape (*).
    """

    support = constraints.real_vector
    has_rsample = True

    def __init__(self, direction: Tensor, kappa: Tensor) -> None:
        # Use float64, since float32 loses all digits of 1 - cos if kappa is large.
        self.mu: Tensor = F.normalize(direction.double(), dim=-1)
        self.kappa: Tensor = kappa.double()
        self.dtype: torch.dtype = direction.dtype
        self.dim: int = direction.shape[-1]
        super().__init__(kappa.shape, (self.dim,))

    @property
    def mean(self) -> Tensor:
        """The mean direction, with length 1; the expected value itself is inside the sphere."""
        return self.mu.to(self.dtype)

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate."""
        ratio = bessel_ratio(self.kappa, self.dim)
        orthogonal = ratio / self.kappa
        parallel = 1 - (self.dim - 1) * orthogonal - ratio.square()
        square = self.mu.square()
        variance: Tensor = parallel[..., None] * square + orthogonal[..., None] * (1 - square)
        return variance.to(self.dtype)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return differentiable samples, with shape (*sample_shape, *batch_shape, D)."""
        shape = self._extended_shape(sample_shape)
        kappa, mu = self.kappa.expand(shape[:-1]), self.mu.expand(shape)
        fixed_mu = mu.detach()
        angle = _attach_gradient(kappa, _sample_angle(kappa.detach(), self.dim), self.dim)
        orthogonal = torch.randn(shape, device=mu.device, dtype=mu.dtype)
        orthogonal = orthogonal - (orthogonal * fixed_mu).sum(-1, keepdim=True) * fixed_mu
        orthogonal = F.normalize(orthogonal, dim=-1)
        # The subtracted value is 0, but its gradient rotates the direction together with mu.
        orthogonal = orthogonal - fixed_mu * (orthogonal * mu).sum(-1, keepdim=True)
        angle = angle.unsqueeze(-1)
        return (angle.cos() * mu + angle.sin() * orthogonal).to(self.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density with respect to the surface measure of the sphere, in nats."""
        # Compute kappa (cos - 1) from the chord, since the cosine has too few digits close to 1.
        chord = -0.5 * self.kappa * (value.double() - self.mu).square().sum(-1)
        log_prob: Tensor = chord - log_mean_exp(self.kappa, self.dim) - log_area(self.dim)
        return log_prob.to(self.dtype)


def _sample_angle(kappa: Tensor, dim: int) -> Tensor:
    """Return random angles to the mean direction, in (0, pi), with the shape of ``kappa``."""
    flat = kappa.reshape(-1)
    gamma = torch.distributions.Gamma(flat.new_tensor((dim - 1) / 2), flat.new_ones(()))
    theta, rejected = torch.zeros_like(flat), torch.arange(len(flat), device=flat.device)
    for _ in range(ROUNDS):
        k = flat[rejected]
        b = (dim - 1) / (2 * k + (4 * k * k + (dim - 1) ** 2).sqrt())
        # Wood's proposal. The beta variable is computed from two gamma variables, which preserves
        # the digits of 1 - cos.
        g, h = gamma.sample((2, len(k)))
        theta[rejected] = 2 * torch.atan2((b * g).sqrt(), h.sqrt())
        tilt = 2 * k * (b / (1 + b) - b * g / (h + b * g))
        envelope = (g + h) * (1 + b) / (2 * (h + b * g))
        accepted = torch.rand_like(k).log() <= tilt + (dim - 1) * envelope.log()
        rejected = rejected[~accepted]
        if not len(rejected):
            break
    return theta.reshape(kappa.shape)


def _attach_gradient(kappa: Tensor, theta: Tensor, dim: int) -> Tensor:
    r"""Return sampled angles with their gradient with respect to kappa, at a fixed quantile.

    With the density :math:`f(\phi) \propto e^{\kappa \cos \phi} \sin^{d-2} \phi`,

    .. math:: \frac{d\theta}{d\kappa} = - \frac{\partial_\kappa F(\theta)}{f(\theta)}
        = - \int_0^\theta (\cos\phi - A_d(\kappa)) \frac{f(\phi)}{f(\theta)} d\phi

    or, equivalently, the integral of the same function from :math:`\theta` to :math:`\pi`. Of the
    two, the integral whose range does not contain the mode of the density is used.
    """
    return _with_derivative(kappa, theta, lambda k, t: _angle_derivative(k, t, dim))


def _angle_derivative(kappa: Tensor, theta: Tensor, dim: int) -> Tensor:
    """Return the derivative of angles with respect to kappa, with the same shape."""
    cos_mode = 2 * kappa / (dim - 2 + ((dim - 2) ** 2 + 4 * kappa * kappa).sqrt())
    below_mode = theta.cos() > cos_mode
    # The density is negligible at distances above 13 times the width of its peak.
    reach = 13 / (kappa * cos_mode + dim - 2).sqrt()
    length = torch.minimum(torch.where(below_mode, theta, math.pi - theta), reach)
    node, weight = (x.to(theta) for x in _quadrature())
    step = torch.where(below_mode, -length, length).unsqueeze(-1) * node
    phi, theta, kappa = theta.unsqueeze(-1) + step, theta.unsqueeze(-1), kappa.unsqueeze(-1)
    # Compute cos phi - cos theta as a product, since the difference cancels for small steps.
    cos_change = -2 * torch.sin(theta + step / 2) * torch.sin(step / 2)
    ratio = (kappa * cos_change + (dim - 2) * (phi.sin() / theta.sin()).log()).exp()
    deviation = theta.cos() + cos_change - bessel_ratio(kappa, dim)
    integral = (deviation * ratio * weight).sum(-1) * length
    return torch.where(below_mode, -integral, integral)


@cache
def _quadrature() -> tuple[Tensor, Tensor]:
    """Return the nodes and weights of a Gauss-Legendre quadrature over (0, 1)."""
    node, weight = np.polynomial.legendre.leggauss(NODES)
    return torch.from_numpy((node + 1) / 2), torch.from_numpy(weight / 2)


class HypersphericalUniform(UnvalidatedDistribution):
    r"""The uniform distribution on the unit hypersphere.

    .. math:: \log p(z) = -\log \frac{2 \pi^{d/2}}{\Gamma(d/2)}

    Arguments:
        like: A tensor with the shape (D), the device and the data type of one sample.
    """

    support = constraints.real_vector
    has_rsample = True

    def __init__(self, like: Tensor) -> None:
        self.like, self.dim = like, like.shape[-1]
        super().__init__(Size(), like.shape)

    @property
    def mean(self) -> Tensor:
        """Zero, which is not on the sphere."""
        return torch.zeros_like(self.like)

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate."""
        return torch.full_like(self.like, 1 / self.dim)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return samples, with shape (*sample_shape, D)."""
        shape = self._extended_shape(sample_shape)
        noise = torch.randn(shape, device=self.like.device, dtype=self.like.dtype)
        return F.normalize(noise, dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density with respect to the surface measure of the sphere, in nats."""
        return value.new_full(value.shape[:-1], -log_area(self.dim))


@register_kl(VonMisesFisher, HypersphericalUniform)
def _kl_vmf_uniform(q: VonMisesFisher, p: HypersphericalUniform) -> Tensor:
    # The KL is k A - log E exp(k w): the areas cancel, and A - 1 accounts for the factor exp(-k).
    ratio = bessel_ratio(q.kappa, q.dim)
    kl: Tensor = q.kappa * (ratio - 1) - log_mean_exp(q.kappa, q.dim)
    return kl.to(q.dtype)
