"""A trained run, and every use of it in the person's own terms."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied import functional
from varied.atomic_io import read_json
from varied.data import Batch, iter_batches
from varied.data.codecs import TableCodec
from varied.errors import VariedError
from varied.evaluate import Estimate, Evaluation, evaluate
from varied.models import Temperature
from varied.runs.data_uses import Making
from varied.runs.encoding import Encoding, encode
from varied.runs.opening import ROWS
from varied.runs.result import (
    Result,
    draw_many,
    draw_pairs,
    draw_traversals,
)
from varied.runs.variations import sample_variations
from varied.seeding import permutation

if TYPE_CHECKING:
    from varied.runs.compression import CompressedData, Restored
    from varied.runs.detection import AnomalyReport
    from varied.runs.imputation import ImputationResult

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
        label: object = None,
        around: Any = None,
        scale: float = 1.0,
        temperature: Temperature = 1.0,
        sample_x: bool | None = None,
        seed: int = 0,
    ) -> Result:
        """Return new data.

        Arguments:
            n: How many, 64 if not given; around each item of ``around``, 9.
            label: The context of a conditional run: a class name, a number, or one for each.
            around: Items to make others like; each comes first, and those made around it follow.
            scale: How far from them: a factor on the spread of their codes.
            temperature: Below 1 is more typical, above 1 more varied; a ladder takes one for each
                level too, from the datum upwards.
            sample_x: Whether to draw from p(x given z) rather than take its mean; None does so for
                rows of a table, since a mean of rows is no row.
            seed: Which draws.
        """
        sample_x = self.codec.decodes_by_sampling if sample_x is None else sample_x
        if around is not None:
            return sample_variations(
                self, around, n, label=label, scale=scale, sample_x=sample_x, seed=seed
            )
        n = 64 if n is None else n
        c = self.contexts(n, label)
        x = functional.sample(
            self.model, n, c, temperature=temperature, sample_x=sample_x, seed=seed
        )
        return self.result(x, draw_many, c=c)

    def reconstruct(self, source: Any = None, *, n: int = 32) -> Result:
        """Return originals, as the model saw them, and reconstructions; shape (2, n, ...)."""
        items = self.read(source).first(n)
        x, c = self.as_model_input(items)
        made = functional.reconstruct(self.model, x, c)
        if isinstance(self.codec, TableCodec):  # each under its original
            names = {"row": None, "which": ("original", "reconstruction")}
            return self.paired_result(items, Batch(x, c), made[:, None], draw_pairs, names)
        return self.result(torch.cat([x, made]), draw_pairs, (2, len(x)))

    def interpolate(
        self,
        source: Any = None,
        *,
        n: int = 6,
        steps: int = 10,
        path: str = "linear",
        grid: bool = False,
    ) -> Result:
        """Return paths between data: the first n items to the next n; shape (n, steps, ...).

        Arguments:
            source: The data; None for the run's own test rows.
            n: How many paths.
            steps: Data along each path, or each side of a square.
            path: "linear", "spherical", or "density", which goes where training codes are dense.
            grid: Whether to fill the square between the first four items instead; its shape is
                (steps, steps, ...).
        """
        from varied.runs.interpolation import interpolate_grid, interpolate_pairs

        items = self.read(source)
        if grid:
            return interpolate_grid(self, items, steps=steps, path=path)
        return interpolate_pairs(self, items.first(2 * n), steps=steps, path=path)

    @property
    def has_euclidean_latent(self) -> bool:
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
        if not self.has_euclidean_latent:
            raise VariedError(
                "No unit of these latents moves by itself: they lie on a sphere, on classes or on "
                "codes; use interpolate."
            )
        order, rates = self._ranked()
        order = order[:dimensions]
        x, c = self.as_model_input(self.read(source).first(1))
        z = functional.encode(self.model, lambda x: x, [Batch(x, c)]).mean[0]
        made, values = functional.traverse(self.model, z, order, c, steps=steps)
        draw = partial(
            draw_traversals, rates=rates[: len(order)], values=values.numpy(), dims=order
        )
        names = {"unit": [f"z{d}" for d in order], "value": [f"{v:+.2f}" for v in values.tolist()]}
        return self.result(made.flatten(0, 1), draw, (len(order), steps), names, c)

    def encode(self, source: Any = None) -> Encoding:
        """Return the codes of data, in order, with the names of the data."""
        return encode(self, source)

    def impute(
        self,
        source: Any = None,
        *,
        n_draws: int = 50,
        samples: int = 100,
        sweeps: int = 0,
        seed: int = 0,
    ) -> ImputationResult:
        """Return a table whose missing cells are filled, several times over.

        Arguments:
            source: The table; None for the run's own test rows.
            n_draws: How often each cell is drawn.
            samples: Codes that each draw is chosen from.
            sweeps: How often what was drawn is encoded again.
            seed: Which draws.

        Raises:
            VariedError: If the run is not of a table.
        """
        from varied.runs.imputation import imputation_result  # it loads pandas

        items, codec = self.read(source), self.codec
        if not isinstance(codec, TableCodec):
            raise VariedError(
                "Cells are filled in tables; a hole in pictures is filled by run.fill, or --mask."
            )
        batch = self.encode_items(items)
        gaps = (batch.x[:, : len(codec.learned)] == 0).any(1)
        rows = torch.nonzero(gaps)[:, 0]
        if not len(rows):
            return imputation_result(items.x, codec, rows.numpy(), [])
        c = None if batch.c is None else batch.c[rows]
        # Of their scores, so that a number stays within the range of its column.
        flags, numbers, options = codec.layout.parts
        width = torch.tensor([1.0, self.imputation_scale, 1.0])
        filled = functional.impute(
            self.model,
            codec.load(batch.x[rows]),
            c,
            n_draws=n_draws,
            samples=samples,
            sweeps=sweeps,
            widths=width.repeat_interleave(torch.tensor([flags, numbers, options])),
            seed=seed,
        )
        return imputation_result(items.x, codec, rows.numpy(), filled)

    @cached_property
    def imputation_scale(self) -> float:
        """What the spread of a drawn number is multiplied by, as validation rows asked for.

        Above 1 the model was too sure of itself; 1 where there were too few of these rows.
        """
        path = self.store / "cells.json"
        return float(read_json(path)["width"]) if path.is_file() else 1.0

    def detect(
        self,
        source: Any = None,
        *,
        method: str = "both",
        samples: int = 100,
        max_fpr: float = 0.05,
        seed: int = 0,
    ) -> AnomalyReport:
        """Return how strange data are, beside the validation rows, which the run never learned.

        Arguments:
            source: The data; None for the run's own test rows.
            method: "density" (-log p(x)), "distance" (from the nearest training row), or "both"; see
                `varied.functional.AnomalyScorer`.
            samples: Importance samples for each.
            max_fpr: The share of normal data that may alarm.
            seed: Which draws; the same datum always gets the same score.

        Raises:
            VariedError: If the model knows no density.
        """
        from varied.runs.detection import detect  # it loads scipy.stats

        if "density" not in self.model.provides:
            raise VariedError("This model has no density to score data by: train a VAE for that.")
        items, learned = self.read(source), self.split("train")
        some = learned.take(permutation(len(learned), seed, "normal")[:NORMAL].numpy())
        normal = functional.AnomalyScorer(
            self.model,
            self.codec.load,
            self.batches(some),
            method=method,
            samples=samples,
            seed=seed,
        )
        found, usual = (
            normal.judge(self.batches(rows)) for rows in (items, self.split("validation"))
        )
        looks = self.codec.to_images(self.as_model_input(items)[0])
        return detect(
            self.codec, items, normal, found, usual, looks, rate=max_fpr, known=len(learned)
        )

    def compress(self, source: Any = None) -> CompressedData:
        """Return data as bits: all of them, or their codes; it was read back once and compared.

        Arguments:
            source: The data; None for the run's own test rows.

        Raises:
            VariedError: If the run is of a kind that makes no bits.
        """
        from varied.runs.compression import compress

        return compress(self, self.read(source))

    def decompress(self, path: Path | str) -> Restored:
        """Return the data of a file that `compress` wrote.

        Raises:
            VariedError: If it is damaged, or of another run.
        """
        from varied.runs.compression import decompress

        return decompress(self, Path(path))

    def classify(self, source: Any = None, *, calibrated: bool = True) -> Tensor:
        """Return the probability of each class for each datum, with shape (N, C).

        Arguments:
            source: The data; None for the run's own test rows. Their labels are not read.
            calibrated: At the `calibration_temperature` of the run, or as the model has them.

        Raises:
            VariedError: If the run learned no classes.
        """
        batch = Batch(self.codec.encode(self.read(source)))
        found = functional.classify(self.model, self.codec.load, iter_batches(batch.x, size=ROWS))
        return (
            functional.apply_temperature(found, self.calibration_temperature)
            if calibrated
            else found
        )

    @cached_property
    def calibration_temperature(self) -> float:
        """What the logits of the classes are divided by, as validation rows asked for in training.

        Above 1 the model was too sure of itself; 1 where too few of these rows had a label.
        """
        path = self.store / "classes.json"
        return float(read_json(path)["temperature"]) if path.is_file() else 1.0

    @property
    def error(self) -> Estimate | None:
        """The share of the test rows that are classified wrongly; None where it is not known."""
        labels = self.split("test").labels
        if not self.model.num_classes or labels is None:
            return None
        known = torch.from_numpy(labels.astype(np.int64)) >= 0
        wrong = self.classify().argmax(1) != torch.from_numpy(labels.astype(np.int64))
        return Estimate.of(wrong[known].double())

    def evaluate(self, source: Any = None, *, split: str = "test", samples: int = 0) -> Evaluation:
        """Measure the run on its test rows, another part, or other data.

        Arguments:
            source: Other data; None for the run's own.
            split: "test", "validation" or "train", where source is None.
            samples: Importance samples for the log-likelihood; 0 leaves it out.
        """
        items = self.split(split) if source is None else self.read(source)
        return evaluate(
            self.model,
            self.codec.load,
            self.batches(items),
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
