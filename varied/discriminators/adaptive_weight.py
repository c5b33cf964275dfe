"""How loudly a critic may speak: as strong as reconstruction is, and less where that suffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from varied.errors import VariedError

__all__ = [
    "AdaptiveThrottle",
    "adaptive_weight",
    "parameters_of",
    "squared_gradient",
    "with_gradient",
]


class AdaptiveThrottle(nn.Module):
    r"""A factor on a term that is halved while something else gets worse, and recovers slowly.

    It is told an error, positive and the lower the better, and keeps the running mean of it and the
    lowest running mean ever. Above :math:`(1 + \text{tolerance})` times the lowest, the factor is
    halved every ``fall`` steps; below, it is doubled every ``rise`` steps, up to 1.

    All of it is in buffers, so a resumed run brakes as if it had never stopped.

    Arguments:
        tolerance: By how much the error may rise above the lowest, as a share of it.
        fall: Steps in which the factor is halved.
        rise: Steps in which it is doubled.
        window: Steps of the running mean.
    """

    value: Tensor
    now: Tensor
    best: Tensor

    #: The factor never falls below this, so that it can come back.
    LEAST = 2.0**-10

    def __init__(
        self, tolerance: float = 0.3, *, fall: int = 25, rise: int = 200, window: int = 50
    ) -> None:
        super().__init__()
        if tolerance <= 0:
            raise VariedError(
                f"recon_tolerance={tolerance} must be above 0; 0.3 allows 30 % more error."
            )
        self.tolerance, self.window = tolerance, window
        self.steps = {"fall": fall, "rise": rise}
        self.register_buffer("value", torch.ones(()))
        self.register_buffer("now", torch.full((), torch.inf))
        self.register_buffer("best", torch.full((), torch.inf))

    @torch.no_grad()
    def update(self, error: Tensor, *, act: bool = True) -> None:
        """Take note of the error of a step.

        Arguments:
            error: A scalar.
            act: Whether the factor may move; before that only the lowest error is sought.
        """
        moved = self.now + (error - self.now) / self.window
        self.now.copy_(torch.where(self.now.isinf(), error, moved))
        self.best.copy_(torch.minimum(self.best, self.now))
        if act:
            worse = self.now > (1 + self.tolerance) * self.best
            down, up = 2.0 ** (-1 / self.steps["fall"]), 2.0 ** (1 / self.steps["rise"])
            self.value.mul_(torch.where(worse, down, up)).clamp_(self.LEAST, 1.0)


def parameters_of(d: Distribution) -> Iterator[Tensor]:
    """Yield the tensors with a gradient that a distribution was made of, each once."""
    seen: set[int] = set()
    waiting: list[Any] = [d]
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, Distribution):
            waiting += vars(thing).values()
        elif isinstance(thing, tuple | list):
            waiting += thing
        elif isinstance(thing, Tensor) and thing.requires_grad and id(thing) not in seen:
            seen.add(id(thing))
            yield thing


def adaptive_weight(
    d: Distribution, cost: Tensor, shown: Tensor, gradient: Tensor, most: float
) -> Tensor:
    r"""Return how much stronger a cost moves a distribution than a picture of it is moved.

    .. math:: \lambda = \|\nabla_h \, \text{cost}\| \, / \, \|\nabla_h \, \text{shown} \cdot g\|

    where :math:`h` are the numbers that the distribution was made of and that both depend on.

    Arguments:
        d: p(x given z).
        cost: A scalar.
        shown: Pictures that were made of the distribution.
        gradient: What they are moved by, g, of their shape.
        most: The largest ratio.

    Returns:
        A scalar without gradient.

    Raises:
        VariedError: If the pictures depend on nothing that the cost depends on.
    """
    roots = list(parameters_of(d))
    ours = torch.autograd.grad(cost, roots, retain_graph=True, allow_unused=True)
    theirs = torch.autograd.grad(shown, roots, gradient, retain_graph=True, allow_unused=True)
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    if not pairs:
        raise VariedError(
            "A critic needs a likelihood whose mean has a gradient; use likelihood='gaussian'."
        )
    up, down = (torch.stack([g.norm() for g in side]).norm() for side in zip(*pairs, strict=True))
    ratio: Tensor = up / down.clamp(min=1e-12)
    return ratio.clamp(max=most)


def with_gradient(cost: Tensor, made: Tensor, gradient: Tensor) -> Tensor:
    """Return a cost whose gradient is put in by hand.

    One pass through a critic then serves twice: to weigh its gradient, and to use it.

    Arguments:
        cost: A number for each datum, with shape (B); its own gradient is dropped.
        made: What the cost is of, with shape (K, B, *event).
        gradient: Of ``made``, with its shape.

    Returns:
        The cost, with shape (B).
    """
    moved = (made - made.detach()) * gradient
    return cost.detach() + moved.transpose(0, 1).flatten(1).sum(1)


def squared_gradient(
    score: Callable[[Tensor], Tensor], x: Tensor, beside: Tensor | float = 0.0
) -> Tensor:
    r"""Return the mean squared gradient of a score at data, which itself has a gradient.

    .. math:: \mathbb E \, \|\nabla_x D(x)\|^2

    Half of it times a weight is the penalty R1: a critic that is flat on real data does not chase
    the model around them, and so both come to rest.

    References:
        Which Training Methods for GANs do actually Converge? (Mescheder et al., 2018),
        https://arxiv.org/abs/1801.04406

    Arguments:
        score: From data to one number each, with any shape.
        x: Data, with shape (N, *event).
        beside: A gradient that is known and added, with the shape of ``x``.

    Returns:
        A scalar.
    """
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
    return (slope + beside).square().flatten(1).sum(1).mean()
