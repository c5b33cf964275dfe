"""Context for any net: a label or a number beside the input."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["WithContext", "with_context"]


class WithContext(nn.Module):
    """A net that reads its context as further features of a vector, or further planes of a picture.

    Arguments:
        net: A module whose input has ``context`` more features or channels.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, b: Tensor, c: Tensor) -> Tensor:
        """Return the net's output.

        Arguments:
            b: The input, with shape (N, C, *rest).
            c: The context, with shape (N, F).
        """
        spread = c.reshape(*c.shape, *[1] * (b.dim() - 2)).expand(*c.shape, *b.shape[2:])
        return self.net(torch.cat([b, spread], 1))  # type: ignore[no-any-return]


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
    return WithContext(build((inputs[0] + context, *inputs[1:])))
