"""Inpainting: images with a masked region, filled by the model."""

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

#: Draws that are plotted, after their mean.
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
    """Fill the masked region of images: the mean of all draws first, then the draws.

    Binary images are sampled; gray levels and colors are means of p(x | z) for sampled codes.

    Arguments:
        run: The run.
        source: The images; None for the test rows. Pixels in the mask are not used.
        mask: Left, top, width and height in pixels of the run, as "7,7,14,14" or a tuple; or an
            image (a path or array) that is white where pixels are missing.
        n: The number of images.
        n_draws: The number of draws of each.
        samples: The number of proposed codes that each draw is resampled from.
        sweeps: How often a completed image is encoded again; an encoder that was trained without
            masks needs this.
        seed: The random seed.

    Returns:
        A result with shape (n, 1 + n_draws).

    Raises:
        VariedError: If the run is not of images, or the mask is not valid.
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
