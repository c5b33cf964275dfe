"""A trained run, and every use of it in the person's own terms."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied import uses
from varied.data import Batch, chunks
from varied.data.codecs import TableCodec
from varied.errors import VariedError
from varied.evaluate import Estimate, Evaluation, evaluate
from varied.files import read_json
from varied.models import Heat
from varied.randomness import permutation
from varied.runs.around import around
from varied.runs.encoded import Encoded, encoded
from varied.runs.making import Making
from varied.runs.opened import ROWS
from varied.runs.result import (
    Result,
    draw_many,
    draw_pairs,
    draw_traversals,
)

if TYPE_CHECKING:
    from varied.runs.compressed import Compressed, Restored
    from varied.runs.detected import Detected
    from varied.runs.imputed import Imputed

__all__ = ["Run", "list_runs"]

Array = npt.NDArray[Any]

#: Training rows at most that data are judged beside.
NORMAL = 10_000


class Run(Making):
    """The folder of a run, opened, and every use of it.

    Arguments:
        folder: Where the run is.
        items: The data, where they are at hand already; else they are read again when needed.

    Raises:
        VariedError: If the folder holds no run.
    """

    def sample(
        self,
        n: int | None = None,
        *,
        of: object = None,
        near: Any = None,
        spread: float = 1.0,
        temperature: Heat = 1.0,
        draw: bool | None = None,
        seed: int = 0,
    ) -> Result:
        """Return new data.

        Arguments:
            n: How many, 64 if not given; around each item of ``near``, 9.
            of: The context of a conditional run: a class name, a number, or one for each.
            near: Items to make others like; each comes first, and those made around it follow.
            spread: How far from them: a factor on the spread of their codes.
            temperature: Below 1 is more typical, above 1 more varied; a ladder takes one for each
                level too, from the datum upwards.
            draw: Whether to draw from p(x given z) rather than take its mean; None does so for
                rows of a table, since a mean of rows is no row.
            seed: Which draws.
        """
        draw = self.codec.drawn if draw is None else draw
        if near is not None:
            return around(self, near, n, of=of, spread=spread, draw=draw, seed=seed)
        n = 64 if n is None else n
        c = self.contexts(n, of)
        x = uses.sample(self.model, n, c, temperature=temperature, draw=draw, seed=seed)
        return self.result(x, draw_many, c=c)

    def reconstruct(self, source: Any = None, *, n: int = 32) -> Result:
        """Return originals, as the model saw them, and reconstructions; shape (2, n, ...)."""
        items = self.read(source).first(n)
        x, c = self.seen(items)
        made = uses.reconstruct(self.model, x, c)
        if isinstance(self.codec, TableCodec):  # each under its original
            names = {"row": None, "which": ("original", "reconstruction")}
            return self.followed(items, Batch(x, c), made[:, None], draw_pairs, names)
        return self.result(torch.cat([x, made]), draw_pairs, (2, len(x)))

    def interpolate(
        self,
        source: Any = None,
        *,
        n: int = 6,
        steps: int = 10,
        path: str = "linear",
        corners: bool = False,
    ) -> Result:
        """Return paths between data: the first n items to the next n; shape (n, steps, ...).

        Arguments:
            source: The data; None for the run's own test rows.
            n: How many paths.
            steps: Data along each path, or each side of a square.
            path: "linear", "spherical", or "density", which goes where training codes are dense.
            corners: Whether to fill the square between the first four items instead; its shape is
                (steps, steps, ...).
        """
        from varied.runs.walked import cornered, walked

        items = self.read(source)
        if corners:
            return cornered(self, items, steps=steps, path=path)
        return walked(self, items.first(2 * n), steps=steps, path=path)

    @property
    def straight(self) -> bool:
        """Whether a latent unit can move by itself: not on a sphere, among classes or codes."""
        return getattr(getattr(self.model, "prior", None), "space", "real") == "real"

    def traverse(self, source: Any = None, *, dimensions: int = 10, steps: int = 9) -> Result:
        """Return what the dimensions with the largest KL do to a datum, each by itself.

        Arguments:
            source: Whose first item to start from; None for the first test row.
            dimensions: How many, largest KL first.
            steps: Values of each, over the central 99 % of the prior.

        Returns:
            Data with shape (dimensions, steps, ...).
        """
        if not self.straight:
            raise VariedError(
                "No unit of these latents moves by itself: they lie on a sphere, on classes or on "
                "codes; use interpolate."
            )
        order, rates = self._ranked()
        order = order[:dimensions]
        x, c = self.seen(self.read(source).first(1))
        z = uses.encode(self.model, lambda x: x, [Batch(x, c)]).mean[0]
        made, values = uses.traverse(self.model, z, order, c, steps=steps)
        draw = partial(
            draw_traversals, rates=rates[: len(order)], values=values.numpy(), dims=order
        )
        names = {"unit": [f"z{d}" for d in order], "value": [f"{v:+.2f}" for v in values.tolist()]}
        return self.result(made.flatten(0, 1), draw, (len(order), steps), names, c)

    def encode(self, source: Any = None) -> Encoded:
        """Return the codes of data, in order, with the names of the data."""
        return encoded(self, source)

    def impute(
        self,
        source: Any = None,
        *,
        draws: int = 50,
        samples: int = 100,
        sweeps: int = 0,
        seed: int = 0,
    ) -> Imputed:
        """Return a table whose missing cells are filled, several times over.

        Arguments:
            source: The table; None for the run's own test rows.
            draws: How often each cell is drawn.
            samples: Codes that each draw is chosen from.
            sweeps: How often what was drawn is encoded again.
            seed: Which draws.

        Raises:
            VariedError: If the run is not of a table.
        """
        from varied.runs.imputed import imputed  # it loads pandas

        items, codec = self.read(source), self.codec
        if not isinstance(codec, TableCodec):
            raise VariedError(
                "Cells are filled in tables; a hole in pictures is filled by run.fill, or --hole."
            )
        batch = self.stored(items)
        gaps = (batch.x[:, : len(codec.learned)] == 0).any(1)
        rows = torch.nonzero(gaps)[:, 0]
        if not len(rows):
            return imputed(items.x, codec, rows.numpy(), [])
        c = None if batch.c is None else batch.c[rows]
        # Of their scores, so that a number stays within the range of its column.
        flags, numbers, options = codec.layout.parts
        width = torch.tensor([1.0, self.cell_width, 1.0])
        filled = uses.impute(
            self.model,
            codec.load(batch.x[rows]),
            c,
            draws=draws,
            samples=samples,
            sweeps=sweeps,
            widths=width.repeat_interleave(torch.tensor([flags, numbers, options])),
            seed=seed,
        )
        return imputed(items.x, codec, rows.numpy(), filled)

    @cached_property
    def cell_width(self) -> float:
        """What the spread of a drawn number is multiplied by, as validation rows asked for.

        Above 1 the model was too sure of itself; 1 where there were too few of these rows.
        """
        path = self.store / "cells.json"
        return float(read_json(path)["width"]) if path.is_file() else 1.0

    def detect(
        self,
        source: Any = None,
        *,
        by: str = "both",
        samples: int = 100,
        false_alarms: float = 0.05,
        seed: int = 0,
    ) -> Detected:
        """Return how strange data are, beside the validation rows, which the run never learned.

        Arguments:
            source: The data; None for the run's own test rows.
            by: "density" (-log p(x)), "distance" (from the nearest training row), or "both"; see
                `varied.uses.Normal`.
            samples: Importance samples for each.
            false_alarms: The share of normal data that may alarm.
            seed: Which draws; the same datum always gets the same score.

        Raises:
            VariedError: If the model knows no density.
        """
        from varied.runs.detected import detected  # it loads scipy.stats

        if "density" not in self.model.gives:
            raise VariedError("This model has no density to score data by: train a VAE for that.")
        items, learned = self.read(source), self.part("train")
        some = learned.take(permutation(len(learned), seed, "normal")[:NORMAL].numpy())
        normal = uses.Normal(
            self.model, self.codec.load, self.batches(some), by=by, samples=samples, seed=seed
        )
        found, usual = (
            normal.judge(self.batches(rows)) for rows in (items, self.part("validation"))
        )
        looks = self.codec.looks(self.seen(items)[0])
        return detected(
            self.codec, items, normal, found, usual, looks, rate=false_alarms, known=len(learned)
        )

    def compress(self, source: Any = None) -> Compressed:
        """Return data as bits: all of them, or their codes; it was read back once and compared.

        Arguments:
            source: The data; None for the run's own test rows.

        Raises:
            VariedError: If the run is of a kind that makes no bits.
        """
        from varied.runs.compressed import compressed

        return compressed(self, self.read(source))

    def decompress(self, path: Path | str) -> Restored:
        """Return the data of a file that `compress` wrote.

        Raises:
            VariedError: If it is damaged, or of another run.
        """
        from varied.runs.compressed import decompressed

        return decompressed(self, Path(path))

    def classify(self, source: Any = None, *, calibrated: bool = True) -> Tensor:
        """Return the probability of each class for each datum, with shape (N, C).

        Arguments:
            source: The data; None for the run's own test rows. Their labels are not read.
            calibrated: At the `class_temperature` of the run, or as the model has them.

        Raises:
            VariedError: If the run learned no classes.
        """
        batch = Batch(self.codec.encode(self.read(source)))
        found = uses.classify(self.model, self.codec.load, chunks(batch.x, size=ROWS))
        return uses.softened(found, self.class_temperature) if calibrated else found

    @cached_property
    def class_temperature(self) -> float:
        """What the logits of the classes are divided by, as validation rows asked for in training.

        Above 1 the model was too sure of itself; 1 where too few of these rows had a label.
        """
        path = self.store / "classes.json"
        return float(read_json(path)["temperature"]) if path.is_file() else 1.0

    @property
    def error(self) -> Estimate | None:
        """The share of the test rows that are classified wrongly; None where it is not known."""
        labels = self.part("test").labels
        if not self.model.classes or labels is None:
            return None
        known = torch.from_numpy(labels.astype(np.int64)) >= 0
        wrong = self.classify().argmax(1) != torch.from_numpy(labels.astype(np.int64))
        return Estimate.of(wrong[known].double())

    def evaluate(self, source: Any = None, *, part: str = "test", samples: int = 0) -> Evaluation:
        """Measure the run on its test rows, another part, or other data.

        Arguments:
            source: Other data; None for the run's own.
            part: "test", "validation" or "train", where source is None.
            samples: Importance samples for the log-likelihood; 0 leaves it out.
        """
        items = self.part(part) if source is None else self.read(source)
        return evaluate(
            self.model,
            self.codec.load,
            lambda: self.batches(items),
            likelihood=self.spec.likelihood.name,
            samples=samples,
        )

    def _ranked(self) -> tuple[list[int], Array]:
        """Return the latent units, busiest first, and their KL in nats, NaN where there is none."""
        path = self.store / "evaluation.json"
        kept = read_json(path).get("kl_by_unit") if path.is_file() else self.evaluate().kl_by_unit
        if kept is None:
            order = self.encode().mean.var(0).argsort(descending=True).tolist()
            return order, np.full(len(order), np.nan)
        rates = np.array(kept)
        order = np.argsort(-rates).tolist()
        return order, rates[order]


def list_runs(root: Path | str = "runs") -> list[Path]:
    """Return the folders of all runs below a folder, oldest first."""
    found = [path.parent for path in Path(root).glob("**/spec.toml")]
    return sorted(found, key=lambda path: (path / "spec.toml").stat().st_mtime)
