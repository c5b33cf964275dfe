"""Imputation and detection: held against closed forms, and the same for the same datum."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import varied
from varied.cli import app
from varied.errors import VariedError
from varied.training import prepare

# A table


def table(n: int = 1200, gaps: float = 0.25) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a table whose columns hang together, and the same with gaps."""
    dice = np.random.default_rng(0)
    size = dice.normal(0, 1, n)
    whole = pd.DataFrame(
        {
            "height": (170 + 10 * size).round(1),
            "weight": (70 + 12 * size + dice.normal(0, 4, n)).round(1),
            "kind": np.where(size > 0, "tall", "short"),
            "shoe": (41 + 2 * size).round().astype(int),
        }
    )
    return whole, whole.mask(dice.random(whole.shape) < gaps)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "sizes"
    job = prepare(table()[1], steps=900, batch_size=128, lr=4e-3, width=64, threads=1, out=out)
    for _ in job.train():
        pass
    return job.deliver()


def test_cells_are_filled_better_than_by_the_mean_and_others_are_not_touched(run):
    whole, gappy = table()
    found = run.impute(gappy, n_draws=30)
    gap = gappy.isna()
    assert not found.array.isna().any().any()
    for name in whole:
        kept = found.array[name][~gap[name]].astype(whole[name].dtype)
        assert (kept == whole[name][~gap[name]]).all()
    for name in ("height", "weight"):
        off = found.array[name] - whole[name]
        assert off[gap[name]].std() < 0.6 * whole[name].std()
    right = (found.array["kind"] == whole["kind"])[gap["kind"]]
    assert right.mean() > 0.75
    assert (found.array["shoe"] == found.array["shoe"].round()).all()


def test_intervals_cover_what_was_there(run):
    whole, gappy = table()
    cells = run.impute(gappy, n_draws=100).cells
    some = cells[cells.column.isin(["height", "weight"])]
    truth = [whole.loc[row - 1, name] for row, name in zip(some.row, some.column, strict=True)]
    inside = (some.low.astype(float) <= truth) & (truth <= some.high.astype(float))
    assert 0.82 < inside.mean() < 0.97
    choices = cells[cells.column == "kind"]
    assert choices.share.astype(float).between(0.3, 1).all()
    assert choices.low.isna().all()


def test_completed_tables_differ_by_what_is_not_known(run):
    gappy = table()[1].iloc[:50]
    draws = run.impute(gappy, n_draws=5).draws
    assert len(draws) == 5
    assert all(not one.isna().any().any() for one in draws)
    assert not draws[0].equals(draws[1])


def test_a_table_without_gaps_comes_back(run):
    whole = table()[0].iloc[:20].reset_index(drop=True)
    found = run.impute(whole)
    assert len(found.cells) == 0
    assert (found.array["kind"] == whole["kind"]).all()


def test_what_does_not_fit_together_is_strange_and_named(run):
    whole = table()[0].iloc[:200].reset_index(drop=True)
    whole.loc[7, "weight"] = 20.0
    whole.loc[9, "kind"] = "tall" if whole.loc[9, "kind"] == "short" else "short"
    whole.loc[9, "height"] = 170 - 2 * (whole.loc[9, "height"] - 170)
    found = run.detect(whole)
    assert set(np.argsort(-found.score)[:2]) == {7, 9}
    assert found.reasons[7].startswith("weight +")
    assert found.is_anomaly[7]
    assert found.p[7] < 0.02
    assert found.is_anomaly.mean() < 0.15
    frame = found.frame
    assert list(frame.columns)[:5] == ["row", "score", "p", "strange", "because"]
    assert list(frame.columns)[5:] == ["nats", "distance", *whole.columns]


def test_a_level_that_was_never_seen_is_strange(run):
    whole = table()[0].iloc[:50].reset_index(drop=True)
    before = run.detect(whole).nats
    whole.loc[3, "kind"] = "giant"
    found = run.detect(whole)
    assert found.reasons[3].startswith("kind +")
    assert found.nats[3] > before[3] + 4
    assert np.allclose(np.delete(found.nats, 3), np.delete(before, 3))


def test_a_gap_that_is_strange_is_called_one(run):
    rows = table()[0].iloc[:9].reset_index(drop=True).astype({"kind": object})
    found = run.detect(rows)
    found.items.x.loc[3, "kind"] = None
    found.excess[3] = [9.0 if name == "kind" else 0.0 for name in found.columns]
    assert found.reasons[3] == "kind missing +9.0"
    assert "missing" not in " ".join(np.delete(found.reasons, 3))


def test_few_normal_rows_draw_no_line(run):
    found = run.detect(table()[0].iloc[:5], max_fpr=0.001)
    assert found.line is None
    assert not found.is_anomaly.any()


def test_refusals(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 4))
    job = prepare(x, "autoencoder", steps=5, threads=1, out=tmp_path / "a")
    for _ in job.train():
        pass
    run = job.deliver()
    with pytest.raises(VariedError, match="no density"):
        run.detect(x)
    with pytest.raises(VariedError, match="Cells are filled in tables"):
        run.impute(x)


def test_pictures_are_drawn_above_what_makes_them_strange(tmp_path):
    dice = np.random.default_rng(0)
    x = (100 + dice.random((80, 8, 8)) * 20).astype(np.uint8)
    job = prepare(x, steps=300, lr=5e-3, threads=1, width=32, out=tmp_path / "run")
    for _ in job.train():
        pass
    odd = x[:20].copy()
    odd[4, 2:5, 2:5] = 255
    found = job.deliver().detect(odd, samples=10)
    assert found.score.argmax() == 4
    assert found.excess[4].sum(0)[2:5, 2:5].mean() > found.excess[4].mean()
    assert found.save(tmp_path / "odd.png").stat().st_size > 500


def test_the_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole, gappy = table(400)
    gappy.to_csv("gaps.csv", index=False)
    does = CliRunner()
    run = varied.fit("gaps.csv", steps=60, width=32, threads=1, out="run")
    assert run.store.finished
    found = does.invoke(
        app, ["impute", "run", "gaps.csv", "--intervals", "cells.csv", "--n-draws", "5"]
    )
    assert found.exit_code == 0, found.output
    filled = list(csv.reader((tmp_path / "filled.csv").open()))
    assert filled[0] == list(gappy.columns)
    assert all(cell for row in filled for cell in row)
    assert (
        len((tmp_path / "cells.csv").read_text().splitlines()) == int(gappy.isna().sum().sum()) + 1
    )
    found = does.invoke(app, ["detect", "run", "gaps.csv", "--samples", "5"])
    assert found.exit_code == 0, found.output
    assert len((tmp_path / "detected.csv").read_text().splitlines()) == 401
    whole.to_csv("whole.csv", index=False)
    assert does.invoke(app, ["impute", "run", "whole.csv"]).exit_code != 0
