"""How like the rows of a table made rows are, and what each column costs."""

from __future__ import annotations

from collections.abc import Iterator

from varied.data.codecs import TableCodec
from varied.evaluate.column_nll import column_costs
from varied.evaluate.metric import Metric, MetricGroup
from varied.evaluate.suites.context import EvalContext

__all__ = ["column_suite", "synthetic_rows_suite"]


def column_suite(here: EvalContext) -> Iterator[MetricGroup]:
    """Yield what each column costs, dearest first."""
    codec = here.run.codec
    if not isinstance(codec, TableCodec):
        return
    names = [column.name for column in codec.learned]
    found = column_costs(here.run.model, codec.load, here.batches(here.test), names)
    dearest = sorted(found, key=lambda name: -found[name].value)
    measures = [
        Metric(name, found[name], "nats", "lower", "", "reconstruction") for name in dearest
    ]
    note = f"{len(here.test):,} test rows; together they are the reconstruction"
    yield MetricGroup("Columns", note, measures)


def synthetic_rows_suite(here: EvalContext) -> Iterator[MetricGroup]:
    """Yield how alike columns and pairs of them are, and whether rows are copies."""
    codec = here.run.codec
    if not isinstance(codec, TableCodec):
        return
    from varied.evaluate.dcr import distance_to_closest_record  # these load pandas
    from varied.evaluate.tabular import column_shapes, pair_trends

    names = [column.name for column in codec.learned]
    train, test = here.train.x[names], here.test.x[names]
    made, beside = codec.decode(here.made)[names], train[: len(test)]
    shapes, floor = column_shapes(test, made), column_shapes(test, beside)
    real = "training rows "
    measures = [
        Metric("column shapes", shapes.mean, "", "higher", real + str(floor.mean), "column-shapes")
    ]
    if len(names) > 1:
        pairs, floor_of = pair_trends(test, made).mean, pair_trends(test, beside).mean
        measures.append(
            Metric("pair trends", pairs, "", "higher", real + str(floor_of), "pair-trends")
        )
    near = distance_to_closest_record(made, train, test)
    told = f"held-out rows {near.held}"
    measures.append(Metric("distance to closest record, median", near.made, "", "", told, "dcr"))
    told = f"held-out rows {near.copies_held}"
    measures.append(Metric("exact copies", near.copies_made, "", "lower", told, "dcr"))
    first = near.near[0]
    told = f"{first.expected:.3f} expected, p = {first.p:.2g}"
    measures.append(Metric("closer than the 1st percentile", first.share, "", "lower", told, "dcr"))
    warnings = ["Made rows are closer to training rows than chance allows."] if near.close else []
    note = f"{len(made):,} made rows beside {len(test):,} test rows"
    yield MetricGroup("Synthetic rows", note, measures, warnings)
