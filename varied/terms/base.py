"""What a term is, what it may read, and the numbers that move."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.trace import Trace

__all__ = ["Term", "full_precision", "latent_gradient", "no_compile", "requires"]

F = TypeVar("F", bound=Callable[..., object])


class Term(Protocol):
    """A function from a trace to one number for each datum, with shape (B), in nats."""

    def __call__(self, trace: Trace) -> Tensor:
        """Return the term of each datum."""
        ...


def requires(*what: str) -> Callable[[F], F]:
    """Mark what a term reads of the distributions: "density" or "marginals"."""

    def mark(term: F) -> F:
        term.requires = frozenset(what)  # type: ignore[attr-defined]
        return term

    return mark


def full_precision(term: F) -> F:
    """Run a term outside autocast: products of small differences are lost in bfloat16."""

    @wraps(term)
    def outside(*args: Any) -> object:
        trace: Trace = args[-1]
        with torch.autocast(trace.x.device.type, enabled=False):
            return term(*args)

    return cast(F, outside)


def no_compile(term: F) -> F:
    """Mark a term that takes gradients in the midst of a step: such a step must not be compiled.

    A compiled step is one node to autograd, and what happens within cannot be taken apart.
    """
    term.eager = True  # type: ignore[attr-defined]
    return term


def latent_gradient(value: Tensor, z: Tensor, *, create_graph: bool = False) -> Tensor:
    """Return how a scalar changes with the latents, with the shape of ``z``.

    Raises:
        VariedError: If how it depends on them cannot be seen, as in a compiled step.
    """
    if not value.requires_grad:  # a constant, such as the density on a sphere
        return torch.zeros_like(z)
    found: Tensor | None = torch.autograd.grad(
        value, z, retain_graph=True, create_graph=create_graph, allow_unused=True
    )[0]
    if found is None:
        raise VariedError(
            "This objective takes slopes in z in the midst of a step, and a compiled step hides "
            "them; train with compile='no'."
        )
    return found
