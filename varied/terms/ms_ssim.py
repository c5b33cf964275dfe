"""The multi-scale structural similarity of images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from varied.errors import VariedError
from varied.terms.base import full_precision, requires
from varied.trace import Trace

#: The weights of the scales, finest first, which Wang et al. (2003) measured with human observers.
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
#: The size of the Gaussian window and its standard deviation, in pixels.
WINDOW, WINDOW_STD = 11, 1.5
#: Constants that stabilize the luminance and the contrast-structure ratio: 0.01^2 and 0.03^2.
C1, C2 = 1e-4, 9e-4
#: The minimum similarity of a scale, since a negative similarity (an inverted structure) has no
#: real power.
MIN_SIMILARITY = 1e-4


@requires()
@full_precision
def ms_ssim_loss(trace: Trace) -> Tensor:
    r"""Return 1 minus the multi-scale structural similarity of an image and its reconstruction.

    .. math:: 1 - \ell_S^{w_S} \prod_{s=1}^{S} c_s^{w_s}

    where :math:`\ell` is the luminance similarity and c is the contrast-structure similarity. Both
    are computed in windows of 11 pixels at S scales, each of which halves the image size. For
    images smaller than 176 pixels, fewer scales are used (two for 28 pixels), and their weights are
    normalized to sum to 1. Missing pixels are treated as equal. The reconstruction is the mean of
    p(x | z).

    References:
        Multiscale structural similarity for image quality assessment (Wang et al., 2003),
        https://doi.org/10.1109/ACSSC.2003.1292216

    Returns:
        The dimensionless loss for each example, between 0 (equal) and 1, with shape (B).

    Raises:
        VariedError: If the data are not images.
    """
    if trace.x.dim() != 4:
        raise VariedError(
            "Structural similarity requires images (C, H, W), not data of shape "
            f"{tuple(trace.x.shape[1:])}; use objective='elbo'."
        )
    mean = trace.px.mean
    if trace.mask is not None:
        mean = torch.where(trace.mask == 0, trace.x, mean)
    similarity = ms_ssim(trace.x.expand_as(mean).flatten(0, 1), mean.flatten(0, 1))
    return trace.expect(1 - similarity.reshape(mean.shape[:2]))


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Return the multi-scale structural similarity of images in [0, 1].

    Arguments:
        x: Images with shape (N, C, H, W).
        y: Images with the same shape.

    Returns:
        The similarities, with shape (N); 1 for equal images.
    """
    weights = torch.tensor(SCALES[: _num_scales(min(x.shape[2:]))]).to(x)
    similarities = []
    for scale in range(len(weights)):
        if scale:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        luminance, structure = ssim_map(x, y)
        is_last = scale == len(weights) - 1
        similarity = luminance * structure if is_last else structure
        similarities.append(similarity.mean((1, 2, 3)))
    powers = torch.stack(similarities, -1).clamp(min=MIN_SIMILARITY) ** (weights / weights.sum())
    return powers.prod(-1)


def ssim_map(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the luminance and contrast-structure similarities around each pixel.

    Arguments:
        x: Images in [0, 1] with shape (N, C, H, W).
        y: Images with the same shape.

    Returns:
        Two maps, cropped to the pixels around which the window fits. The side of the window is 11
        pixels or, for smaller images, the largest odd number of pixels that fits into the image.
    """
    maps = torch.cat([x, y, x * x, y * y, x * y], 1)
    window = _gaussian_window(min(x.shape[2:])).to(x)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _blur(maps, window).chunk(5, 1)
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    variances = mean_xx - mean_x**2 + mean_yy - mean_y**2
    return luminance, (2 * (mean_xy - mean_x * mean_y) + C2) / (variances + C2)


def _num_scales(side: int) -> int:
    return max(sum(side >> scale >= WINDOW for scale in range(len(SCALES))), 1)


def _gaussian_window(side: int) -> Tensor:
    size = min(WINDOW, side if side % 2 else side - 1)
    position = torch.arange(max(size, 1), dtype=torch.float64)
    window = torch.exp(-((position - position.mean()) ** 2) / (2 * WINDOW_STD**2))
    return window / window.sum()


def _blur(maps: Tensor, window: Tensor) -> Tensor:
    n, channels, height, width = maps.shape
    flat = maps.reshape(n * channels, 1, height, width)
    flat = F.conv2d(F.conv2d(flat, window[None, None, :, None]), window[None, None, None])
    return flat.reshape(n, channels, *flat.shape[2:])
