"""Cells of new rows that cannot be read, have a new level, or differ from a constant column."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from quick_training import train_quickly
from typer.testing import CliRunner

import varied
from varied.cli import app
from varied.data import read
from varied.data.codecs import fit_codec
from varied.data.codecs.cell_conversion import convert_cells
from varied.errors import DataWarning, VariedError
from varied.training.update import prepare_update

N = 700


def rows(n: int = N, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    z = random.normal(size=n)
    day = pd.Timestamp("2024-03-01") + pd.to_timedelta(random.integers(0, 200, n), "D")
    return pd.DataFrame(
        {
            "size": (50 + 9 * z + random.normal(size=n)).round().astype(int),
            "pay": (9 + z + random.normal(size=n)).round(2),
            "town": np.where(z > 0, "Ulm", "Graz"),
            "day": pd.Series(day).dt.strftime("%d.%m.%Y"),
            "unit": 3,
            "place": "Lab",
            "blank": None,
        }
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    rows().to_csv(folder / "rows.csv", index=False)
    return train_quickly(str(folder / "rows.csv"), steps=200, latent=2, out=folder / "run")


def write(folder, **cells):
    """Write 30 new rows, with a different cell in row 4 of each given column."""
    frame = rows(30, seed=1).astype(object)
    for name, cell in cells.items():
        frame.loc[3, name] = cell
    frame.to_csv(folder / "new.csv", index=False)
    return str(folder / "new.csv")


ODD = {
    "fraction": ("size", 62.5, "is not a whole number"),
    "word for an integer": ("size", "unknown", "is not a whole number"),
    "word for a number": ("pay", "unknown", "is not a number"),
    "level": ("town", "Rome", "is not in the training rows"),
    "date": ("day", "someday", "is not a date"),
    "impossible date": ("day", "31.02.2024", "is not a date"),
    "constant number": ("unit", 4, "unit was always 3 in training"),
    "constant text": ("place", "Field", "place was always 'Lab' in training"),
    "word for a constant": ("unit", "cm", "unit was always 3 in training"),
    "empty column": ("blank", "x", "blank was always empty in training"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_invalid_cell_makes_its_row_anomalous(run, name, tmp_path):
    column, cell, reason = ODD[name]
    report = run.detect(write(tmp_path, **{column: cell}), samples=5)
    assert report.is_anomaly[3]
    assert report.is_anomaly.sum() < 6
    assert report.score.argmax() == 3
    assert reason in report.reasons[3]
    assert report.frame[column].astype(str)[3] == str(cell)
    (note,) = report.notes
    assert f"Column '{column}'" in note
    assert f"{cell!r} in row 4" in note
    assert np.isfinite(report.score).all()


def test_new_rows_without_invalid_cells_have_no_notes(run, tmp_path):
    report = run.detect(write(tmp_path), samples=5)
    assert not report.notes
    assert report.is_anomaly.mean() < 0.2


def test_a_whole_column_with_another_constant_is_anomalous(run):
    report = run.detect(rows(20).assign(unit=30), samples=5)
    assert report.is_anomaly.all()
    assert report.notes == (
        "Column 'unit' was always 3 in training, but is 30 in row 1, 30 in row 2, 30 in row 3 and "
        "17 more rows.",
    )


def test_other_operations_warn_and_treat_the_cell_as_missing(run, tmp_path):
    path = write(tmp_path, size=62.5, day="someday", town="Rome")
    with pytest.warns(DataWarning) as caught:
        codes = run.encode(path)
    assert sorted(str(w.message).split("'")[1] for w in caught) == ["day", "size", "town"]
    assert np.isfinite(codes.mean.numpy()).all()
    with pytest.warns(DataWarning, match=r"not a whole number \(62.5 in row 4\)"):
        result = run.impute(path, n_draws=5)
    assert result.cells[["row", "column"]].to_numpy().tolist() == [[4, "size"], [4, "day"]]
    assert result.array["town"][3] == "Rome"
    saved = pd.read_csv(result.save(tmp_path / "filled.csv"))
    assert saved["size"].dtype == int
    assert saved["day"].str.fullmatch(r"\d\d\.\d\d\.2024").all()


def test_missing_cells_of_a_constant_column_are_filled(run, tmp_path):
    path = write(tmp_path, unit=None, place=None)
    result = run.impute(path, n_draws=5)
    assert result.array["unit"].tolist() == [3] * 30
    assert result.array["place"].tolist() == ["Lab"] * 30
    cells = result.cells[["row", "column", "value"]].to_numpy().tolist()
    assert cells == [[4, "unit", 3], [4, "place", "Lab"]]


@pytest.mark.slow
def test_levels_that_are_also_new_in_validation_rows_are_not_anomalous(tmp_path):
    random = np.random.default_rng(0)
    frame = rows().assign(word=[f"w{k}" for k in random.geometric(0.02, N)])
    run = train_quickly(frame, steps=100, latent=2, out=tmp_path / "run")
    new = rows(30, seed=1).assign(word="w1")
    new.loc[3, "word"] = "w9999"
    report = run.detect(new, samples=5)
    assert any("'w9999' in row 4" in note for note in report.notes)
    assert not any("w9999" in reason for reason in report.reasons)


def test_training_refuses_an_unreadable_cell(run, tmp_path):
    job = prepare_update(run, write(tmp_path, size=62.5), out=tmp_path / "run", steps=1)
    with pytest.raises(VariedError, match="column 'size' is float64 instead of Int64"):
        job.rows("train")
        job.rows("validation")
        job.rows("test")


def test_a_column_of_another_type_is_refused(run, tmp_path):
    with pytest.raises(VariedError, match="column 'size' is object instead of Int64"):
        run.detect(rows(30).assign(size="large"))


def test_the_command_names_the_cell(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, size=62.5)
    runner = CliRunner()
    for command in ("detect", "encode", "impute"):
        result = runner.invoke(app, [command, str(run.folder), path])
        assert result.exit_code == 0, result.output
        assert "(62.5 in row 4)" in result.output, command


CONVERSIONS = [
    (["1", "2.5", "x", None], "float64", [1.0, 2.5, None, None], [2]),
    (["1", " 2 ", "NA", "1e3"], "Int64", [1, 2, None, 1000], []),
    (["3,5", "inf", "4"], "float64", [3.5, None, 4.0], [1]),
    ([1.0, 2.5, np.inf], "Int64", [1, None, None], [1, 2]),
    (["true", "False", "maybe"], "boolean", [True, False, None], [2]),
    ([1, 0, 2], "boolean", [True, False, None], [2]),
    ([1, 2, None], "object", ["1", "2", None], []),
    ([7.0, 1.5], "object", ["7", "1.5"], []),
    ([7, 8], "datetime64[ns]", [None, None], [0, 1]),
]


@pytest.mark.parametrize(("cells", "dtype", "expected", "unreadable"), CONVERSIONS)
def test_cells_are_converted_to_the_type_of_the_column(cells, dtype, expected, unreadable):
    converted, mask = convert_cells(pd.Series(cells), dtype, decimals=[".", ","])
    assert str(converted.dtype) == dtype
    assert [None if pd.isna(v) else v for v in converted] == expected
    assert np.flatnonzero(mask).tolist() == unreadable


def test_dates_are_read_in_the_format_of_most_cells():
    cells = pd.Series(["12/31/2024", "01/02/2024", "soon", None])
    converted, mask = convert_cells(cells, "datetime64[ns]", date_format="%Y-%m-%d")
    assert converted[:2].tolist() == [pd.Timestamp("2024-12-31"), pd.Timestamp("2024-01-02")]
    assert mask.tolist() == [False, False, True, False]


def test_levels_that_are_numbers_in_new_rows_are_recognized(tmp_path):
    (tmp_path / "a.csv").write_text("code,x\n" + "A1,1\n7,2\n8,3\n" * 20)
    (tmp_path / "b.csv").write_text("code,x\n7,1\n8,2\n")
    codec = fit_codec(read(tmp_path / "a.csv"))
    assert not codec.invalid_cells(varied.read(tmp_path / "b.csv", min_rows=1))
