"""Fully connected networks."""

from __future__ import annotations

import itertools
import math

from torch import nn

from varied.errors import VariedError, lookup

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
    gated: bool = False,
) -> nn.Module:
    r"""Return a fully connected network for inputs and outputs of any shape.

    A gated layer multiplies a linear map by the sigmoid of another (a gated linear unit):

    .. math:: h' = (A h + a) \odot \sigma(B h + b)

    References:
        Language Modeling with Gated Convolutional Networks (Dauphin et al., 2017),
        https://arxiv.org/abs/1612.08083

    Arguments:
        inputs: The shape of one input.
        outputs: The shape of one output.
        width: The number of hidden units in each layer.
        depth: The number of hidden layers; 0 for a linear map.
        activation: The activation: gelu, relu, silu, softplus or tanh.
        gated: Whether to use gated linear units instead of the activation.

    Raises:
        VariedError: If the width is below 1, the depth is negative, or the activation is unknown.
    """
    if width < 1 or depth < 0:
        raise VariedError(
            f"width must be at least 1 and depth at least 0, got width={width} and depth={depth}."
        )
    act = lookup(ACTIVATIONS, activation, "activation")
    sizes = [math.prod(inputs), *[width] * depth]
    layers: list[nn.Module] = [nn.Flatten()]
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, 2 * b), nn.GLU(1)] if gated else [nn.Linear(a, b), act()]
    last = nn.Linear(sizes[-1], math.prod(outputs))
    return nn.Sequential(*layers, last, nn.Unflatten(1, outputs))
