"""Networks that map inputs of one shape to outputs of another, independent of any distribution.

Each builder ``net(inputs, outputs, **settings) -> nn.Module`` returns a module that maps
``(N, *inputs)`` to ``(N, *outputs)``. `with_context` makes such a network depend on a context.
"""

from collections.abc import Callable

from torch import nn

from varied.nets.context import CONTEXTS, with_context
from varied.nets.conv import conv
from varied.nets.conv1d import conv1d
from varied.nets.mlp import mlp
from varied.nets.resnet import Residual, resnet

__all__ = ["CONTEXTS", "NETS", "Residual", "conv", "conv1d", "mlp", "resnet", "with_context"]

NETS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "conv": conv,
    "conv1d": conv1d,
    "resnet": resnet,
}
