"""Networks map a shape to a shape and know no probability.

Each net is a builder ``net(inputs, outputs, **settings) -> nn.Module`` whose module maps
``(N, *inputs)`` to ``(N, *outputs)``. `with_context` lets any of them read a context as well.
"""

from collections.abc import Callable

from torch import nn

from varied.nets.context import CONTEXTS, with_context
from varied.nets.conv import conv
from varied.nets.mlp import mlp
from varied.nets.resnet import Residual, resnet

__all__ = ["CONTEXTS", "NETS", "Residual", "conv", "mlp", "resnet", "with_context"]

NETS: dict[str, Callable[..., nn.Module]] = {"mlp": mlp, "conv": conv, "resnet": resnet}
