"""Context for any net: a label or a number beside the input."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["WithContext", "with_context"]


class WithContext(nn.Module):
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


def with_context(
    build: Callable[[tuple[int, ...]], nn.Module], inputs: tuple[int, ...], context: int
) -> nn.Module:
    """Return a net for inputs and a context of so many numbers; as it is where there are none.

    Arguments:
        build: A function from the shape of one input to a net.
        inputs: The shape of one input, without context.
        context: The number of features of the context.
    """
    if not context:
        return build(inputs)
    wider = inputs[0] + (1 if inputs[1:] else context)
    return WithContext(build((wider, *inputs[1:])), inputs, context)
