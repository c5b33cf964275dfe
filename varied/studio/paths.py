"""Operations along directions of the latent space: interpolate, traverse and attribute."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from varied import functional, plots
from varied.errors import VariedError
from varied.runs.attributes import attributes, frequent_levels
from varied.runs.latent_support import MAX_TRAINING
from varied.studio.examples import decoded_examples, select
from varied.studio.opened_run import OpenedRun
from varied.studio.schemas import (
    AttributeEffect,
    AttributeRequest,
    AttributeResponse,
    Decoded,
    InterpolateRequest,
    InterpolateResponse,
    TraverseRequest,
    TraverseResponse,
)


def interpolate(opened: OpenedRun, request: InterpolateRequest) -> InterpolateResponse:
    """Decode a path between two examples, or a grid between four.

    Raises:
        VariedError: If there is another number of examples, one cannot be read, or the run does not
            support the path.
    """
    z, c, shape = _interpolate_codes(opened, request)
    decoded = decoded_examples(opened, opened.decode(z, c), c)
    density = opened.density
    log_density = None if density is None else density.log_density(z).reshape(shape).tolist()
    return InterpolateResponse(
        rows=_rows(decoded, shape),
        log_density=log_density,
        threshold=None if density is None else density.threshold,
    )


def interpolation_gif(opened: OpenedRun, request: InterpolateRequest) -> bytes:
    """Return an animation of a path between two examples, as a GIF file.

    Raises:
        VariedError: If the data are not images; see also `interpolate`.
    """
    z, c, shape = _interpolate_codes(opened, request)
    if shape[0] != 1:
        raise VariedError("An animation requires exactly 2 examples; a grid has 4.")
    images = opened.run.codec.to_images(opened.decode(z, c))
    if images.dtype != np.uint8:
        noun = opened.run.codec.noun
        raise VariedError(f"Only images can be animated, but this run was trained on {noun}.")
    with tempfile.TemporaryDirectory() as folder:
        return plots.interpolation_gif(images[None], Path(folder) / "path.gif").read_bytes()


def _interpolate_codes(
    opened: OpenedRun, request: InterpolateRequest
) -> tuple[Tensor, Tensor | None, tuple[int, int]]:
    """Return codes with shape (N, D), their contexts, and the numbers of rows and columns."""
    chosen, steps = select(opened, request.source), request.steps
    chosen.require_all()
    if len(chosen) not in (2, 4):
        raise VariedError(
            f"An interpolation requires 2 examples, or 4 for a grid, got {len(chosen)}."
        )
    codes, c = opened.encode(chosen.batch), chosen.batch.c
    if len(chosen) == 4:
        if request.path != "linear":
            raise VariedError(f"A grid supports only linear paths; omit path='{request.path}'.")
        corners = codes.reshape(-1, *opened.run.model.latent_shape)
        with torch.no_grad():
            z, contexts = functional.grid_codes(opened.run.model, corners, c, steps=steps)
        return z.flatten(1), contexts, (steps, steps)
    if request.path == "density":
        opened.run.require_euclidean_latent("path='density'")
    z = functional.path_codes(
        codes[:1], codes[1:], steps=steps, path=request.path, density=opened.density
    )
    return z[0], None if c is None else c[:1].expand(steps, -1), (1, steps)


def _rows(decoded: list[Decoded], shape: tuple[int, int]) -> list[list[Decoded]]:
    return [decoded[i * shape[1] : (i + 1) * shape[1]] for i in range(shape[0])]


def traverse(opened: OpenedRun, request: TraverseRequest) -> TraverseResponse:
    """Vary the latent units with the largest KL of the first example, one at a time.

    Raises:
        VariedError: If the latent variables are not real vectors, or the example cannot be read.
    """
    opened.run.require_euclidean_latent("A traversal")
    chosen = select(opened, request.source)
    chosen.require_all()
    units = opened.units[0][: request.dimensions]
    c = None if chosen.batch.c is None else chosen.batch.c[:1]
    z = opened.encode(chosen.batch)[0].reshape(opened.run.model.latent_shape)
    x, values = functional.traverse(opened.run.model, z, units, c, steps=request.steps)
    x = x.flatten(0, 1)
    decoded = decoded_examples(opened, x, None if c is None else c.expand(len(x), -1))
    shape = (len(units), request.steps)
    return TraverseResponse(units=units, values=values.tolist(), rows=_rows(decoded, shape))


def attribute(opened: OpenedRun, request: AttributeRequest) -> AttributeResponse:
    """Return the direction from examples without an attribute to examples that have it.

    Without negative examples, all other points of the map are compared with the positive ones. The
    effects are measured on held-out rows that are decoded and encoded again.

    Raises:
        VariedError: If the latent variables are not real vectors, a row does not exist, or a group
            has fewer than two rows.
    """
    opened.run.require_euclidean_latent("An attribute")
    positive = _codes_of(opened, request.positive)
    if request.negative is None:
        is_other = ~np.isin(opened.map_rows.rows, request.positive)
        negative = opened.codes[torch.from_numpy(is_other)]
    else:
        negative = _codes_of(opened, request.negative)
    has = torch.arange(len(positive) + len(negative)) < len(positive)
    step = functional.direction(torch.cat([positive, negative]), has)
    return AttributeResponse(
        name=request.name,
        step=step.tolist(),
        effects=_effects(opened, step),
        n_positive=len(positive),
        n_negative=len(negative),
    )


def _codes_of(opened: OpenedRun, rows: list[int]) -> Tensor:
    """Return the codes of rows of the data, each once.

    Raises:
        VariedError: If a row does not exist.
    """
    data, chosen = opened.run.data, np.unique(rows)
    if len(chosen) and chosen[-1] >= len(data):
        raise VariedError(
            f"There is no row {chosen[-1]}; rows must be between 0 and {len(data) - 1:,}."
        )
    points = opened.map_rows.rows
    index = np.searchsorted(points, chosen).clip(max=len(points) - 1)
    if (points[index] == chosen).all():
        return opened.codes[torch.from_numpy(index)]
    return opened.encode(opened.run.encode_data(data.take(chosen)))


def _effects(opened: OpenedRun, step: Tensor) -> list[AttributeEffect]:
    """Return the change of the probability of each known attribute, largest first."""
    if "known attributes" not in opened.cache:
        run = opened.run
        rows = run.store.read_split(run.data).train[:MAX_TRAINING]
        levels = frequent_levels(attributes(run.data.take(rows), run.codec))
        order = torch.from_numpy(np.argsort(np.argsort(rows)))
        opened.cache["known attributes"] = levels, _codes_of(opened, rows.tolist())[order]
    levels, codes = opened.cache["known attributes"]
    if not levels:
        return []
    before, after = opened.held_out.reencode_shifted(step)
    effects = functional.effects(step, codes, levels, before, after)
    return [AttributeEffect(name=e.name, change=e.after - e.before) for e in effects]
