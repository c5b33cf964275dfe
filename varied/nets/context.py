"""Networks that are conditioned on a context, by concatenation or by FiLM."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from varied.errors import lookup
from varied.nets.film import add_film

Shape = tuple[int, ...]
Build = Callable[[Shape], nn.Module]


class ConcatContext(nn.Module):
    """A network whose input is concatenated with the context.

    The context is appended to a vector, or added to an image as a single channel. This channel is a
    learned linear map of the context, since one channel per feature would multiply the size of the
    first layer of a fully connected network.

    Arguments:
        net: A network whose input includes the context.
        inputs: The shape of one input, without the context.
        context: The number F of context features.
    """

    def __init__(self, net: nn.Module, inputs: tuple[int, ...], context: int) -> None:
        super().__init__()
        self.net, self.channel_shape = net, (1, *inputs[1:])
        self.projection = nn.Linear(context, math.prod(inputs[1:])) if inputs[1:] else None

    def forward(self, b: Tensor, c: Tensor) -> Tensor:
        """Return the output of the network.

        Arguments:
            b: The input, with shape (N, C, *rest).
            c: The context, with shape (N, F).
        """
        if self.projection is not None:
            c = self.projection(c).unflatten(1, self.channel_shape)
        return self.net(torch.cat([b, c.to(b.dtype)], 1))  # type: ignore[no-any-return]


def concatenate(build: Build, inputs: Shape, context: int) -> nn.Module:
    """Return a network whose input is concatenated with the context.

    Arguments:
        build: A function that builds a network from the shape of one input.
        inputs: The shape of one input, without the context.
        context: The number of context features.
    """
    channels = inputs[0] + (1 if inputs[1:] else context)
    return ConcatContext(build((channels, *inputs[1:])), inputs, context)


def film(build: Build, inputs: Shape, context: int) -> nn.Module:
    """Return a network in which the context scales and shifts each hidden layer.

    At initialization, the context has no effect.

    References:
        FiLM: Visual Reasoning with a General Conditioning Layer (Perez et al., 2018),
        https://arxiv.org/abs/1709.07871

    Arguments:
        build: A function that builds a network from the shape of one input.
        inputs: The shape of one input, without the context.
        context: The number of context features.
    """
    return add_film(build(inputs), inputs, context)


CONTEXTS: dict[str, Callable[[Build, Shape, int], nn.Module]] = {
    "concatenate": concatenate,
    "film": film,
}


def with_context(
    build: Build, inputs: Shape, context: int, method: str = "concatenate"
) -> nn.Module:
    """Return a network that is conditioned on a context.

    Arguments:
        build: A function that builds a network from the shape of one input.
        inputs: The shape of one input, without the context.
        context: The number of context features; if 0, the network does not take a context.
        method: The conditioning method: "concatenate" or "film".

    Raises:
        VariedError: If the method is unknown, or the network has no hidden layer for FiLM.
    """
    condition = lookup(CONTEXTS, method, "conditioning method")
    return condition(build, inputs, context) if context else build(inputs)
