"""Figures of a run on a table: synthetic rows, and their similarity to test rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from varied import atomic_io, plots
from varied.data import iter_batches
from varied.evaluate.column_nll import column_nll
from varied.report import Figure
from varied.runs import Run
from varied.runs.base import BATCH_ROWS

#: The numbers of synthetic rows that are compared with test rows, and of rows that are plotted.
_COMPARED, _PLOTTED = 5000, 10
#: The maximum number of columns that are compared; the number of pairs grows quadratically.
_MAX_COLUMNS = 40


def table_figures(run: Run) -> Iterator[Figure]:
    """Plot rows and columns, and add the similarity and NLL of columns to evaluation.json."""
    from varied.evaluate.tabular import column_shapes, pair_trends  # imports pandas

    folder, names = run.folder, list(run.codec.column_names)
    compared = names[:_MAX_COLUMNS]
    scope = ""
    if len(names) > _MAX_COLUMNS:
        scope = f" (the first {_MAX_COLUMNS} of {len(names):,})"
    test = run.split("test").x[compared]
    samples = run.sample(max(len(test), _COMPARED))
    synthetic = samples.array[compared]
    shapes = column_shapes(test, synthetic)
    similarity = {"columns": shapes.mean.value}
    plots.column_shapes(test, synthetic, folder / "columns.png", scores=shapes.scores)
    text = (
        f"Distributions of columns{scope} in {len(synthetic):,} synthetic and {len(test):,} test "
        f"rows; the mean similarity is {shapes.mean} (1 is best)."
    )
    yield Figure("columns.png", "Columns", text, text)
    if len(compared) > 1:
        pairs = pair_trends(test, synthetic)
        similarity["pairs"] = pairs.mean.value
        plots.pair_trends(pairs.real, pairs.generated, pairs.names, folder / "pairs.png")
        text = (
            f"Associations between pairs of columns{scope}, in test and in synthetic rows; the "
            f"mean similarity is {pairs.mean} (1 is best)."
        )
        yield Figure("pairs.png", "Pairs of columns", text, text)
    batch = run.encode_data(run.split("test"))
    rows = iter_batches(batch.x, batch.c, size=BATCH_ROWS)
    nll = column_nll(run.model, run.codec.load, rows, names)
    evaluation = atomic_io.read_json(run.store / "evaluation.json")
    evaluation["columns"] = {name: [each.value, each.error] for name, each in nll.items()}
    evaluation["similarity"] = similarity
    atomic_io.write_json(run.store / "evaluation.json", evaluation)
    plots.nll_bars(names, np.array([each.value for each in nll.values()]), folder / "costs.png")
    text = "Negative log-likelihood of each column on test rows; their sum is the reconstruction."
    yield Figure("costs.png", "Nats by column", text, text)
    run.sample(_PLOTTED).save(folder / "samples.png")
    text = "Rows sampled from the model."
    yield Figure("samples.png", "Synthetic rows", text, text)
    samples.save(folder / "samples.csv")
    run.reconstruct(n=_PLOTTED // 2).save(folder / "reconstructions.png")
    text = "Test rows, each above its reconstruction."
    yield Figure("reconstructions.png", "Reconstructions", text, text)
