"""The figures of several runs side by side, where they may be held against each other."""

from __future__ import annotations

from collections.abc import Sequence

from varied.evaluate.metric import Metric, MetricGroup
from varied.evaluate.suites.all_suites import evaluate_all
from varied.evaluate.suites.context import EvalContext
from varied.report import Table
from varied.runs import Run

__all__ = ["comparison_tables", "evaluate_runs"]


def evaluate_runs(runs: Sequence[Run], seed: int = 0) -> list[list[MetricGroup]]:
    """Measure all of several runs; runs of the same data are compared by the same features.

    Arguments:
        runs: The runs.
        seed: Which rows, draws and samples.
    """
    features = {}
    for run in runs:
        digest = run.data["digest"]
        if digest not in features:
            features[digest] = EvalContext(run, seed=seed).features
    return [evaluate_all(run, features=features[run.data["digest"]], seed=seed) for run in runs]


def comparison_tables(
    names: Sequence[str], found: Sequence[Sequence[MetricGroup]], differ: str | None
) -> list[Table]:
    """Return a table for each section, with a column for each run.

    Arguments:
        names: What the runs are called.
        found: The sections of each run.
        differ: Why the likelihoods of the runs do not compare, or None.
    """
    titles = dict.fromkeys(section.title for sections in found for section in sections)
    tables: list[Table] = []
    for title in titles:
        some = [_of(title, sections) for sections in found]
        told = [one for one in some if one is not None]
        rows = _rows(some)
        if rows:
            why = None if tables else differ  # said once, where the bounds are
            tables.append(Table(title, ("", *names, "better"), rows, _note(told, why)))
    return tables


def _of(title: str, sections: Sequence[MetricGroup]) -> MetricGroup | None:
    return next((one for one in sections if one.title == title), None)


def _rows(some: Sequence[MetricGroup | None]) -> list[tuple[str, ...]]:
    columns = [{m.name: m for m in one.measures} if one else {} for one in some]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = []
    for name in names:
        cells: list[Metric | None] = [column.get(name) for column in columns]
        better = next(one.better for one in cells if one is not None)
        rows.append((name, *(one.value if one else "-" for one in cells), better))
    return rows


def _note(told: Sequence[MetricGroup], differ: str | None) -> str:
    """Say what figures are from, and which do not compare."""
    notes = list(dict.fromkeys(one.note for one in told))
    said = "; ".join(note[0].upper() + note[1:] for note in notes) + "."
    if len({one.fingerprint for one in told}) > 1:
        said += " By different features: these figures do not compare."
    if differ is not None:
        said += f" Bounds and likelihoods of these runs do not compare: {differ}."
    return said
