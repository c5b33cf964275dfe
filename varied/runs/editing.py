"""Editing: add or remove attributes of examples, and measure the effects on other attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied import functional, plots
from varied.data import RawData
from varied.errors import VariedError, lookup
from varied.functional import Effect
from varied.functional.latent_density import TAIL, fit_latent_density
from varied.plots.style import format_number
from varied.priors.gmm import MAX_DIMS
from varied.runs.attributes import (
    Attribute,
    attributes,
    frequent_levels,
    further_labels,
    select,
)
from varied.runs.base import RunBase
from varied.runs.latent_support import MAX_HELD_OUT, MAX_TRAINING, embed
from varied.runs.result import Result
from varied.runtime import eval_float32

Array = npt.NDArray[Any]

#: The maximum number of held-out rows that are decoded and encoded again.
_MAX_REENCODED = 1_000


@dataclass(frozen=True, repr=False, kw_only=True)
class EditResult(Result):
    """Examples with an attribute added or removed, with a column for each strength.

    Arguments:
        name: The name of the attribute.
        strengths: The strength of each column; 1 adds ``step`` to the code.
        step: The vector that strength 1 adds to a code, with shape (D).
        std: The standard deviation of each latent dimension over training codes, with shape (D).
        rows: The numbers of rows with and without the attribute from which the direction was
            estimated.
        sparse: Whether the density of training codes at the code of each edit is lower than at
            the codes of 99.9% of held-out rows, as bool with shape (n, S).
        inconsistent: Whether the code of each edit, when decoded and encoded again, changes more
            than the codes of 99.9% of held-out rows, as bool with shape (n, S).
        effects: The effects of strength 1 on all known attributes, largest first.
    """

    name: str
    strengths: tuple[float, ...]
    step: Tensor
    std: Tensor
    rows: tuple[int, int]
    sparse: Array
    inconsistent: Array
    effects: tuple[Effect, ...]

    @property
    def outside(self) -> Array:
        """Whether each edit is sparse or inconsistent, as bool with shape (n, S)."""
        return np.asarray(self.sparse | self.inconsistent)

    @property
    def units(self) -> list[tuple[int, float]]:
        """The shift of each latent unit at strength 1, in standard deviations, largest first."""
        shift = self.step / self.std.clamp_min(1e-6)
        order = shift.abs().argsort(descending=True).tolist()
        return [(unit, float(shift[unit])) for unit in order]

    def __repr__(self) -> str:
        n, s = self.shape
        outside = f"{self.outside.sum()} outside the data"
        return f"EditResult({n} examples, {s} strengths of '{self.name}', {outside})"


@dataclass(frozen=True)
class _Direction:
    """A direction in the latent space, with its name, its step and the sizes of the two groups."""

    name: str
    step: Tensor
    rows: tuple[int, int]


def edit(
    run: RunBase,
    source: Any = None,
    *,
    target: str | None = None,
    column: str | None = None,
    examples: tuple[Any, Any] | None = None,
    strengths: Sequence[float] = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0),
    control_for: Sequence[str] = (),
    attributes: Any = None,
    direction: str = "means",
    n: int = 6,
) -> EditResult:
    """Add an attribute to examples, or remove it, and measure the effects on other attributes.

    Arguments:
        run: The run.
        source: The data; None uses the test rows.
        target: A class, or a level of the column.
        column: The attribute: a column of the table or of ``attributes``. For a numeric column, the
            default target is "high", the values above the median.
        examples: A pair of groups that are used instead of labels: examples with the attribute, and
            examples without it. Each group is a source, or a list of rows of the run's data, by
            index (from 0) or name.
        strengths: The strengths; 1 adds the difference between the mean codes of the two groups.
        control_for: Attributes to hold constant.
        attributes: A table or a dict with additional labels for each row of the run's data.
        direction: "means" for the difference between the means, or "logistic" for its projection
            onto the weights of a logistic regression.
        n: The number of examples.

    Returns:
        A result with shape (n, strengths).

    Raises:
        VariedError: If the attribute is unknown, a group has fewer than two rows, or the latent
            variables are not real vectors.
    """
    run.require_euclidean_latent("An edit")
    split = run.store.read_split(run.data)
    rows = split.train[:MAX_TRAINING]
    training, held_out = run.data.take(rows), run.data.take(split.validation[:MAX_HELD_OUT])
    known = _attributes(run, training, attributes, rows)
    codes = embed(run, training)
    if examples is not None:
        vector = _from_examples(run, examples, direction)
    else:
        attribute, level = select(known, target, column)
        vector = _from_labels(run, known, attribute, level, control_for, codes, direction)
    x, c = run.model_input(run.read(source).head(n))
    edited = functional.edit(run.model, x, vector.step, c, strengths=strengths)
    z = _shifted_codes(run, x, c, vector.step, strengths)
    held_out_codes = HeldOutCodes(run, held_out)
    sparse = _is_sparse(z, codes, embed(run, held_out))
    inconsistent = held_out_codes.is_inconsistent(z, c)
    outside = sparse | inconsistent
    effects = functional.effects(
        vector.step, codes, frequent_levels(known), *held_out_codes.reencode_shifted(vector.step)
    )
    draw = partial(_draw, run.codec.to_images(x), strengths=strengths, outside=outside)
    axes = {"example": None, "strength": [f"{strength:g}" for strength in strengths]}
    contexts = None if c is None else c[:, None]
    result = run.result(edited.flatten(0, 1), draw, axes, tuple(outside.shape), contexts)
    return EditResult(
        **vars(result),
        name=vector.name,
        strengths=tuple(strengths),
        step=vector.step,
        std=codes.std(0),
        rows=vector.rows,
        sparse=sparse,
        inconsistent=inconsistent,
        effects=tuple(effects),
    )


def _attributes(run: RunBase, training: RawData, more: Any, rows: Array) -> dict[str, Attribute]:
    """Return the attributes of the training rows, including those in ``more``."""
    further = further_labels(len(run.data), more, rows)
    return attributes(training, run.codec, further)


def _from_examples(run: RunBase, examples: tuple[Any, Any], method: str) -> _Direction:
    groups = [embed(run, read_examples(run, rows)) for rows in examples]
    n_with, n_without = map(len, groups)
    has = torch.arange(n_with + n_without) < n_with
    step = functional.direction(torch.cat(groups), has, method=method)
    return _Direction("the examples", step, (n_with, n_without))


def _from_labels(
    run: RunBase,
    known: dict[str, Attribute],
    attribute: Attribute,
    level: str,
    control_for: Sequence[str],
    codes: Tensor,
    method: str,
) -> _Direction:
    labels = () if run.codec.column_names else run.data.covariates
    is_label = attribute.name in ("class", "label", *labels)
    if is_label and run.context is not None and not run.model.num_classes:
        raise VariedError(
            "The decoder of this run is conditioned on the class, so its codes do not contain "
            "the class; use `style` to decode examples with a different class."
        )
    has, is_known = attribute.having(level)
    weights = _balance(known, attribute, control_for, has, is_known)
    step = functional.direction(codes[is_known], has[is_known], weights, method=method)
    name = level if attribute.name == "class" else f"{attribute.name}: {level}"
    return _Direction(name, step, (int(has.sum()), int((~has & is_known).sum())))


def _balance(
    known: dict[str, Attribute],
    attribute: Attribute,
    control_for: Sequence[str],
    has: Tensor,
    is_known: Tensor,
) -> Tensor | None:
    """Return the weight of each row with a known label, or None if nothing is controlled for."""
    others = [lookup(known, name, "attribute") for name in control_for]
    if attribute in others:
        raise VariedError(
            f"An edit of '{attribute.name}' cannot control for the same attribute; omit it from "
            "the attributes to hold constant."
        )
    if not others:
        return None
    levels = torch.from_numpy(np.stack([other.index for other in others], 1))
    return functional.balance_weights(has[is_known], levels[is_known])


def read_examples(run: RunBase, rows: Any) -> RawData:
    """Return rows of the run's data by index or name, or read other data.

    Raises:
        VariedError: If there is no such row, or the data cannot be read.
    """
    is_list = isinstance(rows, list | tuple | range) and len(rows) > 0
    if not (is_list and all(isinstance(row, int | np.integer | str) for row in rows)):
        return run.read(rows)
    names = {name: i for i, name in enumerate(run.data.names or ())}
    indices = []
    for row in rows:
        if isinstance(row, str) and not names:
            raise VariedError(
                f"There is no file '{row}', and the rows of this run have no names; provide a "
                "file, a folder, or row numbers such as 3,17,204."
            )
        index = lookup(names, row, "row") if isinstance(row, str) else int(row)
        if not 0 <= index < len(run.data):
            raise VariedError(
                f"There is no row with index {index}; indices must be between 0 and "
                f"{len(run.data) - 1:,}."
            )
        indices.append(index)
    return run.data.take(indices)


def _shifted_codes(
    run: RunBase, x: Tensor, c: Tensor | None, step: Tensor, strengths: Sequence[float]
) -> Tensor:
    """Return the codes of edited examples, with shape (n, S, D)."""
    with eval_float32(run.model):
        return functional.shift_codes(run.model.encode(x, c).mean.flatten(1), step, strengths)


def _is_sparse(z: Tensor, codes: Tensor, held_out: Tensor) -> Array:
    """Return which codes have a low density; none if D is too large to estimate the density."""
    if z.shape[-1] > MAX_DIMS:
        return np.zeros(z.shape[:2], bool)
    density = fit_latent_density(codes, held_out)
    return np.asarray(density.is_out_of_support(z).numpy())


class HeldOutCodes:
    """The codes of held-out rows, with which edits are compared.

    Arguments:
        run: The run.
        data: Rows that the model was not trained on.
    """

    def __init__(self, run: RunBase, data: RawData) -> None:
        self.model = run.model
        x, self.c = run.model_input(data.head(_MAX_REENCODED))
        no_step = torch.zeros(int(np.prod(self.model.latent_shape)))
        self.z = _shifted_codes(run, x, self.c, no_step, (0.0,))[:, 0]
        self.reencoded = functional.reencode(self.model, self.z, self.c)

    def is_inconsistent(self, z: Tensor, c: Tensor | None) -> Array:
        """Return a mask (n, S) of the codes that change too much when decoded and encoded again."""
        contexts = None if c is None else c.repeat_interleave(z.shape[1], 0)
        normal = (self.reencoded - self.z).norm(dim=1)
        reencoded = functional.reencode(self.model, z.flatten(0, 1), contexts).reshape(z.shape)
        return np.asarray(((reencoded - z).norm(dim=-1) > normal.quantile(1 - TAIL)).numpy())

    def reencode_shifted(self, step: Tensor) -> tuple[Tensor, Tensor]:
        """Decode held-out codes and encode them again, without and with a step.

        Returns:
            The new codes without the step, and the new codes with the step.
        """
        return self.reencoded, functional.reencode(self.model, self.z + step.to(self.z), self.c)


def _draw(
    originals: Array, images: Array, path: Path, *, strengths: Sequence[float], outside: Array
) -> Path:
    """Plot a row for each example and a column for each strength."""
    titles = [format_number(s, "+.3g") if s else "0" for s in strengths]
    if images.dtype == np.uint8:
        captions = np.where(outside, "outside", "").tolist() if outside.any() else None
        return plots.variants(originals, images, path, titles=titles, captions=captions)
    curves = images.reshape(outside.size, -1)
    marks = [" outside" if is_outside else "" for is_outside in outside.ravel()]
    titles = [f"{title}{mark}" for title, mark in zip(titles * len(outside), marks, strict=True)]
    return plots.curves(curves, path, columns=len(strengths), titles=titles)
