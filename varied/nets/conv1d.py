"""Convolutional networks for sequences, such as the tokens of molecules."""

from __future__ import annotations

from torch import Tensor, nn

from varied.errors import VariedError, check_at_least, lookup
from varied.nets.mlp import ACTIVATIONS

Shape = tuple[int, ...]


def conv1d(
    inputs: Shape,
    outputs: Shape,
    *,
    width: int = 128,
    kernel_size: int = 5,
    activation: str = "silu",
) -> nn.Module:
    """Return a convolutional network that encodes or decodes sequences.

    An encoder maps a sequence to a vector or to a sequence that is not longer, and a decoder does
    the reverse. If a code is a sequence, each of its elements depends only on a segment of the
    input, and each segment of the output is decoded from a few elements.

    Arguments:
        inputs: The shape of one input: (C, L), or (D) for a decoder.
        outputs: The shape of one output: (C, L), or (D) for an encoder.
        width: The number of channels.
        kernel_size: The number of positions on which an element of a layer depends; an odd number.
        activation: The activation: gelu, relu, silu, softplus or tanh.

    Raises:
        VariedError: If neither shape is a sequence, or a setting is invalid.
    """
    check_at_least(1, width=width, kernel_size=kernel_size)
    if kernel_size % 2 == 0:
        raise VariedError(f"kernel_size={kernel_size} must be odd, such as {kernel_size + 1}.")
    act = lookup(ACTIVATIONS, activation, "activation")

    def conv(channels: int, stride: int = 1) -> list[nn.Module]:
        padding = kernel_size // 2
        return [nn.Conv1d(channels, width, kernel_size, stride, padding), act()]

    ranks = len(inputs), len(outputs)
    if ranks == (2, 1):
        length = _divide(inputs[1], 2)
        last = nn.Linear(width * length, outputs[0])
        return nn.Sequential(*conv(inputs[0]), *conv(width, 2), *conv(width), nn.Flatten(), last)
    if ranks == (1, 2):
        length = _divide(outputs[1], 2)
        first = [nn.Linear(inputs[0], width * length), nn.Unflatten(1, (width, length)), act()]
        return nn.Sequential(*first, *conv(width), Interleave(width, outputs, 2))
    if ranks != (2, 2):
        raise VariedError(
            f"net='conv1d' maps between sequences (channels, length) and vectors or shorter "
            f"sequences, but cannot map shape {inputs} to {outputs}; use net='mlp'."
        )
    is_encoder = inputs[1] >= outputs[1]
    long, short = (inputs[1], outputs[1]) if is_encoder else (outputs[1], inputs[1])
    stride = _divide(long, short)
    if is_encoder:
        padding = nn.ConstantPad1d((0, stride * short - long), 0.0)
        layers = [*conv(inputs[0]), *conv(width, stride), *conv(width)]
        return nn.Sequential(padding, *layers, nn.Conv1d(width, outputs[0], 1))
    return nn.Sequential(*conv(inputs[0]), *conv(width), Interleave(width, outputs, stride))


class Interleave(nn.Module):
    """A layer that maps each element of a sequence to several elements of a longer one.

    Arguments:
        channels: The number of channels of the input.
        outputs: The shape (C, L) of the output; any elements after the first L are cropped.
        factor: The number of output elements for each input element.
    """

    def __init__(self, channels: int, outputs: Shape, factor: int) -> None:
        super().__init__()
        self.outputs, self.factor = tuple(outputs), factor
        self.conv = nn.Conv1d(channels, outputs[0] * factor, 1)

    def forward(self, h: Tensor) -> Tensor:
        """Return a sequence with shape (N, C, L) for an input with shape (N, channels, length)."""
        h = self.conv(h).unflatten(1, (self.outputs[0], self.factor)).movedim(2, -1).flatten(2)
        return h[..., : self.outputs[1]]


def _divide(length: int, factor: int) -> int:
    """Return the quotient, rounded up."""
    return -(-length // factor)
