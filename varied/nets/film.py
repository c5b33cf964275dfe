"""Feature-wise linear modulation (FiLM): the context scales and shifts each hidden layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.nets.mlp import ACTIVATIONS


class ContextLayer(nn.Module):
    """A layer that takes the context as its second argument: ``layer(h, c)``.

    If the layer passes ``*c`` to an ``nn.Sequential``, `add_film` also modulates the activations in
    that sequence.
    """


class ContextSequential(nn.Sequential, ContextLayer):
    """A sequence of layers, some of which take the context."""

    def forward(self, h: Tensor, c: Tensor) -> Tensor:  # type: ignore[override]
        """Return the output of the last layer.

        Arguments:
            h: The input, with shape (N, *inputs).
            c: The context, with shape (N, F).
        """
        for layer in self:
            h = layer(h, c) if isinstance(layer, ContextLayer) else layer(h)
        return h


class Film(ContextLayer):
    r"""An activation whose input is scaled and shifted by the context.

    .. math:: h' = a((1 + \gamma(c)) \odot h + \beta(c))

    Initially, :math:`\gamma = \beta = 0`.

    References:
        FiLM: Visual Reasoning with a General Conditioning Layer (Perez et al., 2018),
        https://arxiv.org/abs/1709.07871

    Arguments:
        activation: The activation.
        channels: The number of channels of the input.
        context: The number F of context features.
    """

    def __init__(self, activation: nn.Module, channels: int, context: int) -> None:
        super().__init__()
        self.activation, self.affine = activation, nn.Linear(context, 2 * channels)
        nn.init.zeros_(self.affine.weight)
        nn.init.zeros_(self.affine.bias)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """Return the output of the activation.

        Arguments:
            h: The input, with shape (N, C, *rest).
            c: The context, with shape (N, F).
        """
        affine = self.affine(c).to(h.dtype).view(len(h), -1, *[1] * (h.dim() - 2))
        scale, shift = affine.chunk(2, 1)
        return self.activation(h + (scale * h + shift))  # type: ignore[no-any-return]


def add_film(net: nn.Module, inputs: tuple[int, ...], context: int) -> ContextSequential:
    """Return a network ``net(b, c)`` whose activations are modulated by a context.

    The activations in each ``nn.Sequential`` and `ContextLayer` of the network are modulated.

    Arguments:
        net: A network; its weights are kept, and its activations are wrapped in `Film`.
        inputs: The shape of one input.
        context: The number F of context features.

    Raises:
        VariedError: If there is no activation to modulate.
    """
    channels = _activation_channels(net, inputs)
    layers = ContextSequential(*net) if type(net) is nn.Sequential else ContextSequential(net)
    _wrap_activations(layers, channels, context)
    if not any(isinstance(module, Film) for module in layers.modules()):
        raise VariedError(
            "This network has no hidden layer that FiLM can modulate; use a depth of at least 1, "
            "or conditioning='concatenate'."
        )
    return layers


def _activation_channels(net: nn.Module, inputs: tuple[int, ...]) -> dict[nn.Module, int]:
    """Return the number of input channels of each activation, from a forward pass of zeros."""
    channels: dict[nn.Module, int] = {}

    def record(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        channels[module] = args[0].shape[1]

    types = (*ACTIVATIONS.values(), nn.GLU)
    activations = [module for module in net.modules() if isinstance(module, types)]
    hooks = [module.register_forward_pre_hook(record) for module in activations]
    training = net.training
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, *inputs))
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    return channels


def _wrap_activations(module: nn.Module, channels: dict[nn.Module, int], context: int) -> None:
    for name, child in module.named_children():
        if child in channels and isinstance(module, ContextSequential):
            setattr(module, name, Film(child, channels[child], context))
            continue
        if type(child) is nn.Sequential:  # a subclass may call its layers differently
            child = ContextSequential(*child)
            setattr(module, name, child)
        if isinstance(child, ContextLayer):
            _wrap_activations(child, channels, context)
