"""`varied evaluate`: compute the metrics of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from varied.cli import console
from varied.cli.options import AsJson, Quiet, RunName, Source, option
from varied.cli.paths import open_run
from varied.errors import VariedError

if TYPE_CHECKING:
    from varied.runs import Run

#: The maximum number of columns whose negative log-likelihood is printed.
MAX_COLUMNS = 5


def evaluate(
    run: RunName,
    source: Source = None,
    split: Annotated[
        str, option("SPLIT", "Split of the run's data: test, validation or train.")
    ] = "test",
    samples: Annotated[
        int,
        option("K", "Number of importance samples for log p(x); 0 skips this estimate.", least=0),
    ] = 0,
    all_metrics: Annotated[
        bool, typer.Option("--all", help="Compute every applicable metric (takes minutes).")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compute the metrics of a run, with their standard errors."""
    opened = open_run(run)
    if all_metrics:
        if source is not None or split != "test" or samples:
            raise VariedError(
                "--all evaluates the run's own test rows; omit SOURCE, --split and --samples."
            )
        _evaluate_all(opened, as_json=as_json, quiet=quiet)
        return
    with console.status("Evaluating", quiet=quiet or as_json):
        result = opened.evaluate(source, split=split, samples=samples)
        evaluation = result.to_json()
    if as_json:
        console.show_json(evaluation)
        return
    rows = f"{split} rows of {opened.folder}" if source is None else f"rows of {source}"
    show_evaluation(evaluation, f"Metrics on {evaluation['n']:,} {rows}")
    if not quiet:
        console.warn(result.warnings)


def _evaluate_all(run: Run, *, as_json: bool, quiet: bool) -> None:
    """Compute every metric, and print a table for each group."""
    from varied.evaluate.suites import evaluate_all

    with console.status("Computing every metric (takes minutes)", quiet=quiet or as_json):
        groups = evaluate_all(run)
    if as_json:
        metrics = [group.to_json() for group in groups]
        console.show_json({"run": str(run.folder), "groups": metrics})
        return
    for group in groups:
        console.heading(group.title)
        console.say(group.note, 2)
        rows = [(m.name, str(m), m.better, m.topic, m.reference) for m in group.metrics]
        if rows:
            console.table(("", "", "better", "explained by", "reference"), rows)
        for text in () if quiet else group.warnings:
            console.say(f"Warning: {text}" if rows else text, 2)
    if not quiet:
        console.show()
        console.say("± is the standard error; `varied explain NAME` defines each metric.")


def show_evaluation(evaluation: Mapping[str, Any], title: str) -> None:
    """Print the metrics of an evaluation."""
    from varied.evaluate.formatting import metric_rows

    console.heading(title)
    console.table(("", "", ""), metric_rows(evaluation))
    samples = evaluation.get("importance_samples")
    if samples:
        console.say(f"log p(x) is estimated from {samples:,} importance samples per example.", 2)
    console.say(f"The likelihood is {evaluation['likelihood']}; ± is the standard error.", 2)
    for sentence in _table_sentences(evaluation):
        console.say(sentence, 2)


def _table_sentences(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences about the columns of a table and about synthetic rows."""
    costs, similarity = evaluation.get("columns") or {}, evaluation.get("similarity") or {}
    if costs:
        largest = sorted(costs, key=lambda name: -costs[name][0])[:MAX_COLUMNS]
        listed = ", ".join(f"{name} {costs[name][0]:.2f}" for name in largest)
        yield f"Columns with the largest negative log-likelihood, in nats: {listed}."
    if similarity:
        listed = ", ".join(f"{name} {value:.2f}" for name, value in similarity.items())
        yield f"Similarity of synthetic and test rows, from 0 to 1: {listed}."
