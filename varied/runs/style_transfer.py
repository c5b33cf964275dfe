"""Style transfer: decode examples with another class, or with part of another example's code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from varied import functional, plots
from varied.data import RawData
from varied.errors import VariedError
from varied.runs.base import RunBase
from varied.runs.result import Result

Array = npt.NDArray[Any]


def style(
    run: RunBase,
    source: Any = None,
    *,
    label: object = None,
    content: Any = None,
    levels: Sequence[int] | None = None,
    units: Sequence[int] | None = None,
    n: int = 8,
) -> Result:
    """Combine the style of some examples with the content of others.

    By default, a conditional run decodes each example with each class. With ``levels`` or
    ``units``, the selected latent variables are taken from one example, and the others from
    another.

    Arguments:
        run: The run.
        source: The examples that provide the style; None uses the test rows.
        label: The classes or numbers with which examples are decoded; None uses every class. With
            several covariates, a mapping such as ``{"batch": ["1", "2"]}``; other covariates are
            unchanged.
        content: The examples that provide the other latent variables; None uses the examples of the
            source that follow the first n.
        levels: The levels of a ladder VAE that represent the style; 1 is the bottom level.
        units: The latent dimensions that represent the style.
        n: The number of examples that provide a style, and of examples that provide content.

    Returns:
        A result with shape (styles, contents), or (styles, classes) if examples are decoded with
        different classes.

    Raises:
        VariedError: If the run is not conditional, and neither levels nor units are passed.
    """
    data = run.read(source)
    if not (levels or units):
        return _decode_as(run, data.head(n), label)
    others = data.take(np.arange(n, len(data))) if content is None else run.read(content)
    return _mix_codes(run, data.head(n), others.head(n), levels, units)


def _decode_as(run: RunBase, data: RawData, label: object) -> Result:
    """Decode each example with each context."""
    if run.context is None or not run.model.decoder_reads_context:
        raise VariedError(
            "The decoder of this run is not conditioned on a class; train a model with "
            "model='conditional-vae' on labeled data, or pass `levels` or `units`."
        )
    if label is None and not run.context.classes:
        names = ", ".join(covariate.name for covariate in run.context.covariates)
        raise VariedError(
            f"The decoder of this run is conditioned on {names}; pass their values as `label`."
        )
    label = torch.arange(run.context.size) if label is None else label
    contexts = run.context.encode(label)
    x, c = run.model_input(data)
    titles = [_title(values, label) for values in run.context.decode(contexts)]
    if c is not None:
        contexts = run.context.complete(contexts, c[:, None], label)
    decoded = functional.recondition(run.model, x, c, contexts)
    draw = partial(_draw, run.codec.to_images(x), titles=titles, contents=None)
    axes = {"style": None, "as": titles}
    return run.result(decoded.flatten(0, 1), draw, axes, tuple(decoded.shape[:2]), contexts)


def _title(values: Any, label: object) -> str:
    """Return a title with the values of the covariates in a label."""
    if isinstance(values, Mapping):
        names = label if isinstance(label, Mapping) else values
        return ", ".join(f"{name}={_title(values[name], label)}" for name in names)
    return f"{values:g}" if isinstance(values, float) else str(values)


def _mix_codes(
    run: RunBase,
    styles: RawData,
    contents: RawData,
    levels: Sequence[int] | None,
    units: Sequence[int] | None,
) -> Result:
    """Decode the code of each content example with the style units of each style example."""
    run.require_euclidean_latent("Mixing codes")
    if levels and units:
        raise VariedError("`levels` and `units` cannot be combined; pass one of them.")
    indices = list(units) if units else functional.level_units(run.model, levels or ())
    size = int(np.prod(run.model.latent_shape))
    if not all(0 <= unit < size for unit in indices):
        raise VariedError(f"units={indices} must be between 0 and {size - 1}.")
    (x, c), (y, style_c) = run.model_input(contents), run.model_input(styles)
    mixed = functional.mix_codes(run.model, x, y, indices, c, style_c)
    draw = partial(_draw, run.codec.to_images(y), titles=None, contents=run.codec.to_images(x))
    axes = {"style": None, "content": None}
    return run.result(mixed.flatten(0, 1), draw, axes, tuple(mixed.shape[:2]))


def _draw(
    styles: Array,
    images: Array,
    path: Path,
    *,
    titles: Sequence[str] | None,
    contents: Array | None,
) -> Path:
    if images.dtype == np.uint8:
        return plots.variants(styles, images, path, first="style", titles=titles, contents=contents)
    curves = images.reshape(images.shape[0] * images.shape[1], -1)
    headings = None if titles is None else [*titles] * len(images)
    return plots.curves(curves, path, columns=images.shape[1], titles=headings)
