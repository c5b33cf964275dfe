"""Inpainting: fill a masked region of images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from varied import functional, plots
from varied.runs.base import RunBase
from varied.runs.result import Result

Array = npt.NDArray[Any]

#: The number of draws that are plotted after their mean.
_PLOTTED = 6


def inpaint(
    run: RunBase,
    source: Any = None,
    *,
    mask: Any,
    n: int = 8,
    n_draws: int = 20,
    samples: int = 100,
    sweeps: int = 20,
    seed: int = 0,
) -> Result:
    """Fill a masked region of images with several draws, and return their mean and the draws.

    For binary images, pixels are sampled from p(x | z); for grayscale and color images, they are
    the means of p(x | z) for sampled codes.

    Arguments:
        run: The run.
        source: The images; None uses the test rows. Pixels in the region are not used.
        mask: The region to fill: its left edge, top edge, width and height, in pixels at the image
            size of the run, as a string ("7,7,14,14") or a tuple; or an image (a path or an array)
            that is white in the region.
        n: The number of images.
        n_draws: The number of draws for each image.
        samples: The number of proposed codes from which each draw is resampled.
        sweeps: The number of times that a completed image is encoded again, which is necessary if
            the encoder was trained on complete images.
        seed: The random seed.

    Returns:
        A result with shape (n, 1 + n_draws).

    Raises:
        VariedError: If the run was not trained on images, or the region is invalid.
    """
    pixels = torch.from_numpy(run.codec.parse_mask(mask))
    x, c = run.model_input(run.read(source).head(n))
    observed = (~pixels).to(x).expand_as(x)
    draws = functional.impute(
        run.model, x, c, observed, n_draws=n_draws, samples=samples, sweeps=sweeps, seed=seed
    )
    if not run.codec.is_lossy:
        means = [functional.reconstruct(run.model, draw, c) for draw in draws]
        draws = torch.stack([torch.where(observed > 0, x, mean) for mean in means])
    draws = draws.transpose(0, 1)
    filled = torch.cat([draws.mean(1, keepdim=True), draws], 1)
    masked = run.codec.to_images(torch.where(observed > 0, x, 0.5))
    draw = partial(_draw, masked)
    return run.result(filled.flatten(0, 1), draw, {}, tuple(filled.shape[:2]))


def _draw(masked: Array, images: Array, path: Path) -> Path:
    shown = images[:, : _PLOTTED + 1]
    titles = ["mean", *(f"draw {i}" for i in range(1, shown.shape[1]))]
    return plots.variants(masked, shown, path, first="masked", titles=titles)
