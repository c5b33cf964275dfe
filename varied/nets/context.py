"""Context for any net: a label or a number beside the input, or in every hidden layer."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from varied.errors import lookup
from varied.nets.film import add_film

__all__ = ["CONTEXTS", "ConcatContext", "concatenate", "film", "with_context"]

Shape = tuple[int, ...]
Build = Callable[[Shape], nn.Module]


class ConcatContext(nn.Module):
    """A net that reads its context as well: as features of a vector, or as one plane of a picture.

    The plane is a learned linear map of the context. A plane for each feature would make the first
    layer of a fully connected net as many times as large.

    Arguments:
        net: A module whose input is wider by the context's features, or by one channel.
        inputs: The shape of one input, without context.
        context: The number F of features of the context.
    """

    def __init__(self, net: nn.Module, inputs: tuple[int, ...], context: int) -> None:
        super().__init__()
        self.net, self.plane = net, (1, *inputs[1:])
        size = math.prod(inputs[1:])
        self.paint = nn.Linear(context, size) if inputs[1:] else None

    def forward(self, b: Tensor, c: Tensor) -> Tensor:
        """Return the net's output.

        Arguments:
            b: The input, with shape (N, C, *rest).
            c: The context, with shape (N, F).
        """
        beside = c if self.paint is None else self.paint(c).unflatten(1, self.plane)
        return self.net(torch.cat([b, beside.to(b.dtype)], 1))  # type: ignore[no-any-return]


def concatenate(build: Build, inputs: Shape, context: int) -> nn.Module:
    """Put the context beside the input; the net is built wider for it.

    Arguments:
        build: A function from the shape of one input to a net.
        inputs: The shape of one input, without context.
        context: The number of features of the context.
    """
    wider = inputs[0] + (1 if inputs[1:] else context)
    return ConcatContext(build((wider, *inputs[1:])), inputs, context)


def film(build: Build, inputs: Shape, context: int) -> nn.Module:
    """Let the context scale and shift each hidden layer; at the start it does nothing.

    References:
        FiLM: Visual Reasoning with a General Conditioning Layer (Perez et al., 2018),
        https://arxiv.org/abs/1709.07871

    Arguments:
        build: A function from the shape of one input to a net.
        inputs: The shape of one input, without context.
        context: The number of features of the context.
    """
    return add_film(build(inputs), inputs, context)


CONTEXTS: dict[str, Callable[[Build, Shape, int], nn.Module]] = {
    "concatenate": concatenate,
    "film": film,
}


def with_context(build: Build, inputs: Shape, context: int, how: str = "concatenate") -> nn.Module:
    """Return a net for inputs and a context of so many numbers; as it is where there are none.

    Arguments:
        build: A function from the shape of one input to a net.
        inputs: The shape of one input, without context.
        context: The number of features of the context.
        how: concatenate or film.

    Raises:
        VariedError: If there is no such way, or the net has no place for it.
    """
    way = lookup(CONTEXTS, how, "way for a context")
    return way(build, inputs, context) if context else build(inputs)
