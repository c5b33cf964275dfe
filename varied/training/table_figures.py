"""What a person looks at when a model of a table is trained: rows, and how alike they are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from varied import atomic_io, plots
from varied.atomic_io import read_json
from varied.data import iter_batches
from varied.data.codecs import TableCodec
from varied.evaluate import Evaluation
from varied.evaluate.column_nll import column_nll
from varied.evaluate.estimate import Estimate
from varied.report import Figure
from varied.runs import Run

__all__ = ["table_figures"]

#: Rows that are made and compared; rows that are drawn as a small table.
COMPARED, DRAWN = 5000, 10
#: Columns that are compared one by one and in pairs: pairs of thousands are millions.
COLUMNS = 40


def table_figures(run: Run, found: Evaluation) -> Iterator[Figure]:
    """Make each picture of a table's run, and yield what to say of it."""
    from varied.evaluate.tabular import column_shapes, pair_trends  # they load pandas

    codec, folder = run.codec, run.folder
    assert isinstance(codec, TableCodec)
    names = [column.name for column in codec.learned]
    some = names[:COLUMNS]
    of = "" if len(names) <= COLUMNS else f" in the first {COLUMNS} of {len(names):,} columns"
    real = run.split("test").x[some]
    result = run.sample(max(len(real), COMPARED))
    made = result.array[some]
    shapes = column_shapes(real, made)
    alike = {"columns": shapes.mean.value}
    plots.column_shapes(real, made, folder / "columns.png", scores=shapes.scores)
    beside = f"{len(made):,} made rows beside {len(real):,} test rows{of}"
    said = f"{beside}; likeness {shapes.mean} of 1."
    yield Figure("columns.png", "Columns", said, said)
    if len(some) > 1:
        pairs = pair_trends(real, made)
        alike["pairs"] = pairs.mean.value
        plots.pair_trends(pairs.real, pairs.generated, pairs.names, folder / "pairs.png")
        said = f"How columns hang together{of}, in test and in made rows; likeness {pairs.mean}."
        yield Figure("pairs.png", "Pairs of columns", said, said)
    costs = _costs(run, names)
    told = read_json(run.store / "evaluation.json")
    told["columns"] = {name: [cost.value, cost.error] for name, cost in costs.items()}
    told["likeness"] = alike
    atomic_io.write_json(run.store / "evaluation.json", told)
    nats = np.array([cost.value for cost in costs.values()])
    plots.shares(names, nats, folder / "costs.png")
    said = "What each column of the test rows costs, given the code: together the reconstruction."
    yield Figure("costs.png", "Nats by column", said, said)
    run.sample(DRAWN).save(folder / "samples.png")
    yield Figure("samples.png", "Synthetic rows", "Rows drawn from the model.", "New rows.")
    result.save(folder / "samples.csv")
    run.reconstruct(n=DRAWN // 2).save(folder / "reconstructions.png")
    said = "Test rows, each above the likeliest row for its code."
    yield Figure("reconstructions.png", "Reconstructions", said, said)


def _costs(run: Run, names: list[str]) -> dict[str, Estimate]:
    batch = run.encode_items(run.split("test"))
    rows = iter_batches(batch.x, batch.c, size=500)
    return column_nll(run.model, run.codec.load, rows, names)
