"""The Fréchet distance between features, and the sharpness of images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from varied.errors import VariedError
from varied.evaluate._checks import as_images, as_table_pair, to_unit_range
from varied.evaluate._types import Data
from varied.evaluate.estimate import Estimate

#: The weights of red, green and blue in the luma.
LUMA = (0.299, 0.587, 0.114)
LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))
CHUNK = 1000


def frechet(features_a: Data, features_b: Data) -> float:
    r"""Return the Fréchet distance between Gaussians fitted to two sets of features.

    .. math:: |\mu_a - \mu_b|^2 + \mathrm{tr}(\Sigma_a + \Sigma_b - 2 (\Sigma_a \Sigma_b)^{1/2})

    The covariances are unbiased, and the computation is in float64. With
    :math:`\Sigma = R^\top R`, the trace of the matrix square root is the sum of the singular values
    of :math:`R_a R_b^\top`, which is accurate even for nearly singular covariances.

    References:
        GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium
        (Heusel et al., 2017), https://arxiv.org/abs/1706.08500

    Warning:
        The distance between two samples from the same distribution is positive, and it is larger
        for fewer rows: compare only values for the same features and the same numbers of rows. It
        is an "FID" only if the features are those of the Inception network.

    Arguments:
        features_a: The first set, with shape (N, D).
        features_b: The second set, with shape (M, D).

    Returns:
        The squared distance, in squared units of the features.

    Raises:
        VariedError: If a set has fewer than 2 rows, or the numbers of features differ.

    Example:
        >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
        >>> round(frechet(x, x + 2.0), 6)
        12.0
    """
    names = ("first features", "second features")
    a, b = as_table_pair(features_a, features_b, names, min_rows=2)
    (mean_a, root_a), (mean_b, root_b) = _moments(a), _moments(b)
    of_means = (mean_a - mean_b).square().sum()
    shared = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = of_means + root_a.square().sum() + root_b.square().sum() - 2 * shared
    return max(float(distance), 0.0)


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the mean, and a root R of the covariance :math:`R^\top R`."""
    mean = rows.mean(0)
    root = torch.linalg.qr(rows - mean, mode="r").R
    return mean, root / (len(rows) - 1) ** 0.5


def sharpness(images: Data) -> Estimate:
    r"""Return the mean variance of the Laplacian of images.

    .. math:: \mathrm{Var}_{ij}(y_{i-1,j} + y_{i+1,j} + y_{i,j-1} + y_{i,j+1} - 4 y_{ij})

    The variance is computed over the inner pixels of the luma y in [0, 1]. Blurred images have a
    lower value, but so do empty images, and noise has the highest value: compare the value with the
    sharpness of real images.

    References:
        Diatom Autofocusing in Brightfield Microscopy: a Comparative Study (Pech-Pacheco et al.,
        2000), https://doi.org/10.1109/ICPR.2000.903548

    Arguments:
        images: The images, uint8 or floating point in [0, 1], with shape (N, H, W), (N, 1, H, W) or
            (N, 3, H, W).

    Raises:
        VariedError: If the shape, data type or range is wrong, or images are smaller than 3x3.

    Example:
        >>> sharpness(torch.ones(4, 8, 8)).value
        0.0
    """
    x = as_images(images, min_side=3)
    if x.shape[1] not in (1, 3):
        raise VariedError(
            f"Sharpness requires images with 1 or 3 channels, not {x.shape[1]}; put the channels "
            "before the height and width."
        )
    kernel = torch.tensor(LAPLACIAN, dtype=torch.float64)[None, None]
    weights = torch.tensor(LUMA if x.shape[1] == 3 else (1.0,), dtype=torch.float64)
    variances = []
    for chunk in x.split(CHUNK):
        luma = torch.einsum("nchw,c->nhw", to_unit_range(chunk), weights)
        edges = functional.conv2d(luma[:, None], kernel)
        variances.append(edges.flatten(1).var(1, correction=0))
    return Estimate.of(torch.cat(variances))
