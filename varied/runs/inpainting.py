"""Pictures with a hole, filled by what the model has seen of others."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from varied import functional, plots
from varied.data import RawData
from varied.data.codecs import ImageCodec
from varied.errors import VariedError
from varied.runs.opening import OpenRun
from varied.runs.result import Result

__all__ = ["inpaint"]

Array = npt.NDArray[Any]

#: Draws that are drawn beside the mean of all.
SHOWN = 6


def inpaint(
    run: OpenRun, items: RawData, mask: Any, *, n_draws: int, samples: int, sweeps: int, seed: int
) -> Result:
    """Return pictures whose hole is filled: the mean of all draws, then the draws themselves.

    Black and white is drawn; gray levels and colors are the means of p(x given z) for drawn codes.

    Arguments:
        run: The run, of pictures.
        items: Pictures; what lies in the hole is not looked at.
        mask: Left, top, width and height in pixels of the run, as "7,7,14,14" or a tuple; or a
            picture (its path or array) that is white where the hole is.
        n_draws: How often it is filled.
        samples: Codes that each draw is chosen from.
        sweeps: How often what was drawn is encoded again.
        seed: Which draws.

    Returns:
        Pictures with shape (n, 1 + n_draws, ...).

    Raises:
        VariedError: If the run is not of pictures, or the hole is none.
    """
    if not isinstance(run.codec, ImageCodec):
        raise VariedError("A hole is for runs of pictures; the gaps of a table are its own.")
    x, c = run.as_model_input(items)
    known = torch.from_numpy(~_hole(mask, (x.shape[-2], x.shape[-1]))).to(x).expand_as(x)
    how: Any = {"n_draws": n_draws, "samples": samples, "sweeps": sweeps, "seed": seed}
    made = functional.impute(run.model, x, c, known, **how)
    if run.codec.binarize == "none":
        made = torch.stack([_smooth(run, x, one, c, known) for one in made])
    made = made.transpose(0, 1)
    made = torch.cat([made.mean(1, keepdim=True), made], 1)
    shown = run.codec.to_images(torch.where(known > 0, x, 0.5))
    return run.result(made.flatten(0, 1), partial(_draw, shown), made.shape[:2])


def _smooth(run: OpenRun, x: Tensor, drawn: Tensor, c: Tensor | None, known: Tensor) -> Tensor:
    """Return what the code of a drawn picture says of its hole: levels without their noise."""
    return torch.where(known > 0, x, functional.reconstruct(run.model, drawn, c))


def _draw(given: Array, pictures: Array, path: Path) -> Path:
    some = pictures[:, : SHOWN + 1]
    titles = ["mean", *(f"draw {i}" for i in range(1, some.shape[1]))]
    return plots.variants(given, some, path, first="given", titles=titles)


def _hole(said: Any, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return where the hole is, as bool with shape (H, W)."""
    box = _box(said)
    if box is not None:
        left, top, width, height = box
        found = np.zeros(size, bool)
        found[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = True
    else:
        found = _picture(said, size)
    if not found.any() or found.all():
        raise VariedError(
            f"The hole holds {found.sum()} of {found.size} pixels; these pictures are {size[1]} "
            f"wide and {size[0]} high, and some must be missing and some be there."
        )
    return found


def _box(said: Any) -> list[int] | None:
    words = said.split(",") if isinstance(said, str) else said
    try:
        numbers = [int(word) for word in words]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == 4 else None


def _picture(said: Any, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    try:
        gray = Image.open(said) if isinstance(said, str | Path) else Image.fromarray(_bytes(said))
        return np.asarray(gray.convert("L").resize(size[::-1], Image.Resampling.NEAREST)) > 127
    except (OSError, UnidentifiedImageError, TypeError, ValueError):
        raise VariedError(
            f"{said!s:.80} is no hole: give left,top,width,height in pixels, such as 7,7,14,14, or "
            "a picture that is white where the hole is."
        ) from None


def _bytes(said: Any) -> Array:
    array = np.asarray(said)
    return array.astype(np.uint8) * 255 if array.dtype == bool else array
