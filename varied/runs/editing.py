"""Data whose attribute was taken away or added, and what else that did."""

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
from varied.data import RawData, iter_batches
from varied.errors import VariedError, lookup
from varied.functional import Effect, LatentDensity
from varied.functional.latent_density import LARGEST, TAIL
from varied.plots.style import format_number
from varied.runs.attributes import Attribute, attributes, described, found
from varied.runs.opening import OpenRun
from varied.runs.result import Result
from varied.runtime import eval_float32

__all__ = ["EditResult", "edit", "real_only", "support_of"]

Array = npt.NDArray[Any]

#: Training rows that a direction and a support are read off, and held-out rows that judge.
TRAINING, HELD, CYCLES = 10_000, 5_000, 1_000
#: Rows that pass through a model at once.
ROWS = 500


@dataclass(frozen=True)
class EditResult:
    """Data as an attribute is taken away and added.

    Arguments:
        made: The data, a row for each datum and a column for each strength.
        name: The attribute.
        strengths: How far each column goes: 1 is as far as the means of the two groups lie apart.
        step: What strength 1 adds to a code, with shape (D).
        spread: The standard deviation of each unit over training codes, with shape (D).
        rows: How many rows with the attribute, and how many without it, the step was read off.
        sparse: Which of the codes lie where the codes of training data are thinner than around
            99.9 % of held-out data, as bool with shape (n, S).
        strays: Of which the data are encoded farther from where the code was put than those of
            99.9 % of held-out data, as bool with shape (n, S).
        effects: What a step of strength 1 does to all that is known of the rows, most first.
    """

    made: Result
    name: str
    strengths: tuple[float, ...]
    step: Tensor
    spread: Tensor
    rows: tuple[int, int]
    sparse: Array
    strays: Array
    effects: list[Effect]

    @property
    def outside(self) -> Array:
        """Which of the data have left what the model knows, for either reason, shape (n, S)."""
        gone: Array = self.sparse | self.strays
        return gone

    @property
    def array(self) -> Any:
        """The data in the person's own form."""
        return self.made.array

    @property
    def units(self) -> list[tuple[int, float]]:
        """How far strength 1 moves each unit, in its own standard deviations, farthest first."""
        shift = self.step / self.spread.clamp_min(1e-6)
        return [
            (unit, float(shift[unit])) for unit in shift.abs().argsort(descending=True).tolist()
        ]

    def __repr__(self) -> str:
        n, s = self.outside.shape
        return f"Edited({n} data, {s} strengths of '{self.name}', {self.outside.sum()} outside)"

    def save(self, path: str | Path) -> Path:
        """Write the data by the ending of the name, as `Result` does; ``.png`` has the originals.

        Raises:
            VariedError: If the ending is not known, or does not suit the data.
        """
        return self.made.save(path)


@dataclass(frozen=True)
class EditRequest:
    """What to change, as a person says it; see `Run.edit`."""

    target: str | None
    column: str | None
    examples: tuple[Any, Any] | None
    control_for: tuple[str, ...]
    attributes: Any
    direction: str


def edit(
    run: OpenRun, items: RawData, wanted: EditRequest, strengths: Sequence[float]
) -> EditResult:
    """Return data as an attribute is taken away and added; see `Run.edit`."""
    real_only(run, "An edit")
    split = run.store.read_split()
    rows = split.train[:TRAINING]
    learned, held = run.items.take(rows), run.items.take(split.validation[:HELD])
    every = attributes(learned, run.codec, _taken(wanted.attributes, rows, len(run.items)))
    codes = _codes(run, learned)
    name, step, counts = _step(run, wanted, every, codes)
    x, c = run.as_model_input(items)
    made = functional.edit(run.model, x, step, c, strengths=strengths)
    went, others = _went(run, x, c, step, strengths), _Judges(run, held)
    sparse, strays = _sparse(went, codes, _codes(run, held)), others.strays(went, c)
    effects = functional.effects(step, codes, described(every), *others.stepped(step))
    draw = partial(_draw, run.codec.to_images(x), strengths=strengths, outside=sparse | strays)
    names = {"item": None, "strength": [f"{strength:g}" for strength in strengths]}
    told = None if c is None else c[:, None]
    result = run.result(made.flatten(0, 1), draw, sparse.shape, names, told)
    spread, far = codes.std(0), tuple(strengths)
    return EditResult(result, name, far, step, spread, counts, sparse, strays, effects)


def _step(
    run: OpenRun, wanted: EditRequest, every: dict[str, Attribute], codes: Tensor
) -> tuple[str, Tensor, tuple[int, int]]:
    """Return the name of what is wanted, its direction, and the rows that this was read off."""
    if wanted.examples is not None:
        groups = [_codes(run, _shown(run, rows)) for rows in wanted.examples]
        with_it, without = map(len, groups)
        has = torch.arange(with_it + without) < with_it
        step = functional.direction(torch.cat(groups), has, method=wanted.direction)
        return "the examples", step, (with_it, without)
    one, level = found(every, wanted.target, wanted.column)
    _free(run, one)
    has, known = one.having(level)
    weight = _balanced(every, one, wanted.control_for, has, known)
    step = functional.direction(codes[known], has[known], weight, method=wanted.direction)
    name = level if one.name == "class" else f"{one.name}: {level}"
    return name, step, (int(has.sum()), int((~has & known).sum()))


def real_only(run: OpenRun, what: str) -> None:
    """Refuse latents that cannot be moved.

    Raises:
        VariedError: If they lie on a sphere, on classes or on codes.
    """
    if getattr(getattr(run.model, "prior", None), "space", "real") != "real":
        raise VariedError(
            f"{what} moves codes that are real numbers; those of this run lie on a sphere, on "
            "classes or on codes, so use interpolate, or train a plain VAE."
        )


def support_of(run: OpenRun) -> LatentDensity:
    """Return where the codes of a run's training rows lie."""
    split = run.store.read_split()
    parts = (split.train[:TRAINING], split.validation[:HELD])
    return functional.fit_latent_density(*(_codes(run, run.items.take(rows)) for rows in parts))


def _codes(run: OpenRun, items: RawData) -> Tensor:
    """Return the codes of some rows, with shape (N, D)."""
    batch = run.encode_items(items)
    return functional.embed(run.model, run.codec.load, iter_batches(batch.x, batch.c, size=ROWS))


def _free(run: OpenRun, one: Attribute) -> None:
    """Refuse what a decoder is told: its codes leave it out."""
    if one.name in ("class", "label") and run.context is not None and not run.model.num_classes:
        raise VariedError(
            "This run is told the class, so its codes hold none: use `style` to write data as "
            "another class."
        )


def _balanced(
    every: dict[str, Attribute],
    one: Attribute,
    balance: Sequence[str],
    wanted: Tensor,
    known: Tensor,
) -> Tensor | None:
    """Return what each row of which the attribute is known counts."""
    others = [lookup(every, name, "attribute") for name in balance]
    if one in others:
        raise VariedError(f"'{one.name}' cannot be balanced against itself; name other attributes.")
    if not others:
        return None
    levels = torch.from_numpy(np.stack([other.index for other in others], 1))
    return functional.balance_weights(wanted[known], levels[known])


def _taken(more: Any, rows: Array, n: int) -> dict[str, list[Any]]:
    """Return some rows of further labels."""
    taken = {}
    for name in () if more is None else more:
        values = list(more[name])
        if len(values) != n:
            raise VariedError(
                f"'{name}' has {len(values):,} labels and the run's data have {n:,} rows: give one "
                "for each."
            )
        taken[str(name)] = [values[row] for row in rows]
    return taken


def _shown(run: OpenRun, rows: Any) -> RawData:
    """Return examples: rows of the run's own data by number or name, or other data."""
    listed = isinstance(rows, list | tuple | range) and len(rows) > 0
    if not (listed and all(isinstance(row, int | np.integer | str) for row in rows)):
        return run.read(rows)
    names = {name: i for i, name in enumerate(run.items.names or ())}
    numbers = []
    for row in rows:
        if isinstance(row, str) and not names:
            raise VariedError(
                f"'{row}' is no file, and the rows of this run have no names: give a folder, or "
                "numbers such as 3,17,204."
            )
        if isinstance(row, str):
            row = lookup(names, row, "row")
        if not 0 <= row < len(run.items):
            raise VariedError(
                f"One of the rows is none of the run's data, which have {len(run.items):,} rows."
            )
        numbers.append(int(row))
    return run.items.take(numbers)


def _went(
    run: OpenRun, x: Tensor, c: Tensor | None, step: Tensor, strengths: Sequence[float]
) -> Tensor:
    """Return the codes of edited data, with shape (n, S, D)."""
    with eval_float32(run.model):
        return functional.shift_codes(run.model.encode(x, c).mean.flatten(1), step, strengths)


def _sparse(z: Tensor, codes: Tensor, held: Tensor) -> Array:
    """Return which codes lie where data are thin; none where a code is too long for a density."""
    if z.shape[-1] > LARGEST:
        return np.zeros(z.shape[:2], bool)
    thin: Array = functional.fit_latent_density(codes, held).outside(z).numpy()
    return thin


class _Judges:
    """Held-out data, against which edits are judged.

    Arguments:
        run: The run.
        held: Rows that it was not trained on.
    """

    def __init__(self, run: OpenRun, held: RawData) -> None:
        self.model = run.model
        x, self.c = run.as_model_input(held.take(np.arange(min(CYCLES, len(held)))))
        self.z = _went(run, x, self.c, torch.zeros(int(np.prod(self.model.latent_shape))), (0.0,))[
            :, 0
        ]
        self.again = functional.reencode(self.model, self.z, self.c)

    def strays(self, z: Tensor, c: Tensor | None) -> Array:
        """Return which codes are not those of what they decode to, as bool with shape (n, S)."""
        wide = None if c is None else c.repeat_interleave(z.shape[1], 0)
        usual = (self.again - self.z).norm(dim=1)
        gone = functional.reencode(self.model, z.flatten(0, 1), wide).reshape(z.shape) - z
        found: Array = (gone.norm(dim=-1) > usual.quantile(1 - TAIL)).numpy()
        return found

    def stepped(self, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return their codes as they are and after a step, read off what was decoded."""
        return self.again, functional.reencode(self.model, self.z + step.to(self.z), self.c)


def _draw(
    originals: Array, array: Array, path: Path, *, strengths: Sequence[float], outside: Array
) -> Path:
    """Draw a row for each datum, with the strengths on top."""
    titles = [format_number(s, "+.3g") if s else "0" for s in strengths]
    if array.dtype == np.uint8:
        captions = np.where(outside, "outside", "").tolist() if outside.any() else None
        return plots.variants(originals, array, path, titles=titles, captions=captions)
    rows = array.reshape(outside.size, -1)
    notes = [" outside" if out else "" for out in outside.ravel()]
    titles = [f"{title}{note}" for title, note in zip(titles * len(outside), notes, strict=True)]
    return plots.curves(rows, path, columns=len(strengths), titles=titles)
