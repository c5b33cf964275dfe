"""The building blocks of hierarchical VAEs, fully connected or convolutional."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from torch import Tensor, nn

from varied.errors import VariedError
from varied.nets.image_shapes import Shape, Size, all_downsample_sizes, downsample_sizes
from varied.nets.resample import Downsample, UpsampleNearest


class ScaledResidual(nn.Module):
    """A residual block h + f(h) in which f is scaled down at initialization.

    Arguments:
        branch: The function f; its last layer is scaled.
        scale: The factor by which the parameters of the last layer are multiplied.
    """

    def __init__(self, branch: nn.Sequential, scale: float) -> None:
        super().__init__()
        self.branch = branch
        for parameter in branch[-1].parameters():
            parameter.data.mul_(scale)

    def forward(self, h: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return h + self.branch(h)  # type: ignore[no-any-return]


class LadderBlocks(ABC):
    """Builds the blocks of a ladder VAE, in which level 1 is closest to the data.

    A deterministic state is passed from the data up to the top level, and from there back down.

    Arguments:
        shape: The shape of one example.
        hidden_size: The number of units (or channels) of the state.
        levels: The number of levels of latent variables.
    """

    def __init__(self, shape: Shape, hidden_size: int, levels: int) -> None:
        if hidden_size < 1 or levels < 1:
            raise VariedError(
                "levels and hidden_size must be at least 1, got "
                f"levels={levels} and hidden_size={hidden_size}."
            )
        self.shape, self.hidden_size, self.levels = shape, hidden_size, levels

    @abstractmethod
    def spatial_shape(self, level: int) -> Shape:
        """Return the shape of the state at a level, without channels: () or (H, W)."""

    @abstractmethod
    def input_net(self, inputs: Shape) -> nn.Module:
        """Return a network that maps the data (and context) to the state below level 1."""

    @abstractmethod
    def output_net(self, outputs: Shape) -> nn.Module:
        """Return a network that maps the state below level 1 to the likelihood parameters."""

    @abstractmethod
    def bottom_up_block(self, level: int) -> nn.Module:
        """Return a network that maps the state below a level to the state at the level."""

    @abstractmethod
    def top_down_block(self, level: int) -> nn.Module:
        """Return a network that maps the state at a level to the state below it."""

    @abstractmethod
    def layer(self, inputs: int, outputs: int, kernel_size: int = 3) -> nn.Module:
        """Return a linear layer, or a convolution that preserves the height and width."""

    def latent_projection(self, inputs: int) -> nn.Module:
        """Return a linear map from the latent variables of a level to the state."""
        return self.layer(inputs, self.hidden_size, kernel_size=1)

    def two_layer_net(self, inputs: int, outputs: int) -> nn.Sequential:
        """Return a network with one hidden layer, preceded by an activation."""
        first, last = self.layer(inputs, self.hidden_size), self.layer(self.hidden_size, outputs)
        return nn.Sequential(nn.SiLU(), first, nn.SiLU(), last)

    def residual_block(self) -> nn.Module:
        """Return a residual block, scaled so that the variance of the state stays bounded."""
        return ScaledResidual(
            self.two_layer_net(self.hidden_size, self.hidden_size), self.levels**-0.5
        )


class DenseBlocks(LadderBlocks):
    """Fully connected blocks, for states that are vectors."""

    def spatial_shape(self, level: int) -> Shape:
        """Return (), since a vector has no spatial dimensions."""
        return ()

    def input_net(self, inputs: Shape) -> nn.Module:
        """Return a linear layer."""
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(inputs), self.hidden_size))

    def output_net(self, outputs: Shape) -> nn.Module:
        """Return an activation followed by a linear layer."""
        last = self.layer(self.hidden_size, math.prod(outputs))
        return nn.Sequential(nn.SiLU(), last, nn.Unflatten(1, outputs))

    def bottom_up_block(self, level: int) -> nn.Module:
        """Return a residual block."""
        return self.residual_block()

    def top_down_block(self, level: int) -> nn.Module:
        """Return a residual block."""
        return self.residual_block()

    def layer(self, inputs: int, outputs: int, kernel_size: int = 3) -> nn.Module:
        """Return a linear layer."""
        return nn.Linear(inputs, outputs)


class ConvBlocks(LadderBlocks):
    """Convolutional blocks, for states that are feature maps and become smaller toward the top.

    The levels are distributed evenly over the sizes from half the image size to the smallest one;
    any remaining levels are assigned to the smallest sizes. With 5 levels, a 28 x 28 image has two
    levels at 4 x 4, two at 7 x 7 and one at 14 x 14.
    """

    def __init__(self, shape: Shape, hidden_size: int, levels: int) -> None:
        super().__init__(shape, hidden_size, levels)
        if len(shape) != 3:
            raise VariedError(
                "A convolutional ladder VAE requires images (channels, height, width), not data "
                f"of shape {shape}; use net='mlp'."
            )
        self.image_size = (shape[1], shape[2])
        sizes = downsample_sizes(self.image_size, None)
        sizes = sizes[1:] or sizes
        per_size, remaining = divmod(levels, len(sizes))
        counts = [per_size + (i >= len(sizes) - remaining) for i in range(len(sizes))]
        of_level = [size for size, count in zip(sizes, counts, strict=True) for _ in range(count)]
        #: The size of the state below level 1, followed by its size at each level.
        self.sizes = [of_level[0], *of_level]

    def spatial_shape(self, level: int) -> Shape:
        """Return the height and width of the state at a level."""
        return self.sizes[level]

    def input_net(self, inputs: Shape) -> nn.Module:
        """Return convolutions that downsample an image to the size of level 1."""
        return nn.Sequential(*self._downsample(inputs[0], self.image_size, self.sizes[0]))

    def output_net(self, outputs: Shape) -> nn.Module:
        """Return convolutions that upsample the state to the size of the image."""
        layers = self._upsample(self.sizes[0], self.image_size)
        layers.append(self.layer(self.hidden_size, outputs[0]))
        return nn.Sequential(*(part for layer in layers for part in (nn.SiLU(), layer)))

    def bottom_up_block(self, level: int) -> nn.Module:
        """Return a residual block, preceded by downsampling if the size changes."""
        layers = self._downsample(self.hidden_size, self.sizes[level - 1], self.sizes[level])
        return nn.Sequential(*layers, self.residual_block())

    def top_down_block(self, level: int) -> nn.Module:
        """Return a residual block, followed by upsampling if the size changes."""
        layers = self._upsample(self.sizes[level], self.sizes[level - 1])
        return nn.Sequential(self.residual_block(), *layers)

    def layer(self, inputs: int, outputs: int, kernel_size: int = 3) -> nn.Module:
        """Return a convolution."""
        return nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2)

    def _downsample(self, channels: int, large: Size, small: Size) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for size in _sizes_between(large, small)[:-1]:
            layers.append(Downsample(channels, self.hidden_size, size))
            channels = self.hidden_size
        if not layers and channels != self.hidden_size:
            layers.append(self.layer(channels, self.hidden_size))
        return layers

    def _upsample(self, small: Size, large: Size) -> list[nn.Module]:
        sizes = _sizes_between(large, small)[::-1][1:]
        return [UpsampleNearest(self.hidden_size, self.hidden_size, size) for size in sizes]


def _sizes_between(large: Size, small: Size) -> list[Size]:
    sizes = all_downsample_sizes(large)
    return sizes[: sizes.index(small) + 1]
