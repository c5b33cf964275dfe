r"""Downsampling and upsampling of feature maps by 2, with an optimized CPU path.

A 4 x 4 convolution with stride 2 is a linear map of patches: the input is unfolded into patches,
which are multiplied by the weights. A transposed convolution is its adjoint: the input is
multiplied by the weights, and the resulting patches are folded into the output and summed where
they overlap. Unfolding and folding are adjoint to each other, so the gradient of each is computed
by the other.

In bfloat16 on a CPU, with many channels and small maps, PyTorch's convolutions take up to 2.5 times
as long as these matrix products, and the gradient of a bias takes as long as that of the weights.
Therefore, the bias is added separately, and layers with many channels are computed as matrix
products.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Map = Callable[[Tensor], Tensor]

#: The minimum number of channels of the larger map for which matrix products are used; they were
#: measured to be faster.
MIN_CHANNELS = 128


def unfold_patches(x: Tensor) -> Tensor:
    """Extract 4 x 4 patches from a feature map, with stride 2 and padding 1.

    Arguments:
        x: A feature map with shape (N, H, W, C), where H and W are even.

    Returns:
        Patches with shape (N, H / 2, W / 2, 16 * C), in the order (row, column, channel).
    """
    n, height, width, c = x.shape
    h, w = height // 2, width // 2
    padded = F.pad(x, (0, 0, 1, 1, 1, 1)).view(n, h + 1, 2, w + 1, 2, c)
    patches = x.new_empty(n, h, w, 2, 2, 2, 2, c)
    for i, j in itertools.product((0, 1), repeat=2):
        block = padded[:, i : i + h, :, j : j + w]
        patches[:, :, :, i, :, j] = block.permute(0, 1, 3, 2, 4, 5)
    return patches.view(n, h, w, 16 * c)


def fold_patches(patches: Tensor) -> Tensor:
    """Sum overlapping patches with shape (N, h, w, 16 * C) into a map with shape (N, 2h, 2w, C)."""
    n, h, w, size = patches.shape
    c = size // 16
    blocks = patches.view(n, h, w, 2, 2, 2, 2, c)
    padded = patches.new_zeros(n, h + 1, 2, w + 1, 2, c)
    for i, j in itertools.product((0, 1), repeat=2):
        padded[:, i : i + h, :, j : j + w] += blocks[:, :, :, i, :, j].permute(0, 1, 3, 2, 4, 5)
    return padded.view(n, 2 * h + 2, 2 * w + 2, c)[:, 1:-1, 1:-1]


class _Linear(torch.autograd.Function):
    """A linear function whose gradient is computed by its adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Map, adjoint: Map) -> Tensor:
        ctx.adjoint = adjoint
        return function(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ctx.adjoint(grads[0].contiguous()), None, None


def _use_product(h: Tensor, channels: int) -> bool:
    is_bfloat16 = h.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return is_bfloat16 and channels >= MIN_CHANNELS and not torch.compiler.is_compiling()


class Downsample(nn.Module):
    """A convolution with stride 2, which halves the height and width, rounded up.

    Arguments:
        inputs: The number of input channels.
        outputs: The number of output channels.
        size: The height and width of the input.
    """

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]) -> None:
        super().__init__()
        # A kernel of width 4 halves an even side; one of width 3 halves an odd side, rounded up.
        kernel = (4 - size[0] % 2, 4 - size[1] % 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=2, padding=1)
        self.is_even = kernel == (4, 4)

    def forward(self, h: Tensor) -> Tensor:
        """Return the downsampled feature map, with shape (N, outputs, ceil(H / 2), ceil(W / 2))."""
        if not (self.is_even and _use_product(h, self.conv.in_channels)):
            return _add_bias(F.conv2d(h, self.conv.weight, None, 2, 1), self.conv.bias)
        weight = self.conv.weight.permute(0, 2, 3, 1).flatten(1)
        h = h.permute(0, 2, 3, 1)
        patches = _Linear.apply(h, unfold_patches, fold_patches)  # type: ignore[no-untyped-call]
        return F.linear(patches, weight, self.conv.bias).permute(0, 3, 1, 2)


class Upsample(nn.Module, ABC):
    """A layer that doubles the size of a feature map, and crops it if the output size is odd.

    Arguments:
        inputs: The number of input channels.
        outputs: The number of output channels.
        size: The height and width of the output.
    """

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size, self.conv = size, self.build_conv(inputs, outputs)

    @abstractmethod
    def build_conv(self, inputs: int, outputs: int) -> nn.Conv2d | nn.ConvTranspose2d:
        """Return the convolution that contains the parameters."""

    @abstractmethod
    def transposed_weight(self) -> Tensor:
        """Return equivalent transposed convolution weights, with shape (inputs, outputs, 4, 4)."""

    def forward(self, h: Tensor) -> Tensor:
        """Return the upsampled feature map, with shape (N, outputs, *size)."""
        weight = self.transposed_weight()
        if _use_product(h, weight.shape[1]):
            patches = F.linear(h.permute(0, 2, 3, 1), weight.permute(2, 3, 1, 0).flatten(0, 2))
            h = _Linear.apply(patches, fold_patches, unfold_patches)  # type: ignore[no-untyped-call]
            h = h.permute(0, 3, 1, 2)
        else:
            h = F.conv_transpose2d(h, weight, None, 2, 1)
        return _add_bias(h, self.conv.bias)[..., : self.size[0], : self.size[1]]


class UpsampleTransposed(Upsample):
    """A transposed convolution with stride 2."""

    def build_conv(self, inputs: int, outputs: int) -> nn.ConvTranspose2d:
        """Return a 4 x 4 transposed convolution."""
        return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)

    def transposed_weight(self) -> Tensor:
        """Return the weight of the convolution."""
        return self.conv.weight


class UpsampleNearest(Upsample):
    """Nearest-neighbor upsampling, followed by a 3 x 3 convolution.

    The convolution reads each repeated pixel more than once. Summing the weights that read the same
    pixel turns the operation into a transposed convolution of the smaller map, at less than half
    the cost. A constant map remains constant, whereas the independent weights of a transposed
    convolution may cause checkerboard artifacts.

    References:
        Deconvolution and Checkerboard Artifacts (Odena et al., 2016),
        https://distill.pub/2016/deconv-checkerboard/
    """

    def build_conv(self, inputs: int, outputs: int) -> nn.Conv2d:
        """Return a 3 x 3 convolution."""
        return nn.Conv2d(inputs, outputs, 3, padding=1)

    def transposed_weight(self) -> Tensor:
        """Return the sum of the weights that read the same pixel."""
        flipped = self.conv.weight.flip(2, 3).transpose(0, 1)
        shifts = itertools.product((0, 1), repeat=2)
        return torch.stack([F.pad(flipped, (i, 1 - i, j, 1 - j)) for i, j in shifts]).sum(0)


def _add_bias(h: Tensor, bias: Tensor | None) -> Tensor:
    assert bias is not None
    return h + bias.to(h.dtype).view(-1, 1, 1)
