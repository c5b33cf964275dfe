"""How like the rows of a table made rows are, and what each column costs."""

from __future__ import annotations

from collections.abc import Iterator

from varied.data.codecs import TableCodec
from varied.evaluate.costs import column_costs
from varied.evaluate.measure import Measure, Section
from varied.measured.here import Here

__all__ = ["columns", "rows"]


def columns(here: Here) -> Iterator[Section]:
    """Yield what each column costs, dearest first."""
    codec = here.run.codec
    if not isinstance(codec, TableCodec):
        return
    names = [column.name for column in codec.learned]
    found = column_costs(here.run.model, codec.load, here.batches(here.test), names)
    dearest = sorted(found, key=lambda name: -found[name].value)
    measures = [
        Measure(name, found[name], "nats", "lower", "", "reconstruction") for name in dearest
    ]
    note = f"{len(here.test):,} test rows; together they are the reconstruction"
    yield Section("Columns", note, measures)


def rows(here: Here) -> Iterator[Section]:
    """Yield how alike columns and pairs of them are, and whether rows are copies."""
    codec = here.run.codec
    if not isinstance(codec, TableCodec):
        return
    from varied.evaluate.closeness import closest  # these load pandas
    from varied.evaluate.tables import column_shapes, pair_trends

    names = [column.name for column in codec.learned]
    train, test = here.train.x[names], here.test.x[names]
    made, beside = codec.decode(here.made)[names], train[: len(test)]
    shapes, floor = column_shapes(test, made), column_shapes(test, beside)
    real = "training rows "
    measures = [
        Measure("column shapes", shapes.mean, "", "higher", real + str(floor.mean), "column-shapes")
    ]
    if len(names) > 1:
        pairs, floor_of = pair_trends(test, made).mean, pair_trends(test, beside).mean
        measures.append(
            Measure("pair trends", pairs, "", "higher", real + str(floor_of), "pair-trends")
        )
    near = closest(made, train, test)
    told = f"held-out rows {near.held}"
    measures.append(Measure("closest training row", near.made, "", "", told, "closest-row"))
    told = f"held-out rows {near.copies_held}"
    measures.append(Measure("exact copies", near.copies_made, "", "lower", told, "closest-row"))
    first = near.near[0]
    told = f"{first.expected:.3f} expected, p = {first.p:.2g}"
    measures.append(Measure("within centile 1", first.share, "", "lower", told, "closest-row"))
    warnings = ["Made rows are closer to training rows than chance allows."] if near.close else []
    note = f"{len(made):,} made rows beside {len(test):,} test rows"
    yield Section("Made rows", note, measures, warnings)
