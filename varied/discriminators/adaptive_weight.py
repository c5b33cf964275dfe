"""The adaptive weight of an adversarial loss, based on gradient norms and the squared error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from varied.errors import VariedError
from varied.process_group import current_group


class AdaptiveThrottle(nn.Module):
    r"""A factor that decays while an error is too far above its lowest value, and recovers slowly.

    The error is positive, and lower is better. If its running mean exceeds
    :math:`1 + \text{tolerance}` times the lowest running mean so far, the factor is halved every
    ``halving_steps`` steps; otherwise, it is doubled every ``doubling_steps`` steps, up to 1.

    The entire state is stored in buffers, so a resumed run continues as if it had not been
    interrupted.

    Arguments:
        tolerance: The relative increase in the error that is tolerated.
        halving_steps: The number of steps in which the factor is halved.
        doubling_steps: The number of steps in which the factor is doubled.
        window: The number of steps over which the running mean is taken.
    """

    value: Tensor
    mean: Tensor
    best: Tensor

    #: The minimum factor, which is positive so that the factor can recover.
    MIN = 2.0**-10

    def __init__(
        self,
        tolerance: float = 0.3,
        *,
        halving_steps: int = 25,
        doubling_steps: int = 200,
        window: int = 50,
    ) -> None:
        super().__init__()
        if tolerance <= 0:
            raise VariedError(
                f"recon_tolerance={tolerance} must be above 0; 0.3 allows the squared error to "
                "increase by 30%."
            )
        self.tolerance, self.window = tolerance, window
        self.decrease, self.increase = 2.0 ** (-1 / halving_steps), 2.0 ** (1 / doubling_steps)
        self.register_buffer("value", torch.ones(()))
        self.register_buffer("mean", torch.full((), torch.inf))
        self.register_buffer("best", torch.full((), torch.inf))

    @torch.no_grad()
    def update(self, error: Tensor, *, adjust: bool = True) -> None:
        """Record the error of a step.

        Arguments:
            error: A scalar.
            adjust: Whether to adjust the factor in addition to recording the error.
        """
        error = current_group().mean(error)
        mean = self.mean + (error - self.mean) / self.window
        self.mean.copy_(torch.where(self.mean.isinf(), error, mean))
        self.best.copy_(torch.minimum(self.best, self.mean))
        if adjust:
            is_worse = self.mean > (1 + self.tolerance) * self.best
            factor = torch.where(is_worse, self.decrease, self.increase)
            self.value.mul_(factor).clamp_(self.MIN, 1.0)


def parameters_of(p: Distribution) -> Iterator[Tensor]:
    """Yield each differentiable tensor from which a distribution was constructed, once."""
    visited: set[int] = set()
    stack: list[Any] = [p]
    while stack:
        item = stack.pop()
        if isinstance(item, Distribution):
            stack += vars(item).values()
        elif isinstance(item, tuple | list):
            stack += item
        elif isinstance(item, Tensor) and item.requires_grad and id(item) not in visited:
            visited.add(id(item))
            yield item


def adaptive_weight(
    px: Distribution, loss: Tensor, images: Tensor, gradient: Tensor, max_weight: float
) -> Tensor:
    r"""Return the ratio between the gradient norms of a loss and an adversarial loss.

    .. math:: \lambda = \|\nabla_h \, \text{loss}\| \, / \, \|\nabla_h \, \text{images} \cdot g\|

    where :math:`h` are the parameters of the distribution, on which the loss and images depend.

    Arguments:
        px: The likelihood p(x | z).
        loss: A scalar.
        images: Images that were computed from the distribution.
        gradient: The gradient g of the adversarial loss with respect to the images.
        max_weight: The maximum ratio.

    Returns:
        A detached scalar.

    Raises:
        VariedError: If the loss and the images have no parameters in common.
    """
    params = list(parameters_of(px))
    of_loss = torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True)
    of_images = torch.autograd.grad(images, params, gradient, retain_graph=True, allow_unused=True)
    pairs = [
        (a, b) for a, b in zip(of_loss, of_images, strict=True) if a is not None and b is not None
    ]
    if not pairs:
        raise VariedError(
            "An image discriminator requires a likelihood with a differentiable mean; use "
            "likelihood='gaussian'."
        )
    norms = [torch.stack([g.norm() for g in side]).norm() for side in zip(*pairs, strict=True)]
    group = current_group()
    ratio = group.root_mean_square(norms[0]) / group.root_mean_square(norms[1]).clamp(min=1e-12)
    return ratio.clamp(max=max_weight)


def with_gradient(loss: Tensor, images: Tensor, gradient: Tensor) -> Tensor:
    """Return a loss whose gradient with respect to images is replaced with a given gradient.

    A single pass through a discriminator is then sufficient for both the norm of its gradient and
    the rescaled gradient.

    Arguments:
        loss: The loss of each example, with shape (B); its own gradient is discarded.
        images: The images, with shape (K, B, *event).
        gradient: The gradient, with the shape of ``images``.

    Returns:
        The loss, with shape (B).
    """
    surrogate = (images - images.detach()) * gradient
    return loss.detach() + surrogate.transpose(0, 1).flatten(1).sum(1)


def squared_gradient(
    score: Callable[[Tensor], Tensor], x: Tensor, offset: Tensor | float = 0.0
) -> Tensor:
    r"""Return the mean squared gradient norm of a score, as a differentiable scalar.

    .. math:: \mathbb E \, \|\nabla_x D(x)\|^2

    The R1 penalty is a weight times half this value. It encourages the discriminator to be flat
    around the real data, which helps adversarial training converge.

    References:
        Which Training Methods for GANs do actually Converge? (Mescheder et al., 2018),
        https://arxiv.org/abs/1801.04406

    Arguments:
        score: Maps data to one number per example, with any shape.
        x: Data, with shape (N, *event).
        offset: A gradient to add to the gradient of the score, with the shape of ``x``.

    Returns:
        A scalar.
    """
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
    return (gradient + offset).square().flatten(1).sum(1).mean()
