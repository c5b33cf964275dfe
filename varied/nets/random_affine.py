"""Data augmentation of images with random shifts and affine maps."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from varied.errors import VariedError


@dataclass(frozen=True)
class RandomAffine:
    r"""Applies a random affine map to each image of a batch.

    .. math:: R(\alpha) \begin{pmatrix} 1 & k \\ 0 & 1 \end{pmatrix}
        \begin{pmatrix} e^a & 0 \\ 0 & e^b \end{pmatrix} x + t

    maps a position in the new image to a position in the original image, both relative to the
    center. Each parameter is drawn uniformly between minus its bound and its bound.

    References:
        Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis
        (Simard et al., 2003), https://doi.org/10.1109/ICDAR.2003.1227801

    Arguments:
        translation: The bound on the translation t, as a fraction of the image size.
        degrees: The bound on the rotation angle, in degrees.
        log_scale: The bound on a and b; with 0.2, a side becomes at most 22% longer or 18%
            shorter.
        shear: The bound on the shear k.
    """

    translation: float = 0.0
    degrees: float = 0.0
    log_scale: float = 0.0
    shear: float = 0.0

    def scale_bounds(self, factor: float) -> RandomAffine:
        """Return a copy with all bounds multiplied by a factor."""
        return RandomAffine(*(factor * bound for bound in astuple(self)))

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return transformed images, with edge pixels repeated beyond the borders.

        Arguments:
            x: The images, as floating-point numbers with shape (N, C, H, W).
            generator: The random number generator; None for PyTorch's default generator.
        """
        device = x.device if generator is None else generator.device
        uniform = 2 * torch.rand(6, len(x), generator=generator, device=device).to(x.device) - 1
        rotation, right, down, wide, high, shear = uniform.unbind()
        angle, k = math.radians(self.degrees) * rotation, self.shear * shear
        a, b = (self.log_scale * wide).exp(), (self.log_scale * high).exp()
        cos, sin = angle.cos(), angle.sin()
        height, width = x.shape[2:]
        # Grid coordinates range from -1 to 1 along both sides, regardless of the side lengths.
        rows = [
            [a * cos, b * (k * cos - sin) * height / width, 2 * self.translation * right],
            [a * sin * width / height, b * (k * sin + cos), 2 * self.translation * down],
        ]
        maps = torch.stack([torch.stack(row, 1) for row in rows], 1)
        grid = affine_grid(maps, list(x.shape), align_corners=False).to(x.dtype)
        return grid_sample(x, grid, padding_mode="border", align_corners=False)


def random_shift(x: Tensor, mask: Tensor | None, max_shift: int) -> tuple[Tensor, Tensor | None]:
    """Shift each image of a batch by a random whole number of pixels in both directions.

    Edge pixels are repeated beyond the borders. Unlike an affine map, the shift does not
    interpolate between pixel values.

    Arguments:
        x: The images, with shape (N, C, H, W).
        mask: A mask of the same shape, which is shifted with the images, or None.
        max_shift: The maximum number of pixels, in each direction.

    Example:
        >>> x, _ = random_shift(torch.eye(4).repeat(2, 1, 1, 1), None, max_shift=1)
        >>> x.shape
        torch.Size([2, 1, 4, 4])
    """
    n, _, height, width = x.shape
    down, right = torch.randint(-max_shift, max_shift + 1, (2, n, 1), device=x.device)
    rows = (torch.arange(height, device=x.device) + down).clamp(0, height - 1)
    columns = (torch.arange(width, device=x.device) + right).clamp(0, width - 1)
    index = (torch.arange(n, device=x.device)[:, None, None], rows[:, :, None], columns[:, None])

    def shift(images: Tensor) -> Tensor:
        return images.movedim(1, -1)[index].movedim(-1, 1)

    return shift(x), None if mask is None else shift(mask)


#: Bounds for training with few labels, tuned on handwritten digits.
DEFAULT_AFFINE = RandomAffine(translation=0.08, degrees=10.0, log_scale=0.2, shear=0.4)


class RandomAffineInput(nn.Module):
    """A network whose input images are randomly transformed in training mode.

    Arguments:
        net: A network for images.
        affine: The distribution of the random maps.
    """

    def __init__(self, net: nn.Module, affine: RandomAffine) -> None:
        super().__init__()
        self.net, self.affine = net, affine

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the network for images of shape (N, C, H, W)."""
        return self.net(self.affine(x) if self.training else x)  # type: ignore[no-any-return]


def add_random_affine(net: nn.Module, shape: tuple[int, ...], strength: float) -> nn.Module:
    """Return a network whose input images are randomly transformed in training mode.

    Arguments:
        net: A network whose input is the data.
        shape: The shape of one example.
        strength: The factor by which the bounds of `DEFAULT_AFFINE` are multiplied; if 0, the
            network is returned unchanged.

    Raises:
        VariedError: If the data are not images, or the strength is not between 0 and 3.
    """
    if not strength:
        return net
    if not 0 < strength <= 3:
        raise VariedError(f"augment={strength} must be between 0 and 3; a typical value is 1.")
    if len(shape) != 3:
        raise VariedError(
            f"augment={strength} requires images, but the data have shape {shape}; omit `augment`."
        )
    return RandomAffineInput(net, DEFAULT_AFFINE.scale_bounds(strength))
