r"""Halving and doubling a map by a strided convolution, as fast as a processor can.

A 4 x 4 convolution of stride 2 is a linear map of patches: gather the patches of each place of the
smaller map, then multiply by the weights. A transposed convolution is its mirror: multiply, then
scatter the patches back and add where they overlap. Gathering and scattering are each other's
adjoint, so each is the other's derivative.

On a processor in bfloat16, with many channels and few places, the library's convolutions take up to
2.5 times as long as these products, and their gradients of a bias as long as those of the weights;
so here the bias is added apart, and the wide layers are products.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Downsample", "UpsampleNearest", "UpsampleTransposed", "fold_patches", "unfold_patches"]

#: Channels of the larger map from which on a product was measured to be faster.
WIDE = 128


def unfold_patches(x: Tensor) -> Tensor:
    """Return the 4 x 4 patches at stride 2 of a map that is padded by 1.

    Arguments:
        x: A map with shape (N, H, W, C), H and W even.

    Returns:
        Patches with shape (N, H / 2, W / 2, 16 * C), in the order (row, column, channel).
    """
    n, height, width, c = x.shape
    h, w = height // 2, width // 2
    padded = F.pad(x, (0, 0, 1, 1, 1, 1)).view(n, h + 1, 2, w + 1, 2, c)
    patches = x.new_empty(n, h, w, 2, 2, 2, 2, c)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        block = padded[:, i : i + h, :, j : j + w]
        patches[:, :, :, i, :, j] = block.permute(0, 1, 3, 2, 4, 5)
    return patches.view(n, h, w, 16 * c)


def fold_patches(patches: Tensor) -> Tensor:
    """Return the map of shape (N, 2h, 2w, C) to which patches of shape (N, h, w, 16 * C) add up."""
    n, h, w, size = patches.shape
    c = size // 16
    blocks = patches.view(n, h, w, 2, 2, 2, 2, c)
    padded = patches.new_zeros(n, h + 1, 2, w + 1, 2, c)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        padded[:, i : i + h, :, j : j + w] += blocks[:, :, :, i, :, j].permute(0, 1, 3, 2, 4, 5)
    return padded.view(n, 2 * h + 2, 2 * w + 2, c)[:, 1:-1, 1:-1]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return unfold_patches(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return fold_patches(gradient.contiguous())


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, patches: Tensor) -> Tensor:
        return fold_patches(patches)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return unfold_patches(gradient)


def _as_product(h: Tensor, channels: int) -> bool:
    narrow = h.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return narrow and channels >= WIDE and not torch.compiler.is_compiling()


class Downsample(nn.Module):
    """A strided convolution to half the size, an odd side rounded up.

    Arguments:
        inputs: Channels in.
        outputs: Channels out.
        size: Height and width in.
    """

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]) -> None:
        super().__init__()
        # An even side is halved by a 4-wide kernel, an odd one is rounded up by a 3-wide one.
        kernel = (4 - size[0] % 2, 4 - size[1] % 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=2, padding=1)
        self.even = kernel == (4, 4)

    def forward(self, h: Tensor) -> Tensor:
        """Return the smaller map, with shape (N, outputs, ceil(H / 2), ceil(W / 2))."""
        if not (self.even and _as_product(h, self.conv.in_channels)):
            return _biased(F.conv2d(h, self.conv.weight, None, 2, 1), self.conv.bias)
        weight = self.conv.weight.permute(0, 2, 3, 1).flatten(1)
        patches: Tensor = _Gather.apply(h.permute(0, 2, 3, 1))  # type: ignore[no-untyped-call]
        return F.linear(patches, weight, self.conv.bias).permute(0, 3, 1, 2)


class UpsampleTransposed(nn.Module):
    """A transposed convolution to twice the size, cut to an odd size where one is asked for.

    Arguments:
        inputs: Channels in.
        outputs: Channels out.
        size: Height and width out.
    """

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.conv = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        """Return the larger map, with shape (N, outputs, *size)."""
        return _doubled(h, self.conv.weight, self.conv.bias, self.size)


class UpsampleNearest(nn.Module):
    """Twice the size by repeating pixels, then a convolution, cut where the size is odd.

    A convolution of repeated pixels meets each of them twice; with its weights added up it is a
    transposed convolution of the smaller map, at less than half the cost. A map without detail
    stays one, where the four places of `Transposed` have weights of their own and may leave a grid.

    References:
        Deconvolution and Checkerboard Artifacts (Odena et al., 2016),
        https://distill.pub/2016/deconv-checkerboard/

    Arguments:
        inputs: Channels in.
        outputs: Channels out.
        size: Height and width out.
    """

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        """Return the larger map, with shape (N, outputs, *size)."""
        turned = self.conv.weight.flip(2, 3).transpose(0, 1)
        shifts = itertools.product((0, 1), repeat=2)
        weight = torch.stack([F.pad(turned, (i, 1 - i, j, 1 - j)) for i, j in shifts]).sum(0)
        return _doubled(h, weight, self.conv.bias, self.size)


def _doubled(h: Tensor, weight: Tensor, bias: Tensor | None, size: tuple[int, int]) -> Tensor:
    """Return the map of twice the size, by a transposed convolution, cut to a size.

    Arguments:
        h: The smaller map, with shape (N, inputs, H, W).
        weight: With shape (inputs, outputs, 4, 4).
        bias: With shape (outputs).
        size: Height and width out.
    """
    if _as_product(h, weight.shape[1]):
        patches = F.linear(h.permute(0, 2, 3, 1), weight.permute(2, 3, 1, 0).flatten(0, 2))
        larger: Tensor = _Scatter.apply(patches)  # type: ignore[no-untyped-call]
        larger = larger.permute(0, 3, 1, 2)
    else:
        larger = F.conv_transpose2d(h, weight, None, 2, 1)
    return _biased(larger, bias)[..., : size[0], : size[1]]


def _biased(h: Tensor, bias: Tensor | None) -> Tensor:
    assert bias is not None
    return h + bias.to(h.dtype).view(-1, 1, 1)
