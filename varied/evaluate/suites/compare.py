"""Comparison of runs on the same rows, with tables, figures and, if meaningful, a ranking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from varied import functional, plots
from varied.data import RawData
from varied.evaluate import Estimate, column_shapes, forward_pass, pair_trends
from varied.evaluate.metric import MetricGroup
from varied.evaluate.suites.all_suites import evaluate_runs
from varied.report import Figure, Note, Table, write_report
from varied.runs import Run
from varied.runs.store import Store
from varied.seeding import seeded

HEADER = ("run", "rows", "-ELBO", "reconstruction", "KL", "active units")
#: The number of images from each run in a figure.
IMAGES = 10
#: The minimum number of generated rows of a table; the maximum numbers of columns that are
#: compared and listed.
GENERATED, MAX_COLUMNS, MAX_LISTED = 5000, 40, 20


class Comparison:
    """A comparison of runs on the test rows that they share.

    Arguments:
        folders: The run folders, or opened runs.
        all_metrics: Whether to compare the runs with all suites as well.
    """

    def __init__(self, folders: Sequence[Path | Run], *, all_metrics: bool = False) -> None:
        self.all_metrics = all_metrics
        self.names = _unique_names([f.folder if isinstance(f, Run) else f for f in folders])
        self.runs = _open_runs(folders)
        shared = [self._shared_rows(run) for run in self.runs]
        self.has_shared_rows = min(map(len, shared)) > 1
        self.data = [
            run.data.take(rows) if len(rows) > 1 else run.split("test")
            for run, rows in zip(self.runs, shared, strict=True)
        ]
        pairs = zip(self.runs, self.data, strict=True)
        self.evaluations = [run.evaluate(data) for run, data in pairs]

    def _shared_rows(self, run: Run) -> list[int]:
        """Return the test rows of a run that are test rows of all runs on the same data."""
        runs = [other for other in self.runs if other.metadata["digest"] == run.metadata["digest"]]
        tests = [set(other.store.read_split().test.tolist()) for other in runs]
        return sorted(set.intersection(*tests))

    @cached_property
    def incomparable(self) -> str | None:
        """The reason why ELBOs cannot be ranked, with a remedy; None if ELBOs can be ranked."""
        checks = (
            (
                [run.metadata["digest"] for run in self.runs],
                "they were trained on different data; train them on the same data, with the same "
                "--image-size",
            ),
            (
                [_description(run.spec.likelihood.to_dict()) for run in self.runs],
                "their likelihoods differ ({}), so their nats are not comparable; train them with "
                "the same --likelihood",
            ),
            (
                [_domain(run) for run in self.runs],
                "their inputs differ ({}); train them with the same --binarize",
            ),
            (
                [run.context is not None for run in self.runs],
                "only some of them are conditional on labels; compare conditional runs only with "
                "conditional ones",
            ),
        )
        for values, reason in checks:
            if len(set(values)) > 1:
                return reason.format(" and ".join(dict.fromkeys(map(str, values))))
        if len(self._with_elbo) < 2:
            return (
                "an autoencoder has a deterministic posterior without a density; compare "
                "reconstructions, or train with --posterior gaussian --objective elbo"
            )
        return None if self.has_shared_rows else "they share no test rows; use the same --seed"

    @property
    def sentences(self) -> list[str]:
        """The ranking of the runs, or the reason why there is none."""
        evaluations = zip(self.names, self.evaluations, strict=True)
        sentences = [
            f"{name} has no ELBO: a deterministic posterior has no density."
            for name, evaluation in evaluations
            if evaluation.elbo is None
        ]
        if self.incomparable is not None:
            return [*sentences, f"The runs cannot be ranked by ELBO: {self.incomparable}."]
        order = self._order
        first, second = (self.names[i] for i in order[:2])
        gap = Estimate.of(self._negative_elbos[order[1]] - self._negative_elbos[order[0]])
        best = f"{first} is best: {gap} nats below {second}, compared row by row."
        if gap.value <= 2 * gap.error:
            best = (
                f"{first} and {second} do not differ significantly: {gap} nats, compared row by "
                "row."
            )
        ranking = ", ".join(self.names[i] for i in order)
        return [*sentences, f"Ranking by -ELBO, best first: {ranking}.", best]

    @property
    def _with_elbo(self) -> list[int]:
        return [i for i, result in enumerate(self.evaluations) if result.elbo is not None]

    @cached_property
    def _negative_elbos(self) -> list[Any]:
        """The -ELBO of each row, for each run."""
        results = []
        for run, data in zip(self.runs, self.data, strict=True):
            result = forward_pass(run.model, run.codec.load, run.batches(data))
            results.append(result.reconstruction + (0 if result.kl is None else result.kl))
        return results

    @property
    def _order(self) -> list[int]:
        return sorted(self._with_elbo, key=lambda i: float(self._negative_elbos[i].mean()))

    def rows(self) -> list[tuple[str, ...]]:
        """Return a table row for each run, with the columns of `HEADER`."""
        rows = []
        for name, result in zip(self.names, self.evaluations, strict=True):
            elbo = None if result.elbo is None else -result.elbo
            nats = ["-" if v is None else str(v) for v in (elbo, result.reconstruction, result.kl)]
            active = f"{result.active_units} of {result.latent_dim}"
            rows.append((name, f"{result.n:,}", *nats, active))
        return rows

    @cached_property
    def groups(self) -> list[list[MetricGroup]]:
        """The groups of metrics of each run, if all metrics are compared."""
        return evaluate_runs(self.runs) if self.all_metrics else []

    @property
    def metric_tables(self) -> list[Table]:
        """A table for each group of metrics, with a column for each run."""
        return comparison_tables(self.names, self.groups, self.incomparable)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-serializable values."""
        ranked = None if self.incomparable else [self.names[i] for i in self._order]
        runs = [
            {"name": name, "run": str(run.folder), "evaluation": evaluation.to_json()}
            for name, run, evaluation in zip(self.names, self.runs, self.evaluations, strict=True)
        ]
        values = {"runs": runs, "ranked": ranked, "sentences": self.sentences}
        groups = [[group.to_json() for group in of_run] for of_run in self.groups]
        return values | ({"groups": groups} if self.all_metrics else {})

    def write(self, folder: Path) -> Path:
        """Write an HTML page with tables and figures to a folder."""
        note = "In nats, with standard errors; lower is better."
        return write_report(
            folder,
            title=" and ".join(self.names),
            notes=[Note(text) for text in self.sentences],
            tables=[
                Table("Evaluation", HEADER, self.rows(), note),
                *self._column_table(),
                *self.metric_tables,
            ],
            figures=list(self._figures(folder)),
            path="compare.html",
        )

    def _figures(self, folder: Path) -> Iterator[Figure]:
        runs = list(zip(self.names, self.runs, strict=True))
        plots.loss_overlay({name: run.store.history() for name, run in runs}, folder / "loss.png")
        text = (
            "-ELBO on validation rows during training, or the reconstruction loss for runs without "
            "a KL."
        )
        yield Figure("loss.png", "Loss", text, text)
        if self.incomparable is None:
            points = [
                (name, result.kl.value, result.reconstruction.value)
                for name, result in zip(self.names, self.evaluations, strict=True)
                if result.kl is not None
            ]
            plots.rate_distortion(points, folder / "rate-distortion.png")
            text = "Reconstruction against KL for each run; the -ELBO is constant along diagonals."
            yield Figure("rate-distortion.png", "Reconstruction against KL", text, text)
        if self._tables:
            yield from self._column_figures(folder)
        elif all(run.data.is_image for run in self.runs):
            plots.side_by_side(self._reconstructions(), folder / "reconstructions.png")
            text = "Test images and their reconstructions by each run."
            yield Figure("reconstructions.png", "Reconstructions", text, text)
            samples = [(name, run.sample(IMAGES).images) for name, run in runs]
            plots.side_by_side(samples, folder / "samples.png")
            text = "Samples from each run."
            yield Figure("samples.png", "Samples", text, text)

    @cached_property
    def _tables(self) -> list[tuple[Any, Any, Any]]:
        """The test rows, generated rows and column shapes of each run, if all data are tables."""
        if not all(run.codec.column_names for run in self.runs):
            return []
        tables = []
        for run, data in zip(self.runs, self.data, strict=True):
            names = list(run.codec.column_names[:MAX_COLUMNS])
            real = data.x[names]
            generated = run.sample(max(len(data), GENERATED)).array[names]
            tables.append((real, generated, column_shapes(real, generated)))
        return tables

    def _column_table(self) -> Iterator[Table]:
        """Yield a table of the similarity of columns, least similar first, and of pairs."""
        if not self._tables:
            return
        pairs = [
            str(pair_trends(real, generated).mean) if real.shape[1] > 1 else ""
            for real, generated, _ in self._tables
        ]
        scores = [shapes.scores for *_, shapes in self._tables]
        names = sorted(
            dict.fromkeys(name for by_name in scores for name in by_name),
            key=lambda name: min(by_name.get(name, 1.0) for by_name in scores),
        )
        rows = [
            ("all columns", *(str(shapes.mean) for *_, shapes in self._tables)),
            ("all pairs of columns", *pairs),
        ]
        for name in names[:MAX_LISTED]:
            cells = (f"{by_name[name]:.3f}" if name in by_name else "" for by_name in scores)
            rows.append((name, *cells))
        note = "Scores are between 0 and 1; see `varied explain column-shapes` and `pair-trends`."
        header = ("column", *self.names)
        yield Table("Similarity of generated and test rows", header, rows, note)

    def _column_figures(self, folder: Path) -> Iterator[Figure]:
        named = zip(self.names, self._tables, strict=True)
        for index, (name, (real, generated, shapes)) in enumerate(named, 1):
            file = f"columns-{index}.png"
            plots.column_shapes(real, generated, folder / file, scores=shapes.scores)
            text = f"Columns of test rows and of rows generated by {name}; score {shapes.mean}."
            yield Figure(file, f"Columns of {name}", text, text)

    def _reconstructions(self) -> list[tuple[str, Any]]:
        """Return the reconstructions of each run, with the originals.

        The originals come first, and again before each run for which they differ.
        """
        rows: list[tuple[str, Any]] = []
        previous: Any = None
        for name, run, data in zip(self.names, self.runs, self.data, strict=True):
            batch = run.encode_data(data.take(np.arange(min(IMAGES, len(data)))))
            with seeded(0, "look"):  # the same binarization for all runs
                x = run.codec.load(batch.x)
            originals = run.codec.to_images(x)
            if previous is None or not np.array_equal(previous, originals):
                rows.append(("original", originals))
            previous = originals
            reconstructed = functional.reconstruct(run.model, x, batch.c)
            rows.append((name, run.codec.to_images(reconstructed)))
        return rows


def comparison_tables(
    names: Sequence[str],
    groups_by_run: Sequence[Sequence[MetricGroup]],
    incomparable: str | None,
) -> list[Table]:
    """Return a table for each group of metrics, with a column for each run.

    Arguments:
        names: The names of the runs.
        groups_by_run: The groups of metrics of each run.
        incomparable: The reason why likelihoods are not comparable, or None.
    """
    titles = dict.fromkeys(group.title for groups in groups_by_run for group in groups)
    tables: list[Table] = []
    for title in titles:
        columns = [
            next((group for group in groups if group.title == title), None)
            for groups in groups_by_run
        ]
        rows = _metric_rows(columns)
        if rows:
            # The reason is reported once, with the first table, which has the ELBO.
            reason = None if tables else incomparable
            note = _note([group for group in columns if group is not None], reason)
            tables.append(Table(title, ("", *names, "better"), rows, note))
    return tables


def _metric_rows(groups: Sequence[MetricGroup | None]) -> list[tuple[str, ...]]:
    columns = [{m.name: m for m in group.metrics} if group else {} for group in groups]
    rows = []
    for name in dict.fromkeys(name for column in columns for name in column):
        metrics = [column.get(name) for column in columns]
        better = next(metric.better for metric in metrics if metric is not None)
        cells = ("-" if metric is None else str(metric) for metric in metrics)
        rows.append((name, *cells, better))
    return rows


def _note(groups: Sequence[MetricGroup], incomparable: str | None) -> str:
    """Return a note about the data of the metrics and about metrics that are not comparable."""
    notes = list(dict.fromkeys(group.note for group in groups))
    text = "; ".join(note[0].upper() + note[1:] for note in notes) + "."
    if len({group.fingerprint for group in groups}) > 1:
        text += " The features differ, so these metrics are not comparable."
    if incomparable is not None:
        text += f" The likelihoods of these runs are not comparable: {incomparable}."
    return text


def _unique_names(folders: Sequence[Path]) -> list[str]:
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _open_runs(folders: Sequence[Path | Run]) -> list[Run]:
    """Open runs; data that several runs share are read only once."""
    data: dict[str, RawData] = {}
    runs = []
    for folder in folders:
        if isinstance(folder, Run):
            runs.append(folder)
            continue
        digest = str(Store(folder).read_metadata()["digest"])
        run = Run(folder, data.get(digest))
        data[digest] = run.data
        runs.append(run)
    return runs


def _domain(run: Run) -> str:
    return f"{run.codec.domain}, {run.codec.to_json().get('binarize', 'not binarized')}"


def _description(part: str | Mapping[str, Any]) -> str:
    """Return the name of a part with its settings."""
    if isinstance(part, str):
        return part
    settings = (f"{key} {value}" for key, value in part.items() if key != "name")
    return " ".join([str(part["name"]), *settings])
