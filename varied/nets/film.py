"""Feature-wise linear modulation: the context scales and shifts each hidden layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.nets.mlp import ACTIVATIONS

__all__ = ["ContextLayer", "ContextSequential", "Film", "add_film"]


class ContextLayer(nn.Module):
    """A layer that takes the context after its input: ``layer(h, c)``.

    A block that holds an ``nn.Sequential`` and gives ``*c`` on to it is modulated inside.
    """


class ContextSequential(nn.Sequential, ContextLayer):
    """Layers in a row, of which some read the context."""

    def forward(self, h: Tensor, c: Tensor) -> Tensor:  # type: ignore[override]
        """Return what the last layer gives.

        Arguments:
            h: The input, with shape (N, *inputs).
            c: The context, with shape (N, F).
        """
        for layer in self:
            h = layer(h, c) if isinstance(layer, ContextLayer) else layer(h)
        return h


class Film(ContextLayer):
    r"""An activation whose input the context scales and shifts; it starts as the activation alone.

    .. math:: h' = a((1 + \gamma(c)) \odot h + \beta(c))

    References:
        FiLM: Visual Reasoning with a General Conditioning Layer (Perez et al., 2018),
        https://arxiv.org/abs/1709.07871

    Arguments:
        activation: The activation.
        channels: The channels of its input.
        context: The number F of features of the context.
    """

    def __init__(self, activation: nn.Module, channels: int, context: int) -> None:
        super().__init__()
        self.activation, self.affine = activation, nn.Linear(context, 2 * channels)
        nn.init.zeros_(self.affine.weight)
        nn.init.zeros_(self.affine.bias)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """Return the activation, with the shape of ``h``.

        Arguments:
            h: With shape (N, C, *rest).
            c: The context, with shape (N, F).
        """
        affine = self.affine(c).to(h.dtype).view(len(h), -1, *[1] * (h.dim() - 2))
        scale, shift = affine.chunk(2, 1)
        return self.activation(h + (scale * h + shift))  # type: ignore[no-any-return]


def add_film(net: nn.Module, inputs: tuple[int, ...], context: int) -> ContextSequential:
    """Return a net whose activations are modulated by a context; it is called ``net(b, c)``.

    Activations are found in an ``nn.Sequential``, and in the blocks in it that are `Conditional`.

    Arguments:
        net: A net; its weights are kept, its activations are wrapped.
        inputs: The shape of one input.
        context: The number F of features of the context.

    Raises:
        VariedError: If there is no activation to modulate.
    """
    channels = _channels(net, inputs)
    chain = ContextSequential(*net) if type(net) is nn.Sequential else ContextSequential(net)
    _wrap(chain, channels, context)
    if not any(isinstance(module, Film) for module in chain.modules()):
        raise VariedError(
            "This net has no hidden layer for FiLM to modulate: give it a depth of 1 or more, or "
            "let it read the context by concatenation."
        )
    return chain


_KINDS = (*ACTIVATIONS.values(), nn.GLU)


def _channels(net: nn.Module, inputs: tuple[int, ...]) -> dict[nn.Module, int]:
    """Return the channels that each activation meets, as one pass of zeros shows them."""
    found: dict[nn.Module, int] = {}

    def look(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        found[module] = args[0].shape[1]

    kinds = [module for module in net.modules() if isinstance(module, _KINDS)]
    hooks = [module.register_forward_pre_hook(look) for module in kinds]
    training = net.training
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, *inputs))
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    return found


def _wrap(module: nn.Module, channels: dict[nn.Module, int], context: int) -> None:
    """Wrap the activations in a module, and those in its rows and blocks."""
    for name, child in module.named_children():
        if child in channels and isinstance(module, ContextSequential):
            setattr(module, name, Film(child, channels[child], context))
            continue
        if type(child) is nn.Sequential:  # one of another class may run its layers otherwise
            child = ContextSequential(*child)
            setattr(module, name, child)
        if isinstance(child, ContextLayer):
            _wrap(child, channels, context)
