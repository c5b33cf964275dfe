"""What a ladder of latents is built of: vectors, or maps at falling sizes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from torch import Tensor, nn

from varied.errors import VariedError
from varied.nets.image_shapes import downsample_sizes
from varied.nets.resample import Downsample, UpsampleNearest

__all__ = ["ConvBlocks", "DenseBlocks", "LadderBlocks"]

Shape = tuple[int, ...]


class LadderBlocks(ABC):
    """Makes the pieces of a ladder; level 1 is nearest to the data.

    Arguments:
        shape: The shape of one datum.
        state: The units (or channels) of the state that runs down the ladder.
        levels: How many levels of latents.
    """

    def __init__(self, shape: Shape, state: int, levels: int) -> None:
        if state < 1 or levels < 1:
            raise VariedError(f"levels={levels} and state={state} must each be at least 1.")
        self.shape, self.state, self.levels = shape, state, levels

    @abstractmethod
    def rest(self, level: int) -> Shape:
        """Return the shape of one channel of a level's state."""

    @abstractmethod
    def stem(self, inputs: Shape) -> nn.Module:
        """Return a net from data (and context beside them) to the state below level 1."""

    @abstractmethod
    def out(self, raw: Shape) -> nn.Module:
        """Return a net from the state below level 1 to what a likelihood reads."""

    @abstractmethod
    def up(self, level: int) -> nn.Module:
        """Return a net from the state below a level to the state at it."""

    @abstractmethod
    def down(self, level: int) -> nn.Module:
        """Return a net from the state at a level to the state below it."""

    @abstractmethod
    def small(self, inputs: int, outputs: int) -> nn.Module:
        """Return a net with one hidden layer between units (or channels) of one size."""

    @abstractmethod
    def merge(self, inputs: int) -> nn.Module:
        """Return a linear map from a latent to the state."""


class ScaledResidual(nn.Module):
    """h + f(h), where f starts small.

    Arguments:
        branch: f, whose last layer is made small.
        share: What its last weights are multiplied by.
    """

    def __init__(self, branch: nn.Sequential, share: float) -> None:
        super().__init__()
        self.branch = branch
        for value in branch[-1].parameters():
            value.data.mul_(share)

    def forward(self, h: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return h + self.branch(h)  # type: ignore[no-any-return]


class DenseBlocks(LadderBlocks):
    """States that are vectors, and layers that are fully connected."""

    def rest(self, level: int) -> Shape:
        """Return the shape of one unit of a state: none."""
        return ()

    def stem(self, inputs: Shape) -> nn.Module:
        """Return a linear layer."""
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(inputs), self.state))

    def out(self, raw: Shape) -> nn.Module:
        """Return a hidden layer and a linear one."""
        last = nn.Linear(self.state, math.prod(raw))
        return nn.Sequential(nn.SiLU(), last, nn.Unflatten(1, raw))

    def up(self, level: int) -> nn.Module:
        """Return a residual layer."""
        return ScaledResidual(self._two(self.state, self.state), self.levels**-0.5)

    down = up

    def small(self, inputs: int, outputs: int) -> nn.Module:
        """Return two layers."""
        return self._two(inputs, outputs)

    def merge(self, inputs: int) -> nn.Module:
        """Return a linear layer."""
        return nn.Linear(inputs, self.state)

    def _two(self, inputs: int, outputs: int) -> nn.Sequential:
        first, last = nn.Linear(inputs, self.state), nn.Linear(self.state, outputs)
        return nn.Sequential(nn.SiLU(), first, nn.SiLU(), last)


class ConvBlocks(LadderBlocks):
    """States that are maps of a picture, at sizes that halve as one climbs.

    The levels are spread over the sizes from half the picture's to the smallest, the smaller ones
    first: a picture of 28 x 28 with 5 levels has two at 4 x 4, two at 7 x 7 and one at 14 x 14.
    """

    def __init__(self, shape: Shape, state: int, levels: int) -> None:
        super().__init__(shape, state, levels)
        if len(shape) != 3:
            raise VariedError(
                f"A ladder of maps reads pictures (channels, height, width), not shape {shape}; "
                "use net='mlp'."
            )
        sizes = downsample_sizes((shape[1], shape[2]), None)
        sizes = sizes[1:] or sizes
        each, more = divmod(levels, len(sizes))
        counts = [each + (index >= len(sizes) - more) for index in range(len(sizes))]
        spread = [size for size, count in zip(sizes, counts, strict=True) for _ in range(count)]
        #: The size of the state below level 1, then of each level.
        self.sizes = [spread[0], *spread]

    def rest(self, level: int) -> Shape:
        """Return height and width of a level."""
        return self.sizes[level]

    def stem(self, inputs: Shape) -> nn.Module:
        """Return a convolution that goes down to the size of level 1."""
        return nn.Sequential(*self._halved(inputs[0], (self.shape[1], self.shape[2]), 0))

    def out(self, raw: Shape) -> nn.Module:
        """Return convolutions that go up to the size of the picture."""
        sizes = self._between((self.shape[1], self.shape[2]), self.sizes[0])[::-1]
        layers: list[nn.Module] = []
        for size in sizes[1:]:
            layers += [nn.SiLU(), UpsampleNearest(self.state, self.state, size)]
        return nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(self.state, raw[0], 3, padding=1))

    def up(self, level: int) -> nn.Module:
        """Return a residual block, after a halving where the size changes."""
        halved = self._halved(self.state, self.sizes[level - 1], level)
        return nn.Sequential(*halved, self._block())

    def down(self, level: int) -> nn.Module:
        """Return a residual block, with an enlargement after it where the size changes."""
        sizes = self._between(self.sizes[level - 1], self.sizes[level])[::-1]
        layers = [UpsampleNearest(self.state, self.state, size) for size in sizes[1:]]
        return nn.Sequential(self._block(), *layers)

    def small(self, inputs: int, outputs: int) -> nn.Module:
        """Return two convolutions."""
        first = nn.Conv2d(inputs, self.state, 3, padding=1)
        last = nn.Conv2d(self.state, outputs, 3, padding=1)
        return nn.Sequential(nn.SiLU(), first, nn.SiLU(), last)

    def merge(self, inputs: int) -> nn.Module:
        """Return a linear map of each pixel."""
        return nn.Conv2d(inputs, self.state, 1)

    def _block(self) -> nn.Module:
        first, last = (nn.Conv2d(self.state, self.state, 3, padding=1) for _ in range(2))
        return ScaledResidual(nn.Sequential(nn.SiLU(), first, nn.SiLU(), last), self.levels**-0.5)

    def _halved(self, channels: int, size: tuple[int, int], level: int) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for before in self._between(size, self.sizes[level])[:-1]:
            layers.append(Downsample(channels if not layers else self.state, self.state, before))
        if not layers and channels != self.state:
            layers.append(nn.Conv2d(channels, self.state, 3, padding=1))
        return layers

    @staticmethod
    def _between(large: tuple[int, int], small: tuple[int, int]) -> list[tuple[int, int]]:
        """Return the sizes from the larger to the smaller, both among them."""
        sizes = [large]
        while sizes[-1] != small:
            sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
        return sizes
