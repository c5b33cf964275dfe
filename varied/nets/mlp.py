"""Fully connected networks."""

from __future__ import annotations

import itertools
import math

from torch import nn

from varied.errors import VariedError, pick

__all__ = ["ACTIVATIONS", "mlp"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


def mlp(
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    *,
    width: int = 512,
    depth: int = 2,
    activation: str = "silu",
) -> nn.Module:
    """Return a fully connected network; any shape to any shape.

    Arguments:
        inputs: The shape of one input.
        outputs: The shape of one output.
        width: The number of units of each hidden layer.
        depth: The number of hidden layers; 0 is one linear map.
        activation: gelu, relu, silu, softplus or tanh.

    Raises:
        VariedError: If the width is below 1 or the depth below 0.
    """
    if width < 1 or depth < 0:
        raise VariedError(f"width={width} must be at least 1 and depth={depth} at least 0.")
    sizes = [math.prod(inputs), *[width] * depth, math.prod(outputs)]
    layers: list[nn.Module] = [nn.Flatten()]
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), pick(ACTIVATIONS, activation, "activation")()]
    return nn.Sequential(*layers[:-1], nn.Unflatten(1, outputs))
