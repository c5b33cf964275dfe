"""Metrics for tables: the likelihood of each column, and how similar generated rows are."""

from __future__ import annotations

from collections.abc import Iterator

from varied.evaluate import (
    column_nll,
    column_shapes,
    distance_to_closest_record,
    pair_trends,
)
from varied.evaluate.metric import Metric, MetricGroup
from varied.evaluate.suites.context import EvalContext


def column_suite(context: EvalContext) -> Iterator[MetricGroup]:
    """Yield the negative log-likelihood of each column, highest first."""
    if not context.is_table:
        return
    run, names = context.run, context.run.codec.column_names
    nll = column_nll(run.model, run.codec.load, context.batches(context.test), names)
    metrics = [
        Metric(name, nll[name], "nats", "lower", topic="reconstruction")
        for name in sorted(nll, key=lambda name: -nll[name].value)
    ]
    note = f"{len(context.test):,} test rows; the sum is the reconstruction"
    yield MetricGroup("Columns", note, metrics)


def synthetic_rows_suite(context: EvalContext) -> Iterator[MetricGroup]:
    """Yield the similarity of columns and of pairs of columns, and results of tests for copies."""
    if not context.is_table:
        return
    codec = context.run.codec
    names = list(codec.column_names)
    train, test = context.train.x[names], context.test.x[names]
    generated, some_train = codec.decode(context.samples)[names], train[: len(test)]
    shapes, of_train = column_shapes(test, generated), column_shapes(test, some_train)
    reference = f"training rows {of_train.mean}"
    metrics = [Metric("column shapes", shapes.mean, "", "higher", reference, "column-shapes")]
    if len(names) > 1:
        pairs, pairs_of_train = pair_trends(test, generated), pair_trends(test, some_train)
        reference = f"training rows {pairs_of_train.mean}"
        metrics.append(Metric("pair trends", pairs.mean, "", "higher", reference, "pair-trends"))
    dcr = distance_to_closest_record(generated, train, test)
    closest = dcr.percentiles[0]
    of_held_out = f"held-out rows {dcr.median_held_out}"
    copies_held_out = f"held-out rows {dcr.copies_held_out}"
    expected = f"{closest.expected:.3f} expected, p = {closest.p_value:.2g}"
    metrics += [
        Metric("distance to closest record, median", dcr.median, "", "", of_held_out, "dcr"),
        Metric("exact copies", dcr.copies, "", "lower", copies_held_out, "dcr"),
        Metric("closer than the 1st percentile", closest.share, "", "lower", expected, "dcr"),
    ]
    warning = (
        "Compared with held-out rows, generated rows are closer to training rows, or equal them "
        "more often; inspect the closest pairs, and train for a shorter time or on more data."
    )
    note = f"{len(generated):,} generated and {len(test):,} test rows"
    yield MetricGroup("Synthetic rows", note, metrics, [warning] if dcr.is_close else [])
