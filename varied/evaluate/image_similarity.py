"""How like their originals reconstructions are: by structure, and by squared error in decibels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate.estimate import Estimate
from varied.terms.ms_ssim import ssim_map

__all__ = ["psnr", "ssim"]

Array = npt.NDArray[Any]

CHUNK = 500


def ssim(a: Tensor | Array, b: Tensor | Array) -> Estimate:
    r"""Return the structural similarity of two sets of pictures, in pairs: 1 is equal.

    .. math::
        \frac{(2 \mu_a \mu_b + 0.01^2)(2 \sigma_{ab} + 0.03^2)}
        {(\mu_a^2 + \mu_b^2 + 0.01^2)(\sigma_a^2 + \sigma_b^2 + 0.03^2)}

    with means, variances and the covariance over a Gaussian window of 11x11 pixels and a standard
    deviation of 1.5 around each place where it fits; the mean is taken over these places, then the
    channels, then the pictures, whose values lie in [0, 1].

    References:
        Image Quality Assessment: From Error Visibility to Structural Similarity (Wang et al.,
        2004), https://doi.org/10.1109/TIP.2003.819861

    Warning:
        Tools that mirror the border and count it (torchmetrics does) differ in the third digit.
        A picture whose shorter side is below 11 pixels is seen by the largest window of an odd
        size that fits (7x7 for 8x8), and figures of different windows do not compare. Flat parts,
        such as a black background, count as alike: on sparse pictures the figure is high whatever
        else is wrong. It is of pairs, so it says nothing of samples.

    Arguments:
        a: Pictures as uint8, or as floats in [0, 1], with shape (N, C, H, W) or (N, H, W).
        b: Those that are compared with them, of the same shape; uint8 and floats may meet.

    Returns:
        The mean over pictures, from -1 to 1, with its standard error over pictures.

    Raises:
        VariedError: If the shapes do not fit, or the values do not lie in [0, 1].

    Example:
        >>> x = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> ssim(x, x).value
        1.0
    """
    return Estimate.of(torch.cat([_structure(*pair) for pair in _pairs(a, b)]))


def psnr(a: Tensor | Array, b: Tensor | Array) -> Estimate:
    r"""Return the peak signal-to-noise ratio of two sets of pictures, in pairs, in decibels.

    .. math:: \frac1N \sum_{n=1}^{N} 10 \log_{10} \frac{1}{\mathrm{MSE}_n}

    with the mean squared error of each picture, whose values lie in [0, 1].

    References:
        Image Quality Metrics: PSNR vs. SSIM (Horé and Ziou, 2010),
        https://doi.org/10.1109/ICPR.2010.579

    Warning:
        This is the mean of the ratio of each picture. Some tools take the ratio of the mean
        squared error of all pictures instead, which is never above this one, and below it the
        more, the more pictures differ in how well they are done: the two do not compare. Pictures
        that are equal have a ratio of infinity, and one such pair makes the mean infinite, with an
        error that is not a number: leave such pairs out, and say how many there are.

    Arguments:
        a: Pictures as uint8, or as floats in [0, 1], with shape (N, C, H, W) or (N, H, W).
        b: Those that are compared with them, of the same shape; uint8 and floats may meet.

    Returns:
        The mean over pictures in decibels, with its standard error over pictures.

    Raises:
        VariedError: If the shapes do not fit, or the values do not lie in [0, 1].

    Example:
        >>> x = torch.zeros(4, 1, 8, 8)
        >>> round(psnr(x, x + 0.1).value, 4)
        20.0
    """
    errors = [(x - y).square().flatten(1).mean(1) for x, y in _pairs(a, b)]
    return Estimate.of(-10 * torch.cat(errors).log10())


def _structure(x: Tensor, y: Tensor) -> Tensor:
    light, structure = ssim_map(x, y)
    return (light * structure).mean((1, 2, 3))


def _pairs(a: Tensor | Array, b: Tensor | Array) -> Iterator[tuple[Tensor, Tensor]]:
    """Return chunks of both, in float64 and with shape (N, C, H, W)."""
    x, y = _tensor(a), _tensor(b)
    if x.shape != y.shape:
        raise VariedError(
            f"The pictures have shapes {tuple(x.shape)} and {tuple(y.shape)}: give pairs, each "
            "picture beside its original."
        )
    if x.ndim not in (3, 4) or not x.numel():
        raise VariedError(
            f"Pictures have shape (N, C, H, W) or (N, H, W), not {tuple(x.shape)}: "
            "put the channels before height and width, and give one at least."
        )
    if x.ndim == 3:
        x, y = x[:, None], y[:, None]
    chunks = zip(x.split(CHUNK), y.split(CHUNK), strict=True)
    return ((_unit(some), _unit(others)) for some, others in chunks)


def _unit(x: Tensor) -> Tensor:
    values = x.double() / (255 if x.dtype == torch.uint8 else 1)
    # Written so that NaN is refused too.
    if not (values.min() >= -1e-6 and values.max() <= 1 + 1e-6):
        raise VariedError("The values of pictures lie in [0, 1]: give uint8, or scale them.")
    return values


def _tensor(given: Tensor | Array) -> Tensor:
    if isinstance(given, Tensor):
        x = given.detach().cpu()
    else:
        x = torch.from_numpy(np.require(given, requirements=("C", "W")))
    if x.dtype != torch.uint8 and not x.is_floating_point():
        raise VariedError(f"Pictures are uint8 or floats in [0, 1], not {x.dtype}: convert them.")
    return x
