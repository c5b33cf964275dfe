"""How unlike two pictures look, rather than how far apart their numbers are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from varied.errors import VariedError
from varied.terms.base import full_precision, requires
from varied.trace import Trace

__all__ = ["ms_ssim", "ms_ssim_loss", "ssim_map"]

#: What each scale counts, from the finest: measured with people by Wang et al.
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW, BLUR = 11, 1.5
#: They keep the ratios finite where a picture is black or flat: (0.01)^2 and (0.03)^2.
LIGHT, CONTRAST = 1e-4, 9e-4
#: A structure that is turned round has no root; there the likeness ends.
LEAST = 1e-4


@requires()
@full_precision
def ms_ssim_loss(trace: Trace) -> Tensor:
    r"""One less the multi-scale structural similarity of a picture and the mean of p(x given z).

    .. math:: 1 - \ell_S^{w_S} \prod_{s=1}^{S} c_s^{w_s}

    with the likeness of light :math:`\ell` and of contrast and structure c, from windows of 11
    pixels, at each of S scales that halve the picture. A picture below 176 pixels has fewer scales
    (28 have two), whose weights are made to sum to 1. What is missing counts as equal.

    References:
        Multiscale structural similarity for image quality assessment (Wang et al., 2003),
        https://doi.org/10.1109/ACSSC.2003.1292216

    Returns:
        From 0 (equal) to 1, no nats, with shape (B).

    Raises:
        VariedError: If the data are no pictures.
    """
    if trace.x.dim() != 4:
        raise VariedError(
            f"Structural similarity is of pictures (C, H, W), and a datum here has shape "
            f"{tuple(trace.x.shape[1:])}; use objective='elbo'."
        )
    mean = trace.px.mean
    if trace.mask is not None:
        mean = torch.where(trace.mask == 0, trace.x, mean)
    seen = ms_ssim(trace.x.expand_as(mean).flatten(0, 1), mean.flatten(0, 1))
    return trace.expect(1 - seen.reshape(mean.shape[:2]))


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Return the multi-scale structural similarity of pictures in [0, 1].

    Arguments:
        x: Pictures with shape (N, C, H, W).
        y: Others.

    Returns:
        With shape (N); 1 is equal.
    """
    weights = torch.tensor(SCALES[: _scales(min(x.shape[2:]))]).to(x)
    found = []
    for scale in range(len(weights)):
        if scale:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        light, structure = ssim_map(x, y)
        last = scale == len(weights) - 1
        found.append((light * structure if last else structure).mean((1, 2, 3)))
    powers = torch.stack(found, -1).clamp(min=LEAST) ** (weights / weights.sum())
    return powers.prod(-1)


def ssim_map(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the likeness of light, and of contrast and structure, around each pixel.

    Arguments:
        x: Pictures in [0, 1] with shape (N, C, H, W).
        y: Others.

    Returns:
        Two maps, smaller by the window: 11 pixels a side, or the largest odd number that fits.
    """
    maps = torch.cat([x, y, x * x, y * y, x * y], 1)
    window = _window(min(x.shape[2:])).to(x)
    mean_x, mean_y, square_x, square_y, product = _blurred(maps, window).chunk(5, 1)
    light = (2 * mean_x * mean_y + LIGHT) / (mean_x**2 + mean_y**2 + LIGHT)
    both = square_x - mean_x**2 + square_y - mean_y**2
    return light, (2 * (product - mean_x * mean_y) + CONTRAST) / (both + CONTRAST)


def _scales(side: int) -> int:
    return max(sum(side >> scale >= WINDOW for scale in range(len(SCALES))), 1)


def _window(side: int) -> Tensor:
    size = min(WINDOW, side if side % 2 else side - 1)
    place = torch.arange(max(size, 1), dtype=torch.float64)
    bell = torch.exp(-((place - place.mean()) ** 2) / (2 * BLUR**2))
    return bell / bell.sum()


def _blurred(maps: Tensor, window: Tensor) -> Tensor:
    n, channels, height, width = maps.shape
    flat = maps.reshape(n * channels, 1, height, width)
    flat = F.conv2d(F.conv2d(flat, window[None, None, :, None]), window[None, None, None])
    return flat.reshape(n, channels, *flat.shape[2:])
