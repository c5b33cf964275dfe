"""Tests of figures of tables: texts, bins, levels and number formats."""

import re

import numpy as np
import pandas as pd
import pytest
from figures import has_blank_margins, svg_texts

from varied import plots
from varied.errors import VariedError
from varied.plots import tabular

pytestmark = pytest.mark.figures

LONG_NAME = "a name that is far too long to fit above a panel"


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    n = 400
    kinds = np.array([f"kind {i}" for i in range(12)], dtype=object)
    days = np.datetime64("2020-01-01") + rng.integers(0, 999, n).astype("m8[D]")
    frame = {
        "size": np.where(rng.random(n) < 0.25, np.nan, rng.normal(3e5, 1e5, n)),
        "count": pd.array(rng.poisson(4, n), dtype="Int64"),
        "day": days.astype("M8[ns]"),
        "truth": pd.array(rng.random(n) < 0.3, dtype="boolean"),
        "kind": pd.Series(kinds[np.minimum(rng.geometric(0.3, n) - 1, 11)], dtype=object),
        "spike": np.where(rng.random(n) < 0.9, 0.0, rng.exponential(10, n)),
        LONG_NAME: pd.Series([None] * n, dtype=object),
    }
    return pd.DataFrame(frame)


def test_column_shapes_note_missing_and_outlying_values(tmp_path, table):
    synthetic = table.assign(size=table["size"].fillna(1e9))
    scores = {"size": 0.5, "day": 1}
    texts = svg_texts(plots.column_shapes(table, synthetic, tmp_path / "c.svg", scores=scores))
    assert {"Mean column similarity: 0.75 of 1", "size", "0.50", "1.00", "no values"} <= set(texts)
    assert {"real (400 rows)", "synthetic (400 rows)", "True", "200k", "2021"} <= set(texts)
    assert any(text.startswith("a name that is") and text.endswith("…") for text in texts)
    missing = round(100 * table["size"].isna().mean(), 1)
    assert f"missing: {missing:g}% real, 0% synthetic" in texts
    outside = [re.search(r"range: .*, ([\d.]+)% synthetic", text) for text in texts]
    assert max(float(match[1]) for match in outside if match) == pytest.approx(missing, abs=2)
    assert any("↑" in text for text in texts)  # in "spike", the bar for 0 is cut off


def test_column_shapes_sum_rare_levels(tmp_path, table):
    synthetic = table.assign(kind=["kind 11"] * 399 + ["kind 5"])
    path = plots.column_shapes(table[["kind"]], synthetic[["kind"]], tmp_path / "c.svg")
    texts = svg_texts(path)
    counts = table["kind"].value_counts()
    levels = [text for text in texts if text.startswith("kind ")]
    assert list(counts[levels]) == list(counts[:8])
    assert f"{len(counts) - 8} others" in texts
    assert "Real and synthetic rows by column" in texts


def test_column_shapes_draw_the_lowest_scores(tmp_path):
    frame = pd.DataFrame({f"c{i:02}": np.arange(9.0) for i in range(20)})
    scores = {f"c{i:02}": 1 - i / 100 for i in range(20)}
    texts = svg_texts(plots.column_shapes(frame, frame, tmp_path / "c.svg", scores=scores))
    names = [text for text in texts if re.fullmatch(r"c\d\d", text)]
    assert names == [f"c{i:02}" for i in range(4, 20)]
    assert any("(16 of 20 columns)" in text for text in texts)
    texts = svg_texts(plots.column_shapes(frame, frame, tmp_path / "d.svg"))
    assert [text for text in texts if re.fullmatch(r"c\d\d", text)] == list(frame.columns[:16])


def test_bins_are_centered_on_integers_and_ignore_outliers():
    edges = tabular._bin_edges([np.arange(1, 6.0)] * 2, is_integer=True)
    assert edges.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    wide = tabular._bin_edges([np.arange(1000.0)] * 2, is_integer=True)
    assert len(wide) <= tabular.MAX_BINS + 1
    assert set(np.diff(wide)) == {25}
    real = np.linspace(0, 1, 99)
    assert tabular._bin_edges([real, np.linspace(0, 1e9, 99)], is_integer=False)[-1] < 2
    assert tabular._bin_edges([real, np.linspace(-1e9, 1, 99)], is_integer=False)[0] > -1
    constant = tabular._bin_edges([np.ones(3), np.ones(3)], is_integer=False)
    assert len(constant) == tabular.MAX_BINS + 1


def test_figures_of_tables_are_not_cut_off(tmp_path, table):
    few = table[:7].assign(count=pd.array([None] * 7, dtype="Int64"))
    assert has_blank_margins(plots.column_shapes(table, few, tmp_path / "a.png"))
    assert has_blank_margins(plots.column_shapes(few, table, tmp_path / "b.png"))
    assert has_blank_margins(plots.column_shapes(few[["day"]], few[["day"]], tmp_path / "c.png"))
    assert has_blank_margins(plots.table_rows(table, tmp_path / "d.png"))
    values = np.arange(45.0) - 20
    path = plots.nll_bars([f"c{i}" for i in range(45)], values, tmp_path / "e.png")
    assert has_blank_margins(path)


@pytest.mark.parametrize(
    ("shares", "texts"),
    [
        ([0.0001, 0.1234], ["<0.1% real", "12.3% synthetic"]),
        ([0, 1], ["0% real", "100% synthetic"]),
    ],
)
def test_percentages(shares, texts):
    assert tabular._percentages(shares) == texts


def test_pair_trends_name_the_largest_difference(tmp_path):
    real = np.array([[1, 0.5, -0.8], [0.5, 1, 0.1], [-0.8, 0.1, 1]])
    synthetic = np.array([[9, 0.4, 0.1], [0.4, 9, 0.1], [0.1, 0.1, 9]])
    names = ["one", "two $x$", LONG_NAME]
    texts = svg_texts(plots.pair_trends(real, synthetic, names, tmp_path / "p.svg"))
    (title,) = [text for text in texts if text.startswith("Largest difference: one and a name")]
    assert title.endswith("…, −0.80 real, 0.10 synthetic")
    assert {"real rows", "synthetic rows", "association", "−1"} <= set(texts)
    assert texts.count("two $x$") == 3
    assert (np.diag(real) == 1).all()
    assert has_blank_margins(plots.pair_trends(real, synthetic, names, tmp_path / "p.png"))


def test_pair_trends_of_many_columns_have_no_names(tmp_path):
    matrix, names = np.full((50, 50), 0.5), [f"n{i}" for i in range(50)]
    texts = svg_texts(plots.pair_trends(matrix, matrix, names, tmp_path / "p.svg"))
    assert "n7" not in texts


def test_table_rows_say_how_much_is_shown(tmp_path, table):
    wide = pd.concat([table, table.add_suffix(" b")], axis=1)
    texts = svg_texts(plots.table_rows(wide, tmp_path / "r.svg"))
    assert "First 12 of 400 rows and 10 of 14 columns" in texts
    assert {"size", "count", str(table["count"][0]), str(table["day"][0])[:10], "—"} <= set(texts)
    few = svg_texts(plots.table_rows(table[:3], tmp_path / "s.svg"))
    assert not any("First" in text for text in few)


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        ([1.5, -20.25, np.nan], ["1.50", "−20.25", "—"]),
        ([1.0, 3.0], ["1", "3"]),
        ([1 / 3, 2.0], ["0.333", "2.000"]),
        (["a\nb", None, "a-b"], ["a b", "—", "a-b"]),
        (np.array(["2020-01-02T03:04", "2020-01-03"], "M8[ns]"),
         ["2020-01-02 03:04:00", "2020-01-03 00:00:00"]),
        (np.array(["2020-01-02", "2020-01-03"], "M8[ns]"), ["2020-01-02", "2020-01-03"]),
        (pd.array([5, None], dtype="Int64"), ["5", "—"]),
    ],
)  # fmt: skip
def test_cells_are_formatted_by_column(values, cells):
    assert tabular._format_cells(pd.Series(values)) == cells


def test_nll_bars_are_sorted(tmp_path):
    names = [f"c{i}" for i in range(45)]
    texts = svg_texts(plots.nll_bars(names, np.arange(45.0), tmp_path / "s.svg"))
    assert "990.0 nats per row in total, most for c44: 44.0" in texts
    bars = [text for text in texts if re.fullmatch(r"c\d+", text)]
    assert bars == [f"c{i}" for i in range(44, 15, -1)]
    assert {"16 others", "120.0"} <= set(texts)
    texts = svg_texts(plots.nll_bars(["a", "b"], np.array([-3.0, 1.0]), tmp_path / "t.svg"))
    assert [text for text in texts if text in "ab"] == ["b", "a"]
    assert "−3.00" in texts


def test_inputs_that_do_not_match_are_refused(tmp_path):
    matrix = np.zeros((2, 3))
    with pytest.raises(VariedError, match=r"shape \(2, 3\) and \(2, 3\) do not match 3 names"):
        plots.pair_trends(matrix, matrix, ["a", "b", "c"], tmp_path / "p.png")
    with pytest.raises(VariedError, match=r"shape \(2,\) do not match 1 names"):
        plots.nll_bars(["a"], np.zeros(2), tmp_path / "p.png")
    with pytest.raises(VariedError, match="The table is empty"):
        plots.table_rows(pd.DataFrame({"a": []}), tmp_path / "p.png")
    assert list(tmp_path.iterdir()) == []
