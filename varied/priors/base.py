"""The base class for priors, and helper functions for distributions over latents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from varied.errors import VariedError
from varied.trace import ConditionalDistribution

Shape = tuple[int, ...]


class Prior(nn.Module, ABC):
    """A distribution over latents, optionally conditioned on a context.

    Arguments:
        event: The shape of a latent variable.
    """

    #: The properties that the distributions provide to terms: "density", "marginals" or "parts"
    #: (the distribution is a product, and the KL of each factor has a closed form).
    provides: frozenset[str] = frozenset({"density", "marginals"})
    #: Whether the constructor takes the number of context features as its second argument.
    reads_context: bool = False
    #: Whether the prior is fitted to the codes of the training data after the model is trained.
    fitted_later: bool = False
    #: Whether `fit` fits the prior to all codes at once, instead of using gradient steps.
    has_direct_fit: bool = False
    #: Settings that override the defaults of a `varied.spec.Plan` when the prior is fitted.
    default_plan: Mapping[str, Any] = MappingProxyType({})
    #: The space of the latents; the posterior and the prior must have the same space.
    space: str = "real"
    #: The number of context features; 0 for none.
    context: int = 0

    zero: Tensor
    _encoder: ConditionalDistribution | None

    def __init__(self, event: Shape) -> None:
        super().__init__()
        self.event_shape = tuple(event)
        self.register_buffer("zero", torch.zeros(self.event_shape), persistent=False)
        self._encoder = None

    @property
    def is_fittable(self) -> bool:
        """Whether the prior can be fitted to codes after the model is trained."""
        return self.has_direct_fit or any(True for _ in self.parameters())

    @property
    def encoder(self) -> ConditionalDistribution:
        """The attached encoder q(z | x).

        Raises:
            VariedError: If no encoder was attached.
        """
        if self._encoder is None:
            raise VariedError(
                f"{type(self).__name__} requires an encoder; call attach(encoder) first."
            )
        return self._encoder

    def attach(self, encoder: ConditionalDistribution) -> None:
        """Make the encoder available to the prior before training or loading weights."""
        # Not registered as a submodule, since its weights would be saved and trained twice.
        object.__setattr__(self, "_encoder", encoder)

    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Initialize the prior from the first training rows, without gradients.

        Arguments:
            x: Examples, with shape (N, *shape of x). A prior that is fitted after the model is
                trained instead receives the data to which it is fitted: latents with shape
                (N, *event), or codes with shape (N, num_tokens).
            c: The contexts, with shape (N, F), or None.
        """

    def fit(self, z: Tensor, c: Tensor | None = None) -> None:
        """Fit the prior to all latents at once; only priors with ``has_direct_fit`` implement this.

        Arguments:
            z: Latents with shape (N, *event).
            c: The contexts, with shape (N, F), or None.

        Raises:
            NotImplementedError: If the prior cannot be fitted directly.
        """
        raise NotImplementedError

    @abstractmethod
    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return p(z | c), with batch shape () or (B)."""

    def standardize(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Remove the effect of the context on latent variables.

        A prior that does not depend on the context returns them unchanged.

        Arguments:
            z: Latent variables, with shape (N, *event).
            c: The contexts, with shape (N, F) or (1, F), or None.
        """
        return z

    def unstandardize(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Return the latent variables whose standardized values are ``z``; see `standardize`."""
        return z

    def _given_context(self, c: Tensor | None) -> Tensor | None:
        """Return the context, or zeros if it is missing; None if the prior is unconditional."""
        if not self.context:
            return None
        return self.zero.new_zeros(self.context) if c is None else c


def to_size(shape: Any) -> torch.Size:
    """Convert a sample shape or a number of samples to a ``torch.Size``."""
    return torch.Size((shape,) if isinstance(shape, int) else shape)


def expand_context(c: Tensor | None, lead: torch.Size) -> tuple[Tensor, ...]:
    """Return a tuple with the contexts of all latents as rows, or an empty tuple for None."""
    return () if c is None else (c.expand(*lead, -1).reshape(lead.numel(), c.shape[-1]),)


def apply_in_chunks(
    function: Callable[..., Tensor], *rows: Tensor, floats_per_row: int, max_floats: int = 2**23
) -> Tensor:
    """Apply a function to chunks of rows, to limit memory usage.

    Arguments:
        function: A row-wise function that maps tensors with n rows to a tensor with n rows.
        rows: Tensors with N rows each.
        floats_per_row: The number of floats that the function stores for each row.
        max_floats: The maximum number of floats to store at once.
    """
    size = max(1, max_floats // floats_per_row)
    if len(rows[0]) <= size:
        return function(*rows)
    chunks = zip(*(tensor.split(size) for tensor in rows), strict=True)
    return torch.cat([function(*chunk) for chunk in chunks])
