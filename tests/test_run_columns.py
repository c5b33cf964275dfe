"""Columns of the user whose names equal those of the columns that results add."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from quick_training import train_quickly

from varied.data.tables import free_names

pytestmark = pytest.mark.figures

ADDED = ["row", "score", "score_", "score_1", "is_anomaly", "reason", "threshold", "query", "rank"]
ADDED += ["distance", "example", "draw", "which", "path", "step", "unit", "value", "nll"]


def table(n: int = 240) -> pd.DataFrame:
    random = np.random.default_rng(0)
    x = random.normal(size=(n, 1)) + 0.3 * random.normal(size=(n, len(ADDED)))
    return pd.DataFrame(x.round(2), columns=ADDED)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("columns") / "run"
    return train_quickly(table(), steps=100, latent=2, out=out)


RESULTS = {
    "detect": lambda run: run.detect(table(), samples=5),
    "neighbors": lambda run: run.neighbors(table().head(3), n=2),
    "variations": lambda run: run.sample(3, around=table().head(3)),
    "reconstruct": lambda run: run.reconstruct(n=3),
    "interpolate": lambda run: run.interpolate(n=2, steps=3),
    "traverse": lambda run: run.traverse(dimensions=1, steps=3),
    "nearest_training": lambda run: run.nearest_training(run.sample(30)),
}


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_columns_of_the_user_keep_their_names(run, name, ending, tmp_path):
    result = RESULTS[name](run)
    path = result.save(tmp_path / f"result{ending}")
    frame = pd.read_csv(path) if ending == ".csv" else pd.read_parquet(path)
    assert [column for column in frame.columns if column in ADDED] == ADDED
    assert len(set(frame.columns)) == len(frame.columns) > len(ADDED)
    (note,) = result.notes
    new = [column for column in frame.columns if column not in ADDED]
    assert all(f"'{column}'" in note for column in new if column[-1].isdigit())


def test_scores_are_written_next_to_a_column_of_scores(run):
    frame = run.detect(table(), samples=5).frame
    assert frame["score"].tolist() == table()["score"].tolist()
    assert (frame["score_2"] > frame["score_2"].median()).mean() == pytest.approx(0.5, abs=0.02)


def test_a_new_name_differs_from_all_other_added_columns():
    names = free_names(["row", "row_1"], ["row"])
    assert names == {"row": "row_2", "row_1": "row_1"}
