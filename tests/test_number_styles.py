"""Numbers with currencies or thousands separators, and times of day, in text files."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from quick_training import train_quickly

from varied.data import read
from varied.data.codecs import fit_codec
from varied.data.tables import TableDialect, read_table, write_table
from varied.data.tables.number_styles import NumberStyle, infer_style

CASES = {
    "dollars": (["$1,234.50", "$0.99", "-$12.00"], [1234.5, 0.99, -12]),
    "euros": (["1.234,50 EUR", "0,99 EUR", "-12,00 EUR"], [1234.5, 0.99, -12]),
    "euro sign": (["€ 1.234", "€ 20"], [1234, 20]),
    "plain currency": (["£5", "£17"], [5, 17]),
    "thousands": (["12,345", "999", "1,234,567"], [12345, 999, 1234567]),
    "thousands with decimals": (["12,345.75", "999.00"], [12345.75, 999]),
    "other decimal separator": (["1.234,50", "2.000,25"], [1234.5, 2000.25]),
    "apostrophes": (["1'234.50", "17.25"], [1234.5, 17.25]),
    "minutes": (["07:31", "23:59", "00:00"], [27060, 86340, 0]),
    "seconds": (["07:31:05", "23:59:59"], [27065, 86399]),
}


def write(path, cells):
    pd.DataFrame({"v": cells, "w": "a"}).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", CASES)
def test_cells_are_read_as_numbers_and_written_in_the_same_style(name, tmp_path):
    cells, expected = CASES[name]
    path = write(tmp_path / "a.csv", [*cells, ""])
    frame, dialect, notes = read_table(path)
    assert frame["v"].dropna().tolist() == expected
    assert frame["v"].isna().tolist() == [False] * len(cells) + [True]
    assert any("'v'" in note for note in notes)
    dialect = TableDialect.from_json(dialect.to_json())
    assert write_table(frame, tmp_path / "b.csv", dialect).read_text() == path.read_text()


@pytest.mark.parametrize(
    "cells",
    [
        ["$5.00", "5.00 EUR"],
        ["12,34", "1,2,3"],
        ["$5", "free"],
        ["25:00", "12:61"],
        ["12:30", "noon"],
        ["0,5", "0,25"],
        ["ABC 5", "ABC 6"],
    ],
)
def test_inconsistent_columns_remain_text(cells):
    assert infer_style(cells, ".") is None


def test_numbers_in_thousands_of_a_file_with_decimal_commas(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("v;w\n1.234;0,5\n12.345;1,25\n", "utf-8")
    frame, _, _ = read_table(path)
    assert frame["v"].tolist() == [1234, 12345]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("styles"), np.random.default_rng(0)
    z = random.normal(size=400)
    dollars, euros = NumberStyle(prefix="$", thousands=","), NumberStyle("", " EUR", ".", ",")
    pay = [dollars.format(v, 2) for v in np.exp(8 + z)]
    rent = [euros.format(v, 2) for v in np.exp(7 + z / 2)]
    start = pd.Timestamp("2024-01-01 08:00") + pd.to_timedelta((z * 60).round() * 1, "min")
    frame = pd.DataFrame({"pay": pay, "rent": rent, "start": start.strftime("%H:%M")})
    frame.to_csv(folder / "a.csv", index=False)
    return train_quickly(str(folder / "a.csv"), steps=100, latent=2, out=folder / "run")


def test_samples_are_written_in_the_style_of_the_column(run, tmp_path):
    samples = run.sample(50)
    lines = pd.read_csv(samples.save(tmp_path / "new.csv"))
    assert lines["pay"].map(lambda v: re.fullmatch(r"\$[0-9]{1,3}(,[0-9]{3})*\.\d\d", v)).all()
    assert lines["rent"].map(lambda v: re.fullmatch(r"[0-9]{1,3}(\.[0-9]{3})*,\d\d EUR", v)).all()
    assert lines["start"].map(lambda v: re.fullmatch(r"[0-2]\d:[0-5]\d", v)).all()
    assert (samples.array["start"] % 60 == 0).all()
    for frame in (samples.frame, pd.read_parquet(samples.save(tmp_path / "new.parquet"))):
        assert frame["start"].tolist() == lines["start"].tolist()
        assert frame["pay"].dtype == float


def test_an_odd_cell_of_new_rows_does_not_refuse_the_column(run, tmp_path):
    frame = pd.read_csv(run.metadata["source"]).head(20)
    frame.loc[2, "pay"], frame.loc[5, "start"] = "free", "noon"
    frame.to_csv(tmp_path / "new.csv", index=False)
    report = run.detect(str(tmp_path / "new.csv"))
    assert report.is_anomaly[[2, 5]].all()
    assert report.reasons[2].startswith("pay 'free' is not a number")
    assert len(report.notes) == 2
    codec, data = run.codec, read(tmp_path / "new.csv", min_rows=1)
    typed = codec.convert(data).x
    assert typed["pay"].isna().sum() == typed["start"].isna().sum() == 1


def test_times_with_few_values_are_returned_as_times(tmp_path):
    path = write(tmp_path / "a.csv", ["07:30", "12:00", "18:15"] * 40)
    codec = fit_codec(read(path))
    rows = codec.decode(codec.encode(read(path)))
    assert codec.save(rows, tmp_path / "b.csv").read_text() == path.read_text()
