"""What every prior is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

__all__ = ["Encoder", "Prior", "chunked", "to_size"]


class Encoder(Protocol):
    """What a prior may ask of the encoder q(z given x, c)."""

    head: Any
    inputs: tuple[int, ...]

    def __call__(self, b: Tensor, c: Tensor | None = None) -> Distribution:
        """Return q(z given b, c)."""
        ...


class Prior(nn.Module, ABC):
    """A distribution over latents, given a context or none.

    A prior that is fitted to the latents in one go, without steps, also has a method
    ``fit(z, c=None)``, with rows of latents and their contexts; it takes the place of the loop.

    Arguments:
        event: The shape of a latent.
    """

    #: What its distributions give, for terms that read it: "density" and "marginals".
    provides: frozenset[str] = frozenset({"density", "marginals"})
    #: Whether the constructor takes the number of features of the context after the event.
    reads_context: bool = False
    #: Whether it is trained after the model, on what the encoder says, and not beside it.
    fitted_later: bool = False
    #: What a prior that is fitted later is trained on: "latents", or "codes" for their indices.
    over: str = "latents"
    #: How a fit of it differs from the usual `varied.spec.Plan` of a fit.
    default_plan: Mapping[str, Any] = MappingProxyType({})
    #: Where its latents lie; as the posterior's.
    space: str = "real"

    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__()
        self.event_shape = tuple(event)

    def attach(self, encoder: Encoder) -> None:
        """Take the encoder, once, before anything is trained or loaded.

        A prior that asks the encoder later keeps it in a tuple: as a module of its own its weights
        would be saved, and stepped, twice.
        """

    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Take the first rows, without gradient, for a start that depends on data.

        Arguments:
            x: Rows of data, with shape (N, *event of a datum). A prior that is fitted later is not
                asked beside the model, but at the start of its own training: then these are latents
                with shape (N, *event), or indices with shape (N, sites).
            c: Their contexts, with shape (N, F), or None.
        """

    @abstractmethod
    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return p(z given c), with a batch shape of () or (B)."""


def to_size(shape: Any) -> torch.Size:
    """Return a sample shape from one, or from a number of draws."""
    return torch.Size((shape,) if isinstance(shape, int) else shape)


def chunked(function: Callable[..., Tensor], *rows: Tensor, each: int, most: int = 2**23) -> Tensor:
    """Return a function of rows, taken of so few at a time that they fit in memory.

    Arguments:
        function: From tensors of shape (n, ...) to one of shape (n, ...), row by row.
        rows: Tensors with N rows each.
        each: How many numbers the function needs for a row.
        most: How many numbers may stand at a time.
    """
    size = max(1, most // each)
    if len(rows[0]) <= size:
        return function(*rows)
    return torch.cat(
        [function(*piece) for piece in zip(*(r.split(size) for r in rows), strict=True)]
    )
