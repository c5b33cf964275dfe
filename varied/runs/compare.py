"""Runs side by side: the same numbers, on the same rows where that is possible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from varied import functional, plots
from varied.data import RawData, iter_batches
from varied.data.codecs import TableCodec
from varied.evaluate import Estimate, forward_pass
from varied.evaluate.formatting import active, estimate
from varied.report import Figure, Note, Table, write_report
from varied.runs.run import Run
from varied.runs.store import Store
from varied.seeding import seeded

if TYPE_CHECKING:
    from varied.evaluate.tabular import Shapes

__all__ = ["HEADER", "Comparison"]

HEADER = ("run", "rows", "-ELBO", "reconstruction", "KL", "active units")
#: Pictures of each run in a row.
SHOWN = 10
#: Made rows of a table that are held against test rows; columns that are compared, and listed.
MADE, COLUMNS, LISTED = 5000, 40, 20


class Comparison:
    """Runs, measured side by side.

    Arguments:
        folders: Their folders.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.names = _names(folders)
        self.runs = _opened(folders)
        self.items = [self._shared(run) for run in self.runs]
        self.found: list[dict[str, Any]] = [
            run.evaluate(items).to_json() for run, items in zip(self.runs, self.items, strict=True)
        ]

    @cached_property
    def differ(self) -> str | None:
        """Return why the ELBOs cannot be ranked and what to do; None where they can."""
        checks = (
            (
                [run.data["digest"] for run in self.runs],
                "they were trained on different data; train them on the same, in the same --image-size",
            ),
            (
                [run.spec.likelihood.plain for run in self.runs],
                "their likelihoods differ ({}), and so do what their nats count; train them with "
                "one --likelihood",
            ),
            (
                [_domain(run) for run in self.runs],
                "they see the data differently ({}); train them with one --binarize",
            ),
            (
                [run.context is not None for run in self.runs],
                "some were told the labels and some were not; compare conditional runs with "
                "conditional ones",
            ),
        )
        for values, why in checks:
            if any(value != values[0] for value in values):
                told = " and ".join(dict.fromkeys(_spoken(value) for value in values))
                return why.format(told)
        if len(self._dense) < 2:
            return (
                "an autoencoder's posterior is a point, which has no density; compare "
                "reconstructions, or train with --posterior gaussian --objective elbo"
            )
        return None if len(self.items[0]) > 1 else "no row is a test row of all; use one --seed"

    @property
    def sentences(self) -> list[str]:
        """Return what can be said of which is better."""
        pairs = zip(self.names, self.found, strict=True)
        points = [name for name, found in pairs if found["elbo"] is None]
        return [
            *(f"{name} has no ELBO: a point posterior has no density." for name in points),
            *self._ranking(),
        ]

    @property
    def _dense(self) -> list[int]:
        """The runs that have an ELBO."""
        return [i for i, found in enumerate(self.found) if found["elbo"] is not None]

    def _ranking(self) -> list[str]:
        if self.differ is not None:
            return [f"The runs cannot be ranked by ELBO: {self.differ}."]
        order = self._order
        best, second = order[0], order[1]
        gap = Estimate.of(self._costs[second] - self._costs[best])
        first, other = self.names[best], self.names[second]
        said = f"{first} is best, {gap} nats below {other}, row by row."
        if gap.value <= 2 * gap.error:
            said = f"{first} and {other} cannot be told apart: {gap} nats, row by row."
        return [f"By -ELBO, best first: {', '.join(self.names[i] for i in order)}.", said]

    @cached_property
    def _costs(self) -> list[Any]:
        """Return the -ELBO of each row, for each run."""
        costs = []
        for run, items in zip(self.runs, self.items, strict=True):
            batch = run.encode_items(items)
            seen = forward_pass(run.model, run.codec.load, iter_batches(batch.x, batch.c, size=500))
            costs.append(seen.distortion + (0 if seen.rate is None else seen.rate))
        return costs

    @property
    def _order(self) -> list[int]:
        return sorted(self._dense, key=lambda i: float(self._costs[i].mean()))

    def _shared(self, run: Run) -> RawData:
        """Return the test rows that a run has in common with the others of the same data."""
        kin = [other for other in self.runs if other.data["digest"] == run.data["digest"]]
        tests = [set(other.store.read_split().test.tolist()) for other in kin]
        shared = sorted(set.intersection(*tests))
        return run.items.take(shared or run.store.read_split().test)

    def rows(self) -> list[tuple[str, ...]]:
        """Return a line of numbers for each run."""
        return [
            (
                name,
                f"{found['n']:,}",
                _short(estimate(found, "elbo")),
                estimate(found, "reconstruction"),
                _short(estimate(found, "kl")),
                active(found),
            )
            for name, found in zip(self.names, self.found, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        ranked = None if self.differ else [self.names[i] for i in self._order]
        runs = [
            {"name": name, "run": str(run.folder), "evaluation": found}
            for name, run, found in zip(self.names, self.runs, self.found, strict=True)
        ]
        return {"runs": runs, "ranked": ranked, "sentences": self.sentences}

    def write(self, folder: Path, more: Sequence[Table] = ()) -> Path:
        """Write the page with its pictures.

        Arguments:
            folder: Where to.
            more: Further tables, which stand below that of the test numbers.
        """
        folder.mkdir(parents=True, exist_ok=True)
        notes = [
            "none: a point posterior has no density"
            for found in self.found[:1]
            if any(one["elbo"] is None for one in self.found)
        ]
        note = "; ".join(["In nats, ± the standard error; lower is better", *notes]) + "."
        return write_report(
            folder,
            title=" and ".join(self.names),
            notes=[Note(text) for text in self.sentences],
            tables=[Table("Test numbers", HEADER, self.rows(), note), *self._likeness(), *more],
            figures=list(self._figures(folder)),
            path="compare.html",
        )

    def _figures(self, folder: Path) -> Iterator[Figure]:
        histories = {n: r.store.history() for n, r in zip(self.names, self.runs, strict=True)}
        plots.loss_overlay(histories, folder / "loss.png")
        text = "-ELBO on the validation rows as training went on (reconstruction, where no KL is)."
        yield Figure("loss.png", "Loss", text, text)
        if self.differ is None:
            points = [
                (name, one["kl"], one["reconstruction"])
                for name, one in zip(self.names, self.found, strict=True)
                if one["kl"] is not None
            ]
            plots.rate_distortion(points, folder / "rate-distortion.png")
            text = "What the code costs against what it loses; along a diagonal the -ELBO is equal."
            yield Figure("rate-distortion.png", "Reconstruction against KL", text, text)
        if self._shapes:
            yield from self._columns(folder)
        elif all(run.sample(1).kind == "image" for run in self.runs):
            yield from self._pictures(folder)

    @cached_property
    def _shapes(self) -> list[tuple[Any, Any, Shapes]]:
        """Return test rows, made rows and how alike their columns are, where all have tables."""
        if not all(isinstance(run.codec, TableCodec) for run in self.runs):
            return []
        from varied.evaluate.tabular import column_shapes  # it loads pandas

        found = []
        for run, items in zip(self.runs, self.items, strict=True):
            codec: Any = run.codec
            names = [column.name for column in codec.learned[:COLUMNS]]
            real, made = items.x[names], run.sample(max(len(items), MADE)).array[names]
            found.append((real, made, column_shapes(real, made)))
        return found

    def _likeness(self) -> Iterator[Table]:
        """Yield how alike columns of made rows are, and pairs of them; the least alike first."""
        if not self._shapes:
            return
        from varied.evaluate.tabular import pair_trends

        pairs = [
            str(pair_trends(real, made).mean) if real.shape[1] > 1 else ""
            for real, made, _ in self._shapes
        ]
        each = [shapes.scores for _, _, shapes in self._shapes]
        names = list(dict.fromkeys(name for scores in each for name in scores))
        names.sort(key=lambda name: min(scores.get(name, 1.0) for scores in each))
        lines = [
            ("all columns", *(str(shapes.mean) for _, _, shapes in self._shapes)),
            ("all pairs of columns", *pairs),
        ]
        lines += [
            (name, *(f"{scores[name]:.3f}" if name in scores else "" for scores in each))
            for name in names[:LISTED]
        ]
        note = "1 is alike: `varied explain column-shapes`, `varied explain pair-trends`."
        yield Table("Made rows beside test rows", ("column", *self.names), lines, note)

    def _columns(self, folder: Path) -> Iterator[Figure]:
        for index, (name, (real, made, shapes)) in enumerate(
            zip(self.names, self._shapes, strict=True), 1
        ):
            file = f"columns-{index}.png"
            plots.column_shapes(real, made, folder / file, scores=shapes.scores)
            text = f"Columns of test rows and of rows that {name} made; likeness {shapes.mean}."
            yield Figure(file, f"Columns of {name}", text, text)

    def _pictures(self, folder: Path) -> Iterator[Figure]:
        plots.side_by_side(self._reconstructions(), folder / "reconstructions.png")
        text = "Test data, and what each run makes of them."
        yield Figure("reconstructions.png", "Reconstructions", text, text)
        made = [(n, r.sample(SHOWN).shown) for n, r in zip(self.names, self.runs, strict=True)]
        plots.side_by_side(made, folder / "samples.png")
        text = "New data of each run."
        yield Figure("samples.png", "Samples", text, text)

    def _reconstructions(self) -> list[tuple[str, Any]]:
        """Return a row of originals wherever they differ from those above, and each run's own."""
        rows: list[tuple[str, Any]] = []
        above: Any = None
        for name, run, items in zip(self.names, self.runs, self.items, strict=True):
            originals, made = _reconstructed(run, items)
            if above is None or not np.array_equal(above, originals):
                rows.append(("original", originals))
            above = originals
            rows.append((name, made))
        return rows


def _reconstructed(run: Run, items: RawData) -> tuple[Any, Any]:
    """Return the first items and a run's reconstructions; chance is the same for all runs."""
    batch = run.encode_items(items.take(np.arange(min(SHOWN, len(items)))))
    with seeded(0, "look"):
        x = run.codec.load(batch.x)
    return run.codec.to_images(x), run.codec.to_images(
        functional.reconstruct(run.model, x, batch.c)
    )


def _names(folders: Sequence[Path]) -> list[str]:
    short = [folder.resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def _opened(folders: Sequence[Path]) -> list[Run]:
    """Open runs; data that several share are read once."""
    read: dict[str, RawData] = {}
    found = []
    for folder in folders:
        digest = str(Store(folder).read_data()["digest"])
        run = Run(folder, read.get(digest))
        read[digest] = run.items
        found.append(run)
    return found


def _domain(run: Run) -> str:
    return f"{run.codec.domain}, {getattr(run.codec, 'binarize', 'as they are')}"


def _spoken(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return " ".join([str(value["name"]), *(f"{k} {v}" for k, v in value.items() if k != "name")])


def _short(number: str) -> str:
    return number.partition(":")[0]
