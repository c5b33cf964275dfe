"""Tables of the report that compare samples with data, and the prior with the codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from varied import functional
from varied.evaluate.frechet import frechet
from varied.report import Table
from varied.runs import Run
from varied.runtime import eval_float32
from varied.seeding import seeded

#: The maximum number of examples that are compared.
_COMPARED = 500
#: The number of rows and of columns of the grid over which pixels are averaged.
_GRID = 4
#: The minimum number of test rows for the tables.
_MIN_ROWS = 20


def sample_tables(run: Run) -> Iterator[Table]:
    """Compare samples with test rows, and the prior with the codes of test rows.

    The first table, for images, contains mean colors in gray levels, and Fréchet distances to test
    images in squared units of pixel values in [0, 1]. The second table, for models with real-valued
    codes and a density, contains moments of the codes. With fewer than 20 test rows, there are no
    tables.
    """
    test = run.split("test").head(_COMPARED)
    if len(test) < _MIN_ROWS:
        return
    x, c = run.model_input(test)
    images = run.codec.to_images(x)
    # Molecules, for example, are drawn, so their images do not have the shape of the data.
    if images.dtype == np.uint8 and images.shape[1:3] == run.codec.shape[-2:]:
        yield _image_table(run, images, functional.reconstruct(run.model, x, c))
    if run.has_density and run.has_euclidean_latent:
        with eval_float32(run.model), seeded(run.spec.plan.seed, "codes"):
            codes = run.model.encode(x, c).sample().flatten(1)
            prior = run.model.sample_prior(len(x), c).flatten(1)
        yield _code_table(codes.cpu().double().numpy(), prior.cpu().double().numpy())


def _image_table(run: Run, test: npt.NDArray[Any], reconstructions: Tensor) -> Table:
    n = len(test)
    training = run.codec.to_images(run.model_input(run.split("train").head(n))[0])
    sets = {
        "test images": test,
        "training images": training,
        "reconstructions": run.codec.to_images(reconstructions),
        "samples": run.codec.to_images(functional.sample(run.model, n, run.contexts(n))),
    }
    reference = _grid_means(test)
    rows = [
        (
            name,
            ", ".join(f"{255 * value:.0f}" for value in _channels(images).mean((0, 2, 3))),
            "" if images is test else f"{frechet(_grid_means(images), reference):.3g}",
        )
        for name, images in sets.items()
    ]
    color = "mean gray level" if test.ndim == 3 else "mean red, green, blue"
    return Table(
        "Samples and data",
        ("", f"{color} (0-255)", "Fréchet distance to test images"),
        rows,
        f"{n:,} images each; the distance is computed from pixel values in [0, 1], averaged over "
        f"the cells of a {_GRID} x {_GRID} grid.",
    )


def _channels(images: npt.NDArray[Any]) -> Tensor:
    """Return images in [0, 1] with shape (N, channels, H, W)."""
    x = torch.from_numpy(images).double() / 255
    return x[:, None] if x.ndim == 3 else x.movedim(-1, 1)


def _grid_means(images: npt.NDArray[Any]) -> Tensor:
    """Return the means over the cells of a grid, with shape (N, channels * cells)."""
    return adaptive_avg_pool2d(_channels(images), _GRID).flatten(1)


def _code_table(codes: npt.NDArray[Any], prior: npt.NDArray[Any]) -> Table:
    rows = [
        (
            name,
            f"{np.abs(z.mean(0)).max():.2f}",
            f"{z.std(0).min():.2f} to {z.std(0).max():.2f}",
            f"{_largest_correlation(z):.2f}",
        )
        for name, z in (("codes of test rows", codes), ("prior", prior))
    ]
    header = ("", "largest mean", "standard deviations", "largest correlation")
    note = (
        f"{len(codes):,} codes each, sampled from q(z | x) and p(z); means and correlations are "
        "absolute values."
    )
    return Table("Codes and prior", header, rows, note)


def _largest_correlation(z: npt.NDArray[Any]) -> float:
    """Return the largest absolute correlation of two columns that vary, or 0."""
    if z.shape[1] < 2:
        return 0.0
    varying = z[:, z.std(0) > 0]
    return float(np.abs(np.triu(np.corrcoef(varying.T), 1)).max(initial=0.0))
