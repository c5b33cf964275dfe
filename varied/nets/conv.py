"""Convolutional networks for images of any size and any number of channels."""

from __future__ import annotations

import itertools
import math

import torch.nn.functional as F
from torch import Tensor, nn

from varied.errors import lookup
from varied.nets.film import ContextLayer
from varied.nets.image_shapes import Shape, Size, channel_widths, is_encoder, resolve_sizes
from varied.nets.mlp import ACTIVATIONS
from varied.nets.resample import Downsample, Upsample, UpsampleNearest, UpsampleTransposed

UPSAMPLES: dict[str, type[Upsample]] = {
    "transposed": UpsampleTransposed,
    "nearest": UpsampleNearest,
}


def conv(
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    *,
    width: int = 16,
    depth: int | None = None,
    dense_width: int = 512,
    activation: str = "silu",
    upsample: str = "transposed",
    mean_color: bool = False,
) -> nn.Module:
    """Return a convolutional network that encodes or decodes images.

    If the input is an image and the output is a vector or a smaller feature map, the network is an
    encoder, in which each level halves the height and width and doubles the number of channels. In
    the opposite case, the network is a decoder, which does the reverse. For a feature map, the
    dense layer is replaced by another convolution.

    Arguments:
        inputs: The shape of one input: (C, H, W) or (D).
        outputs: The shape of one output: (D) or (C, H, W).
        width: The number of channels at full size; it is doubled at each level, up to 512.
        depth: The number of levels. By default, levels are added until the shorter side is at most
            4, or the size of the feature map is reached.
        dense_width: The number of hidden units between the feature maps and the vector; 0 for no
            hidden layer.
        activation: The activation: gelu, relu, silu, softplus or tanh.
        upsample: The upsampling method: "transposed" for transposed convolutions, or "nearest" for
            nearest-neighbor upsampling before a convolution, which avoids checkerboard artifacts.
        mean_color: Whether a linear function of the mean color is added to the vector that an
            encoder returns, so that the color of small objects is learned earlier.

    References:
        Delving Deep into Rectifiers (He et al., 2015), https://arxiv.org/abs/1502.01852, for the
        initialization.

    Raises:
        VariedError: If neither shape is an image, repeated downsampling by 2 does not result in the
            smaller shape, or a setting is invalid.
    """
    act = lookup(ACTIVATIONS, activation, "activation")
    upsample_type = lookup(UPSAMPLES, upsample, "upsampling method")
    sizes = resolve_sizes(inputs, outputs, depth, "conv")
    if is_encoder(inputs, outputs, "conv"):
        net = _encoder(inputs, outputs, width, sizes, dense_width, act)
    else:
        net = _decoder(inputs, outputs, width, sizes, dense_width, act, upsample_type)
    _init_hidden_layers(net)
    if mean_color and len(inputs) == 3 and len(outputs) == 1:
        return AddMeanColor(net, inputs[0], outputs[0])
    return net


class AddMeanColor(ContextLayer):
    r"""Add a linear function of the mean color of an image to the output of an encoder.

    .. math:: f(x) + W \, \mathrm{LayerNorm}(\bar x) + b

    where :math:`\bar x` contains the mean of each channel. Convolutional features represent the
    color of an object separately at each position, so the color of small objects is learned much
    later than their position and shape.

    Arguments:
        net: The encoder f.
        channels: The number of channels of an image.
        outputs: The dimension of the output.
    """

    def __init__(self, net: nn.Module, channels: int, outputs: int) -> None:
        super().__init__()
        self.net, self.channels = net, channels
        self.linear = nn.Linear(channels, outputs)

    def forward(self, x: Tensor, *c: Tensor) -> Tensor:
        """Return vectors with shape (N, D) for images with shape (N, C, H, W)."""
        color = F.layer_norm(x.mean((2, 3)), (self.channels,))
        out: Tensor = self.net(x, *c) + self.linear(color)
        return out


def _init_hidden_layers(net: nn.Module) -> None:
    """Initialize the weights such that the hidden layers preserve the variance of their inputs.

    With PyTorch's default initialization, each layer reduces the standard deviation by more
    than half, and a deep decoder is nearly constant for hundreds of steps.
    """
    layers = [m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    for layer in layers[:-1]:
        if isinstance(layer, nn.ConvTranspose2d):
            # The weight has the shape (inputs, outputs, *). With stride 2, each output pixel
            # depends on a quarter of the kernel.
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            layer.weight.data.mul_(2)
        else:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


def _encoder(
    inputs: Shape, outputs: Shape, width: int, sizes: list[Size], hidden: int, act: type[nn.Module]
) -> nn.Module:
    channels = [inputs[0], *channel_widths(width, len(sizes) - 1)]
    layers: list[nn.Module] = []
    for (a, b), size in zip(itertools.pairwise(channels), sizes[:-1], strict=True):
        layers += [Downsample(a, b, size), act()]
    if len(outputs) == 3:
        last = channels[-1] if len(sizes) > 1 else width
        layers += [nn.Conv2d(channels[-1], last, 3, padding=1), act()]
        return nn.Sequential(*layers, nn.Conv2d(last, outputs[0], 1))
    flat = channels[-1] * math.prod(sizes[-1])
    return nn.Sequential(*layers, nn.Flatten(), *_dense(flat, hidden, outputs[0], act)[:-1])


def _decoder(
    inputs: Shape,
    outputs: Shape,
    width: int,
    sizes: list[Size],
    hidden: int,
    act: type[nn.Module],
    upsample_type: type[Upsample],
) -> nn.Module:
    channels = channel_widths(width, len(sizes) - 1)[::-1] or [width]
    layers: list[nn.Module]
    if len(inputs) == 3:
        layers = [nn.Conv2d(inputs[0], channels[0], 3, padding=1), act()]
    else:
        layers = _dense(inputs[0], hidden, channels[0] * math.prod(sizes[0]), act)
        layers.append(nn.Unflatten(1, (channels[0], *sizes[0])))
    pairs = itertools.pairwise([*channels, outputs[0]])
    for (a, b), size in zip(pairs, sizes[1:], strict=False):
        layers += [upsample_type(a, b, size), act()]
    if len(sizes) == 1:
        return nn.Sequential(*layers, nn.Conv2d(channels[0], outputs[0], 3, padding=1))
    return nn.Sequential(*layers[:-1])


def _dense(inputs: int, hidden: int, outputs: int, act: type[nn.Module]) -> list[nn.Module]:
    """Return one linear layer (or two, with hidden units), each followed by an activation."""
    sizes = [inputs, hidden, outputs] if hidden else [inputs, outputs]
    return [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), act())]
