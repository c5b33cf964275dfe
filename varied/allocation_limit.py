"""Counting the elements of a model while it is built, so that no model exceeds free memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from varied.data.memory import check_memory
from varied.errors import VariedError

#: The functions that create masks from vectors, in autoregressive networks.
_OUTER = frozenset((torch.outer, Tensor.gt, Tensor.__gt__, Tensor.__getitem__))

T = TypeVar("T")

#: The number of elements (64 MiB) beyond which a model is first built without memory.
_MAX_ELEMENTS = 2**24
#: Tensors of at most this number of elements always have memory, since parts may read them.
_SMALL = 2**12
#: The maximum number of tensors. A transformer with a hundred layers has about a thousand.
_MAX_TENSORS = 8_000
#: The largest integer that is passed to a PyTorch function as a size.
_MAX_SIZE = 2**40
#: The functions that create tensors.
_FACTORIES = frozenset(
    (
        *(torch.arange, torch.empty, torch.eye, torch.full, torch.linspace),
        *(torch.ones, torch.rand, torch.randn, torch.zeros),
    )
)


def build_within_memory(build: Callable[[], T], max_weights: float = math.inf) -> T:
    """Build a model, unless its weights do not fit in memory.

    The tensors of a large model are first created on the ``meta`` device, without memory.

    Arguments:
        build: The function that builds the model, which may be called twice.
        max_weights: The number of weights above which a large model is refused.

    Raises:
        VariedError: If there are too many weights, or they would take more than half of the
            available memory.
    """
    counter = _ElementCounter(max_weights)
    try:
        with counter:
            model = build()
    except _TooLarge:
        raise
    except Exception:
        if not counter.is_exceeded:
            raise
    counter.check()
    return build() if counter.is_exceeded else model


class _TooLarge(VariedError):
    """An error for a model that does not fit in memory."""


class _ElementCounter(TorchFunctionMode):
    """Counts the elements of new tensors; above a limit, new tensors have no memory."""

    def __init__(self, max_weights: float) -> None:
        super().__init__()
        self.max_weights = max_weights
        self.n_tensors, self.n_elements, self.n_checked = 0, 0, _MAX_ELEMENTS

    @property
    def is_exceeded(self) -> bool:
        """Whether tensors were created without memory."""
        return self.n_elements > _MAX_ELEMENTS

    def check(self) -> None:
        """Raise an error if the elements do not fit in memory."""
        if self.is_exceeded:
            if self.n_elements > self.max_weights:
                raise _TooLarge(
                    f"The spec describes a model with {self.n_elements:,} weights or more, but the "
                    "run has fewer; restore its spec.toml and codec.json."
                )
            try:
                check_memory(
                    4 * self.n_elements,
                    f"A model with {self.n_elements:,} weights or more",
                    "reduce the width, the depth, the latent dimensions or the size of the data",
                )
            except VariedError as error:
                raise _TooLarge(str(error)) from None

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a PyTorch function, and count new elements; large tensors may have no memory."""
        kwargs = kwargs or {}
        without_memory, size = None, 0
        if func in _FACTORIES:
            size = _largest(args)
            if size <= _MAX_SIZE:
                without_memory = func(*args, **kwargs | {"device": "meta"})
        elif func in _OUTER and max(map(_num_elements, args)) > _SMALL:
            on_meta = (x.to("meta") if isinstance(x, Tensor) else x for x in args)
            without_memory = func(*on_meta, **kwargs)
        else:
            return func(*args, **kwargs)
        size = size if without_memory is None else without_memory.numel()
        self.n_elements += size
        self.n_tensors += 1
        if self.n_tensors > _MAX_TENSORS:
            raise _TooLarge(
                f"The model would have more than {_MAX_TENSORS:,} weight tensors; reduce the depth "
                "or the number of levels."
            )
        if self.n_elements > self.n_checked:
            self.check()
            self.n_checked = 2 * self.n_elements
        if self.is_exceeded and size > _SMALL:
            return without_memory
        return func(*args, **kwargs)


def _num_elements(value: Any) -> int:
    return value.numel() if isinstance(value, Tensor) else 0


def _largest(arguments: Any) -> int:
    """Return the largest integer in nested tuples and lists."""
    if isinstance(arguments, tuple | list):
        return max(map(_largest, arguments), default=0)
    return arguments if isinstance(arguments, int) else 0
