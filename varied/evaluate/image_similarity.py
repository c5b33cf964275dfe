"""Similarity of images to their originals: SSIM and PSNR."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate._checks import as_images, to_unit_range
from varied.evaluate._types import Data
from varied.evaluate.estimate import Estimate
from varied.terms.ms_ssim import ssim_map

CHUNK = 500


def ssim(a: Data, b: Data) -> Estimate:
    r"""Return the mean structural similarity of pairs of images, which is 1 if they are equal.

    .. math::
        \frac{(2 \mu_a \mu_b + 0.01^2)(2 \sigma_{ab} + 0.03^2)}
        {(\mu_a^2 + \mu_b^2 + 0.01^2)(\sigma_a^2 + \sigma_b^2 + 0.03^2)}

    The means, variances and the covariance are weighted by a Gaussian window of 11x11 pixels with a
    standard deviation of 1.5, at each position where it fits. Pixel values are in [0, 1], and the
    similarity is averaged over positions, channels and images.

    References:
        Image Quality Assessment: From Error Visibility to Structural Similarity (Wang et al.,
        2004), https://doi.org/10.1109/TIP.2003.819861

    Warning:
        Implementations that mirror the border and include it, such as torchmetrics, differ in the
        third digit. If the shorter side has fewer than 11 pixels, the window has the largest odd
        size that fits (7x7 for 8x8), and values for different windows are not comparable. Constant
        areas, such as a black background, count as similar, so values for sparse images are high
        regardless of errors elsewhere. SSIM requires pairs of images, so it cannot measure the
        quality of samples.

    Arguments:
        a: The images, uint8 or floating point in [0, 1], with shape (N, C, H, W) or (N, H, W).
        b: The images to which ``a`` is compared, with the same shape.

    Returns:
        The mean over images, between -1 and 1.

    Raises:
        VariedError: If the shapes differ, or values are not in [0, 1].

    Example:
        >>> x = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> ssim(x, x).value
        1.0
    """
    maps = (ssim_map(x, y) for x, y in _pairs(a, b))
    return Estimate.of(
        torch.cat([(luminance * structure).mean((1, 2, 3)) for luminance, structure in maps])
    )


def psnr(a: Data, b: Data) -> Estimate:
    r"""Return the mean peak signal-to-noise ratio of pairs of images, in decibels.

    .. math:: \frac1N \sum_{n=1}^{N} 10 \log_{10} \frac{1}{\mathrm{MSE}_n}

    where :math:`\mathrm{MSE}_n` is the mean squared error of image n, whose values are in [0, 1].

    References:
        Image Quality Metrics: PSNR vs. SSIM (Horé and Ziou, 2010),
        https://doi.org/10.1109/ICPR.2010.579

    Warning:
        This is the mean of the ratios of single images. Some implementations instead compute one
        ratio from the mean squared error over all images, which is never higher and not comparable.
        The ratio of equal images is infinite, and a single such pair makes the mean infinite and
        its standard error NaN: exclude such pairs, and report their number.

    Arguments:
        a: The images, uint8 or floating point in [0, 1], with shape (N, C, H, W) or (N, H, W).
        b: The images to which ``a`` is compared, with the same shape.

    Returns:
        The mean over images, in decibels.

    Raises:
        VariedError: If the shapes differ, or values are not in [0, 1].

    Example:
        >>> x = torch.zeros(4, 1, 8, 8)
        >>> round(psnr(x, x + 0.1).value, 4)
        20.0
    """
    errors = [(x - y).square().flatten(1).mean(1) for x, y in _pairs(a, b)]
    return Estimate.of(-10 * torch.cat(errors).log10())


def _pairs(a: Data, b: Data) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield chunks of both sets of images, in float64."""
    if a.shape != b.shape:
        raise VariedError(
            f"The images have shapes {tuple(a.shape)} and {tuple(b.shape)}; pass pairs of images "
            "with the same shape."
        )
    for x, y in zip(as_images(a).split(CHUNK), as_images(b).split(CHUNK), strict=True):
        yield to_unit_range(x), to_unit_range(y)
