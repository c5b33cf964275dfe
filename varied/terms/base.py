"""The interface of terms, and decorators for terms that are functions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import update_wrapper, wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from varied.models import LatentModel
from varied.trace import Trace

F = TypeVar("F", bound=Callable[..., object])
TermFunction = Callable[[Trace], Tensor]


class Term(ABC):
    """A summand of an objective: one number per example, in nats, computed from a trace.

    To define a term with settings or state, subclass this class, and also ``nn.Module`` if the term
    has parameters or buffers. To define any other term, decorate a function with `requires`.
    """

    #: The properties that the posterior and the prior must have; see `varied.heads.Head.provides`.
    requires: frozenset[str] = frozenset()
    #: Whether a training step with this term can be compiled.
    can_compile: bool = True

    def attach(self, model: LatentModel) -> None:  # noqa: B027 (optional)
        """Prepare a term that needs more than the trace, before a model is trained or loaded."""

    @abstractmethod
    def __call__(self, trace: Trace) -> Tensor:
        """Return the value of the term for each example, in nats, with shape (B)."""


class FunctionTerm(Term):
    """A term defined by a function.

    Arguments:
        function: Maps a trace to the value for each example, with shape (B).
        requires: The properties that the posterior and the prior must have.
        can_compile: Whether a training step with this term can be compiled.
    """

    def __init__(
        self,
        function: TermFunction,
        requires: frozenset[str] = frozenset(),
        can_compile: bool = True,
    ) -> None:
        self.function, self.requires, self.can_compile = function, requires, can_compile
        update_wrapper(self, function)

    def __call__(self, trace: Trace) -> Tensor:
        """Return the value of the term for each example, in nats, with shape (B)."""
        return self.function(trace)


def requires(*names: str, can_compile: bool = True) -> Callable[[TermFunction], FunctionTerm]:
    """Turn a function into a term.

    Arguments:
        names: The properties that the posterior and the prior must have: "density", "marginals",
            "codes" or "parts".
        can_compile: Whether a training step with this term can be compiled. A term that computes
            gradients cannot be compiled, since autograd sees a compiled step as a single node.
    """
    return lambda function: FunctionTerm(function, frozenset(names), can_compile)


def full_precision(function: F) -> F:
    """Disable autocast in a function or method whose last argument is a trace.

    Differences between nearly equal numbers vanish in bfloat16.
    """

    @wraps(function)
    def without_autocast(*args: Any) -> object:
        trace: Trace = args[-1]
        with torch.autocast(trace.x.device.type, enabled=False):
            return function(*args)

    return cast(F, without_autocast)
