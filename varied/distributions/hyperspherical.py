"""Directions: distributions on the unit sphere, and the Bessel functions that they need."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Size, Tensor
from torch.distributions import Distribution, constraints, register_kl

__all__ = ["HypersphericalUniform", "VonMisesFisher", "bessel_ratio", "log_mean_exp"]

#: Rounds of proposals after which a draw is taken as it is; two of three are accepted in each, so
#: that this happens once in 1e30.
ROUNDS = 64

#: Points of the quadrature that gives a draw its gradient.
NODES = 64


def log_area(dim: int) -> float:
    r"""Return the logarithm of the area of the sphere, :math:`2 \pi^{d/2} / \Gamma(d/2)`."""
    return math.log(2) + 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim)


def _series(order: float, y: Any) -> Any:
    """Return Gamma(order + 1) (2 / k)^order I_order(k) - 1 for y = k^2 / 4 of at most order + 1."""
    total, term = np.zeros_like(y), np.ones_like(y)
    for n in range(1, 24):
        term = term * y / (n * (order + n))
        total = total + term
    return total


def _bessel(kappa: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the ratio of Bessel functions, and the scaled log of the mean of exp(k w), in float64.

    Scaled Bessel functions underflow where their order is large and their argument small; there a
    series takes over, which also keeps the digits of what is nearly 0.
    """
    from scipy.special import ive  # 0.2 s, for those alone who have a sphere

    k, order = kappa.detach().double().cpu().numpy(), dim / 2 - 1
    near = k * k < 4 * (order + 1)
    small, large = np.where(near, k, 1.0), np.where(near, 4 * (order + 2), k)
    low, high = _series(order, small**2 / 4), _series(order + 1, small**2 / 4)
    first = ive(order, large)
    scaled = math.lgamma(order + 1) + order * np.log(2 / large) + np.log(first)
    ratio = np.where(near, small / dim * (1 + high) / (1 + low), ive(order + 1, large) / first)
    log_mean = np.where(near, np.log1p(low) - small, scaled)
    return torch.as_tensor(ratio).to(kappa.device), torch.as_tensor(log_mean).to(kappa.device)


class _Ratio(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kappa: Tensor, dim: int) -> Tensor:
        ratio = _bessel(kappa, dim)[0].to(kappa.dtype)
        ctx.dim = dim
        ctx.save_for_backward(kappa, ratio)
        return ratio

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        kappa, ratio = ctx.saved_tensors
        return grads[0] * (1 - ratio.square() - (ctx.dim - 1) * ratio / kappa), None


class _LogMeanExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kappa: Tensor, dim: int) -> Tensor:
        ctx.dim = dim
        ctx.save_for_backward(kappa)
        return _bessel(kappa, dim)[1].to(kappa.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (kappa,) = ctx.saved_tensors
        return grads[0] * (bessel_ratio(kappa, ctx.dim) - 1), None


def bessel_ratio(kappa: Tensor, dim: int) -> Tensor:
    r"""Return the mean cosine of a von Mises-Fisher distribution, with the shape of ``kappa``.

    .. math:: A_d(\kappa) = I_{d/2}(\kappa) / I_{d/2-1}(\kappa), \qquad
        A' = 1 - A^2 - (d - 1) A / \kappa

    Arguments:
        kappa: The concentration, above 0; in float64 for all digits.
        dim: The dimension of the space, at least 2.
    """
    return _Ratio.apply(kappa, dim)  # type: ignore[no-any-return, no-untyped-call]


def log_mean_exp(kappa: Tensor, dim: int) -> Tensor:
    r"""Return the normalizer of a von Mises-Fisher distribution, with the shape of ``kappa``.

    .. math:: \log \mathbb E_{w} e^{\kappa (w - 1)} = \log
        \frac{\Gamma(d/2) I_{d/2-1}(\kappa)}{(\kappa / 2)^{d/2-1}} - \kappa

    where :math:`w` is the cosine of a uniform direction. Its derivative is :math:`A_d(\kappa) - 1`.

    Arguments:
        kappa: The concentration, above 0; in float64 for all digits.
        dim: The dimension of the space, at least 2.
    """
    return _LogMeanExp.apply(kappa, dim)  # type: ignore[no-any-return, no-untyped-call]


class VonMisesFisher(Distribution):
    r"""Directions about a mean direction: what a normal distribution is to a line, on a sphere.

    .. math:: \log p(z) = \kappa \mu^\top z - \log \int_{S^{d-1}} e^{\kappa \mu^\top y} dy

    A draw is an angle to the mean direction and a direction across it. The angle is drawn by
    rejection, in rounds over all that are not yet accepted. Its gradient does not go through the
    proposals, since the choice among them depends on :math:`\kappa` too: it is that of the
    quantile of the angle, by quadrature, and so exact. The direction across turns with the mean
    direction along the shortest way.

    References:
        Hyperspherical Variational Auto-Encoders (Davidson et al., 2018),
        https://arxiv.org/abs/1804.00891;
        Simulation of the von Mises Fisher distribution (Wood, 1994),
        https://doi.org/10.1080/03610919408813161;
        Implicit Reparameterization Gradients (Figurnov et al., 2018),
        https://arxiv.org/abs/1805.08498

    Arguments:
        direction: The mean direction, of any length but 0, with shape (*, D).
        kappa: The concentration, above 0, with shape (*).
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, direction: Tensor, kappa: Tensor) -> None:
        # In float64: a float32 keeps no digits of 1 - cos where kappa is large.
        self.mu: Tensor = F.normalize(direction.double(), dim=-1)
        self.kappa: Tensor = kappa.double()
        self.dtype: torch.dtype = direction.dtype
        self.dim: int = direction.shape[-1]
        super().__init__(kappa.shape, Size((self.dim,)), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean direction, of length 1: a code on the sphere; the mean itself lies within."""
        return self.mu.to(self.dtype)

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate."""
        ratio = bessel_ratio(self.kappa, self.dim)
        across = ratio / self.kappa
        along = 1 - (self.dim - 1) * across - ratio.square()
        square = self.mu.square()
        found: Tensor = along[..., None] * square + across[..., None] * (1 - square)
        return found.to(self.dtype)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw with a gradient; shape (*sample_shape, *batch_shape, D)."""
        shape = self._extended_shape(sample_shape)
        kappa, mu = self.kappa.expand(shape[:-1]), self.mu.expand(shape)
        fixed = mu.detach()
        theta = _angle(kappa, _angles(kappa.detach(), self.dim), self.dim)
        across = torch.randn(shape, device=mu.device, dtype=mu.dtype)
        across = F.normalize(across - (across * fixed).sum(-1, keepdim=True) * fixed, dim=-1)
        # Nothing is taken off, since the two are at right angles; but when mu turns, so does this.
        across = across - fixed * (across * mu).sum(-1, keepdim=True)
        theta = theta.unsqueeze(-1)
        return (theta.cos() * mu + theta.sin() * across).to(self.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density with respect to the area of the sphere, in nats."""
        # kappa (cos - 1) by the chord, which has the digits that the cosine has lost.
        chord = -0.5 * self.kappa * (value.double() - self.mu).square().sum(-1)
        found: Tensor = chord - log_mean_exp(self.kappa, self.dim) - log_area(self.dim)
        return found.to(self.dtype)


def _angles(kappa: Tensor, dim: int) -> Tensor:
    """Draw angles to the mean direction, in (0, pi), with the shape of ``kappa``, by rejection."""
    flat = kappa.reshape(-1)
    gamma = torch.distributions.Gamma(flat.new_tensor((dim - 1) / 2), flat.new_ones(()))
    theta, left = torch.zeros_like(flat), torch.arange(len(flat), device=flat.device)
    for _ in range(ROUNDS):
        k = flat[left]
        b = (dim - 1) / (2 * k + (4 * k * k + (dim - 1) ** 2).sqrt())
        # Wood's proposal, its beta draw as a ratio of two gamma draws: 1 - cos keeps its digits.
        up, down = gamma.sample((2, len(k)))
        theta[left] = 2 * torch.atan2((b * up).sqrt(), down.sqrt())
        tilt = 2 * k * (b / (1 + b) - b * up / (down + b * up))
        spread = (up + down) * (1 + b) / (2 * (down + b * up))
        accepted = torch.rand_like(k).log() <= tilt + (dim - 1) * spread.log()
        left = left[~accepted]
        if not len(left):
            break
    return theta.reshape(kappa.shape)


class _Angle(torch.autograd.Function):
    r"""An angle as a function of kappa, at a fixed quantile.

    With the density :math:`f(\phi) \propto e^{\kappa \cos \phi} \sin^{d-2} \phi`,

    .. math:: \frac{d\theta}{d\kappa} = - \frac{\partial_\kappa F(\theta)}{f(\theta)}
        = - \int_0^\theta (\cos\phi - A_d(\kappa)) \frac{f(\phi)}{f(\theta)} d\phi

    or, which is the same, the integral from :math:`\theta` to :math:`\pi`: the one that leads away
    from the peak of the density is taken.
    """

    @staticmethod
    def forward(ctx: Any, kappa: Tensor, theta: Tensor, dim: int) -> Tensor:
        ctx.dim = dim
        ctx.save_for_backward(kappa, theta)
        return theta.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        kappa, theta = ctx.saved_tensors
        return grads[0] * _angle_slope(kappa, theta, ctx.dim), None, None


def _angle(kappa: Tensor, theta: Tensor, dim: int) -> Tensor:
    """Return angles that were drawn for kappa, with a gradient to it."""
    return _Angle.apply(kappa, theta, dim)  # type: ignore[no-any-return, no-untyped-call]


def _angle_slope(kappa: Tensor, theta: Tensor, dim: int) -> Tensor:
    """Return the derivative of angles with respect to kappa, with the shape of both."""
    peak = 2 * kappa / (dim - 2 + ((dim - 2) ** 2 + 4 * kappa * kappa).sqrt())
    before = theta.cos() > peak
    # Beyond 13 widths of the peak nothing is left.
    reach = 13 / (kappa * peak + dim - 2).sqrt()
    length = torch.where(before, torch.minimum(theta, reach), torch.minimum(math.pi - theta, reach))
    node, weight = (x.to(theta) for x in _nodes())
    step = torch.where(before, -length, length).unsqueeze(-1) * node
    phi, theta, kappa = theta.unsqueeze(-1) + step, theta.unsqueeze(-1), kappa.unsqueeze(-1)
    # cos phi - cos theta as a product: the difference has no digits for small steps.
    fall = -2 * torch.sin(theta + step / 2) * torch.sin(step / 2)
    ratio = (kappa * fall + (dim - 2) * (phi.sin() / theta.sin()).log()).exp()
    above = theta.cos() + fall - bessel_ratio(kappa, dim)
    total = (above * ratio * weight).sum(-1) * length
    return torch.where(before, -total, total)


@cache
def _nodes() -> tuple[Tensor, Tensor]:
    """Return points and weights of a quadrature over (0, 1)."""
    node, weight = np.polynomial.legendre.leggauss(NODES)
    return torch.from_numpy((node + 1) / 2), torch.from_numpy(weight / 2)


class HypersphericalUniform(Distribution):
    r"""Every direction alike.

    .. math:: \log p(z) = -\log \frac{2 \pi^{d/2}}{\Gamma(d/2)}

    Arguments:
        like: A tensor of the shape (D) of one direction; its device and type are taken.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, like: Tensor) -> None:
        self.like, self.dim = like, like.shape[-1]
        super().__init__(Size(), like.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Zero, which is no direction."""
        return torch.zeros_like(self.like)

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate."""
        return torch.full_like(self.like, 1 / self.dim)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw directions; shape (*sample_shape, D)."""
        shape = self._extended_shape(sample_shape)
        noise = torch.randn(shape, device=self.like.device, dtype=self.like.dtype)
        return F.normalize(noise, dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density with respect to the area of the sphere, in nats."""
        return value.new_full(value.shape[:-1], -log_area(self.dim))


@register_kl(VonMisesFisher, HypersphericalUniform)
def _kl_vmf_uniform(q: VonMisesFisher, p: HypersphericalUniform) -> Tensor:
    # k A - log E exp(k w): the areas cancel, and the scaling by exp(-k) is put back in A - 1.
    ratio = bessel_ratio(q.kappa, q.dim)
    found: Tensor = q.kappa * (ratio - 1) - log_mean_exp(q.kappa, q.dim)
    return found.to(q.dtype)
