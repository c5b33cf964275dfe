"""How like real data the generated ones are: distances between features, and sharpness."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from varied.errors import VariedError
from varied.evaluate.estimate import Estimate

__all__ = ["frechet", "sharpness"]

Array = npt.NDArray[Any]

#: How much each of red, green and blue counts for brightness.
LUMA = (0.299, 0.587, 0.114)
LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))
CHUNK = 1000


def frechet(features_a: Tensor | Array, features_b: Tensor | Array) -> float:
    r"""Return the Fréchet distance between two sets of features, each taken for a Gaussian.

    .. math:: |\mu_a - \mu_b|^2 + \mathrm{tr}(\Sigma_a + \Sigma_b - 2 (\Sigma_a \Sigma_b)^{1/2})

    with the unbiased covariances, in float64. With :math:`\Sigma = R^\top R`, the trace of the
    root is the sum of the singular values of :math:`R_a R_b^\top`, so no root of a matrix that is
    nearly singular is ever taken.

    References:
        GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium
        (Heusel et al., 2017), https://arxiv.org/abs/1706.08500

    Warning:
        The distance of two samples of one distribution is above 0, and the more so the fewer
        rows there are: compare figures of the same features and the same numbers of rows. It is
        an "FID" with the features of the Inception network alone.

    Arguments:
        features_a: One set, with shape (N, D).
        features_b: The other, with shape (M, D).

    Returns:
        The squared distance, in squared units of the features, from 0 up.

    Raises:
        VariedError: If a set has fewer than 2 rows, or the features differ in number.

    Example:
        >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
        >>> round(frechet(x, x + 2.0), 6)
        12.0
    """
    a, b = _rows(features_a), _rows(features_b)
    if a.shape[1] != b.shape[1]:
        raise VariedError(
            f"One set has {a.shape[1]} features and the other {b.shape[1]}: take both by one net."
        )
    (mean_a, root_a), (mean_b, root_b) = _moments(a), _moments(b)
    apart = (mean_a - mean_b).square().sum()
    shared = torch.linalg.svdvals(root_a @ root_b.T).sum()
    found = apart + root_a.square().sum() + root_b.square().sum() - 2 * shared
    return max(float(found), 0.0)


def sharpness(pictures: Tensor | Array) -> Estimate:
    r"""Return how sharp pictures are: the mean, over pictures, of the variance of their Laplacian.

    .. math:: \mathrm{Var}_{ij}(y_{i-1,j} + y_{i+1,j} + y_{i,j-1} + y_{i,j+1} - 4 y_{ij})

    over the inner pixels of the brightness y in [0, 1], so its unit is squared brightness. A
    blurred picture has less; so does an empty one, and noise has most: read it beside the same
    figure of real data, which is the aim.

    References:
        Diatom Autofocusing in Brightfield Microscopy: a Comparative Study (Pech-Pacheco et al.,
        2000), https://doi.org/10.1109/ICPR.2000.903548

    Arguments:
        pictures: uint8, or floats in [0, 1], with shape (N, H, W), (N, 1, H, W) or (N, 3, H, W).

    Raises:
        VariedError: If they are no such pictures, or smaller than 3x3.

    Example:
        >>> sharpness(torch.ones(4, 8, 8)).value
        0.0
    """
    rows = _pictures(pictures)
    kernel = torch.tensor(LAPLACIAN, dtype=torch.float64)[None, None]
    found = []
    for some in rows.split(CHUNK):
        edges = functional.conv2d(_gray(some)[:, None], kernel)
        found.append(edges.flatten(1).var(1, correction=0))
    return Estimate.of(torch.cat(found))


def _gray(pictures: Tensor) -> Tensor:
    """Return the brightness of pictures in [0, 1], with shape (N, H, W)."""
    values = pictures.double() / (255 if pictures.dtype == torch.uint8 else 1)
    # Written so that NaN is refused too.
    if not (values.min() >= -1e-6 and values.max() <= 1 + 1e-6):
        raise VariedError("Brightness lies between 0 and 1: give uint8, or scale the pictures.")
    if values.ndim == 3:
        return values
    weights = values.new_tensor(LUMA if values.shape[1] == 3 else (1.0,))
    return torch.einsum("nchw,c->nhw", values, weights)


def _pictures(given: Tensor | Array) -> Tensor:
    rows = _tensor(given)
    fits = rows.ndim == 3 or (rows.ndim == 4 and rows.shape[1] in (1, 3))
    if not (fits and len(rows) and min(rows.shape[-2:]) >= 3):
        raise VariedError(
            f"Pictures have shape (N, H, W), (N, 1, H, W) or (N, 3, H, W), 3x3 at least, "
            f"not {tuple(rows.shape)}: put the channels before height and width."
        )
    if rows.dtype != torch.uint8 and not rows.is_floating_point():
        raise VariedError(
            f"Pictures are uint8 or floats in [0, 1], not {rows.dtype}: convert them."
        )
    return rows


def _rows(given: Tensor | Array) -> Tensor:
    rows = _tensor(given)
    if rows.ndim != 2 or len(rows) < 2:
        raise VariedError(
            f"Features of shape {tuple(rows.shape)} have no covariance: give (N, D), N from 2 up."
        )
    if not rows.isfinite().all():
        raise VariedError("The features hold NaN or infinity: leave those rows out.")
    return rows.double()


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the mean, and a root R of the covariance :math:`R^\top R`."""
    mean = rows.mean(0)
    root = torch.linalg.qr(rows - mean, mode="r").R
    return mean, root / (len(rows) - 1) ** 0.5


def _tensor(given: Tensor | Array) -> Tensor:
    if isinstance(given, Tensor):
        return given.detach().cpu()
    return torch.from_numpy(np.require(given, requirements=("C", "W")))
