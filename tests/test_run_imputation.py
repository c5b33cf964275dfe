"""Tests of imputation and anomaly detection in a table of correlated columns and in images."""

import csv

import numpy as np
import pandas as pd
import pytest
from figures import pixels
from quick_training import train_quickly
from typer.testing import CliRunner

from varied.cli import app
from varied.errors import VariedError
from varied.runs.detection import _reason


def people(n=1200, missing=0.25):
    """Return a table of correlated columns, complete and with missing cells."""
    rng = np.random.default_rng(0)
    size = rng.normal(0, 1, n)
    complete = pd.DataFrame(
        {
            "height": (170 + 10 * size).round(1),
            "weight": (70 + 12 * size + rng.normal(0, 4, n)).round(1),
            "kind": np.where(size > 0, "tall", "short"),
            "shoe": (41 + 2 * size).round().astype(int),
        }
    )
    return complete, complete.mask(rng.random(complete.shape) < missing)


def complete_rows(n):
    return people()[0].iloc[:n].reset_index(drop=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    options = {"steps": 500, "batch_size": 128, "lr": 4e-3, "width": 64}
    return train_quickly(people()[1], out=tmp_path_factory.mktemp("runs") / "people", **options)


# Imputation


def test_missing_cells_are_predicted_and_observed_cells_do_not_change(run):
    complete, incomplete = people()
    result = run.impute(incomplete, n_draws=30)
    is_missing = incomplete.isna()
    assert not result.array.isna().any().any()
    for name in complete:
        observed = result.array[name][~is_missing[name]].astype(complete[name].dtype)
        assert (observed == complete[name][~is_missing[name]]).all()
    for name in ("height", "weight"):
        error = (result.array[name] - complete[name])[is_missing[name]]
        assert error.std() < 0.6 * complete[name].std()
    is_right = (result.array["kind"] == complete["kind"])[is_missing["kind"]]
    assert is_right.mean() > 0.75
    assert (result.array["shoe"] == result.array["shoe"].round()).all()


def test_intervals_cover_the_true_values(run):
    complete, incomplete = people()
    result = run.impute(incomplete, n_draws=100)
    cells = result.cells
    assert repr(result) == f"ImputationResult(1,200 rows, {len(cells):,} imputed cells)"
    numbers = cells[cells.column.isin(["height", "weight"])]
    truth = [
        complete.loc[row - 1, name] for row, name in zip(numbers.row, numbers.column, strict=True)
    ]
    is_covered = (numbers.ci_low.astype(float) <= truth) & (truth <= numbers.ci_high.astype(float))
    assert 0.82 < is_covered.mean() < 0.97
    categories = cells[cells.column == "kind"]
    assert categories.frequency.astype(float).between(0.3, 1).all()
    assert categories.ci_low.isna().all()


def test_draws_are_different_complete_tables(run):
    draws = run.impute(people()[1].iloc[:50], n_draws=5).draws
    assert len(draws) == 5
    assert all(not draw.isna().any().any() for draw in draws)
    assert not draws[0].equals(draws[1])


def test_a_complete_table_does_not_change(run):
    complete = complete_rows(20)
    result = run.impute(complete)
    assert len(result.cells) == 0
    assert (result.array["kind"] == complete["kind"]).all()


# Anomaly detection


def test_inconsistent_rows_are_anomalous_and_the_reason_is_the_column(run):
    frame = complete_rows(200)
    frame.loc[7, "weight"] = 20.0
    frame.loc[9, "kind"] = "tall" if frame.loc[9, "kind"] == "short" else "short"
    frame.loc[9, "height"] = 170 - 2 * (frame.loc[9, "height"] - 170)
    report = run.detect(frame)
    assert set(np.argsort(-report.score)[:2]) == {7, 9}
    assert report.reasons[7].startswith("weight +")
    assert report.is_anomaly[7]
    assert report.p_value[7] < 0.02
    assert report.is_anomaly.mean() < 0.15
    assert list(report.frame.columns) == [
        *("row", "is_anomaly", "score", "nll", "distance", "p_value", "reason", "threshold"),
        *frame.columns,
    ]
    assert report.reasons[7] in report._repr_html_(), "the most anomalous rows come first"


def test_an_unseen_level_is_anomalous(run):
    frame = complete_rows(50)
    before = run.detect(frame).nll
    frame.loc[3, "kind"] = "giant"
    report = run.detect(frame)
    assert report.reasons[3].startswith("kind 'giant' is not in the training rows")
    assert report.is_anomaly[3]
    assert report.nll[3] > before[3] + 4
    assert np.allclose(np.delete(report.nll, 3), np.delete(before, 3))
    assert "giant" in " ".join(report.notes)


def test_the_reason_names_columns_by_their_excess_and_missing_cells():
    excess, is_missing = np.array([0.5, 9.0, 1.5]), np.array([False, True, False])
    assert _reason(excess, is_missing, ["a", "b", "c"]) == "b missing +9.0, c +1.5"


def test_too_few_validation_rows_give_no_threshold(run):
    report = run.detect(complete_rows(5), max_fpr=0.001)
    assert report.threshold is None
    assert not report.is_anomaly.any()


def test_a_saved_report_is_sorted_by_score(run, tmp_path):
    report = run.detect(complete_rows(30))
    frame = pd.read_csv(report.save(tmp_path / "report.csv"))
    assert frame.score.is_monotonic_decreasing
    with pytest.raises(VariedError, match=r"supported file extension; use \.csv"):
        report.save(tmp_path / "report.png")


def test_images_are_plotted_above_a_map_of_their_excess(tmp_path):
    x = (100 + np.random.default_rng(0).random((80, 8, 8)) * 20).astype(np.uint8)
    run = train_quickly(x, steps=300, out=tmp_path / "run")
    images = x[:20].copy()
    images[4, 2:5, 2:5] = 255
    report = run.detect(images, samples=10)
    assert report.score.argmax() == 4
    assert report.excess[4].sum(0)[2:5, 2:5].mean() > report.excess[4].mean()
    assert pixels(report.save(tmp_path / "report.png")).std() > 20


def test_runs_without_density_or_missing_values_are_refused(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 4))
    run = train_quickly(x, "autoencoder", steps=5, out=tmp_path / "run")
    with pytest.raises(VariedError, match="a model with a density"):
        run.detect(x)
    x[3, 1] = np.nan
    with pytest.raises(VariedError, match="has no density"):
        run.impute(x)
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    run = train_quickly(images, steps=5, out=tmp_path / "images")
    with pytest.raises(VariedError, match="Only the values of tables and arrays can be imputed"):
        run.impute(images)


# Commands


def test_the_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    complete, incomplete = people(400)
    incomplete.to_csv("incomplete.csv", index=False)
    complete.to_csv("complete.csv", index=False)
    train_quickly("incomplete.csv", steps=60, out="run")

    def invoke(*arguments):
        return CliRunner().invoke(app, arguments)

    options = ("--intervals", "cells.csv", "--n-draws", "5")
    result = invoke("impute", "run", "incomplete.csv", *options)
    assert result.exit_code == 0, result.output
    header, *rows = csv.reader((tmp_path / "imputed.csv").open())
    assert header == list(incomplete.columns)
    assert all(cell for row in rows for cell in row)
    n_missing = int(incomplete.isna().sum().sum())
    assert len((tmp_path / "cells.csv").read_text().splitlines()) == n_missing + 1
    result = invoke("detect", "run", "incomplete.csv", "--samples", "5")
    assert result.exit_code == 0, result.output
    assert len((tmp_path / "detected.csv").read_text().splitlines()) == 401
    assert "no missing values to impute" in str(invoke("impute", "run", "complete.csv").exception)
