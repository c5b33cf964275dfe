"""Pictures of tables: the words where a person looks for them, the bars that the data ask for."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from varied.errors import VariedError
from varied.plots import style, tabular


def words(path):
    """The text of an SVG whose text is kept as text."""
    return re.findall(r"<!-- (.*?) -->", path.read_text("utf-8"))


def drawn(path):
    """Whether there is anything but white in a picture, which must not be cut at its edges."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    return pixels.min() < 100 and all((edge > 250).all() for edge in edges)


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    n = 400
    kinds = np.array([f"kind {i}" for i in range(12)], dtype=object)
    frame = {
        "size": np.where(rng.random(n) < 0.25, np.nan, rng.normal(3e5, 1e5, n)),
        "count": pd.array(rng.poisson(4, n), dtype="Int64"),
        "day": (np.datetime64("2020-01-01") + rng.integers(0, 999, n).astype("m8[D]")).astype(
            "M8[ns]"
        ),
        "truth": pd.array(rng.random(n) < 0.3, dtype="boolean"),
        "kind": pd.Series(kinds[np.minimum(rng.geometric(0.3, n) - 1, 11)], dtype=object),
        "spike": np.where(rng.random(n) < 0.9, 0.0, rng.exponential(10, n)),
        "a name that is far too long to stand over a panel": pd.Series([None] * n, dtype=object),
    }
    return pd.DataFrame(frame)


def test_a_panel_for_each_column_says_what_it_leaves_out(tmp_path, table):
    made = table.assign(size=table["size"].fillna(1e9))
    text = words(
        tabular.column_shapes(table, made, tmp_path / "c.svg", scores={"size": 0.5, "day": 1})
    )
    assert "Column shapes 0.75 of 1; least alike: size, 0.50" in text
    assert {"real (400 rows)", "made (400 rows)", "size", "0.50", "1.00", "no values"} <= set(text)
    gone = table["size"].isna().mean()
    assert f"missing: {round(100 * gone, 1):g} % real, 0 % made" in " ".join(text)
    beyond = [float(re.search(r"real, ([\d.]+) % made", one)[1]) for one in text if "beyond" in one]
    assert max(beyond) == pytest.approx(100 * gone, abs=2)
    assert "a name that is far too lo…" in text
    assert "True" in text
    assert any("↑" in one for one in text)
    assert "200k" in text
    assert "2021" in text


def test_rare_categories_stand_together(tmp_path, table):
    made = table.assign(kind=["kind 11"] * 399 + ["kind 5"])
    text = words(tabular.column_shapes(table[["kind"]], made[["kind"]], tmp_path / "c.svg"))
    named = [one for one in text if one.startswith("kind ")]
    counts = table["kind"].value_counts()
    assert list(counts[named]) == list(counts[:8])
    assert f"{table['kind'].nunique() - 8} others" in text
    assert "Real and made rows, column by column" in text


def test_of_many_columns_the_least_alike_are_drawn(tmp_path):
    frame = pd.DataFrame({f"c{i}": np.arange(9.0) for i in range(6)})
    scores = {f"c{i}": 1 - i / 10 for i in range(6)}
    text = words(tabular.column_shapes(frame, frame, tmp_path / "c.svg", most=2, scores=scores))
    assert [one for one in text if re.fullmatch(r"c\d", one)] == ["c4", "c5"]
    assert any("(2 of 6 columns)" in one for one in text)
    first = words(tabular.column_shapes(frame, frame, tmp_path / "d.svg", most=2))
    assert [one for one in first if re.fullmatch(r"c\d", one)] == ["c0", "c1"]


def test_bins_hold_whole_numbers_and_resist_far_values():
    whole = [np.arange(1, 6.0)] * 2
    assert tabular._edges(whole, whole=True).tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    wide = tabular._edges([np.arange(1000.0)] * 2, whole=True)
    assert len(wide) <= tabular.BINS + 1
    assert set(np.diff(wide)) == {25}
    far = tabular._edges([np.linspace(0, 1, 99), np.linspace(0, 1e9, 99)], whole=False)
    assert far[-1] < 2
    low = tabular._edges([np.linspace(0, 1, 99), np.linspace(-1e9, 1, 99)], whole=False)
    assert low[0] > -1
    assert len(tabular._edges([np.ones(3), np.ones(3)], whole=False)) == tabular.BINS + 1


def test_tables_can_be_drawn_whole(tmp_path, table):
    half = table[:7].assign(count=pd.array([None] * 7, dtype="Int64"))
    assert drawn(tabular.column_shapes(table, half, tmp_path / "a.png"))
    assert drawn(tabular.column_shapes(half, table, tmp_path / "b.png"))
    assert drawn(tabular.column_shapes(half[["day"]], half[["day"]], tmp_path / "c.png"))
    assert drawn(tabular.rows(table, tmp_path / "d.png"))


def test_small_ticks():
    shown = [tabular._short(value) for value in (12000, 1.4e6, -0.5, 2020, 3e9, 0)]
    assert shown == ["12k", "1.4M", "−0.5", "2020", "3G", "0"]


def test_shares_in_words():
    assert tabular._both([0.0001, 0.1234]) == "< 0.1 % real, 12.3 % made"
    assert tabular._both([0, 1]) == "0 % real, 100 % made"


def test_two_matrices_and_the_pair_furthest_apart(tmp_path):
    real = np.array([[1, 0.5, -0.8], [0.5, 1, 0.1], [-0.8, 0.1, 1]])
    made = np.array([[9, 0.4, 0.1], [0.4, 9, 0.1], [0.1, 0.1, 9]])
    names = ["one", "two", "a name that is too long for a side"]
    text = words(tabular.pair_trends(real, made, names, tmp_path / "p.svg"))
    assert "Furthest apart: one and a name that is too…, −0.80 real, 0.10 made" in text
    assert {"real rows", "made rows", "−1"} <= set(text)
    assert text.count("one") == 3
    assert (np.diag(real) == 1).all()
    assert drawn(tabular.pair_trends(real, made, names, tmp_path / "p.png"))


def test_one_matrix_of_scores(tmp_path):
    scores = np.array([[np.nan, 0.5, 0.9], [0.5, np.nan, 1.0], [0.9, 1.0, np.nan]])
    text = words(tabular.pair_trends(scores, None, ["a", "b", "c"], tmp_path / "p.svg"))
    assert "Pair trends 0.80 of 1; least alike: a and b, 0.50" in text
    said = tabular.pair_trends(scores, None, ["a", "b", "c"], tmp_path / "q.svg", title="My $ own")
    assert any("own" in one for one in words(said))
    many = np.full((50, 50), 0.5)
    text = words(tabular.pair_trends(many, None, [f"n{i}" for i in range(50)], tmp_path / "r.svg"))
    assert "n7" not in text


def test_the_first_rows(tmp_path, table):
    wide = pd.concat([table, table.add_suffix(" b")], axis=1)
    text = words(tabular.rows(wide, tmp_path / "r.svg", most=3))
    assert "The first 3 of 400 rows" in text
    assert [one for one in text if one.startswith("4 more columns: truth b, kind b")]
    assert {"size", "count", str(table["count"][0]), str(table["day"][0])[:10]} <= set(text)
    assert "—" in text
    assert "All 3 rows" in words(tabular.rows(table[:3], tmp_path / "s.svg"))


def test_numbers_stand_to_the_right_with_one_number_of_digits():
    assert tabular._cells(pd.Series([1.5, -20.25, np.nan])) == (["1.50", "−20.25", "—"], True)
    assert tabular._cells(pd.Series([1.0, 3.0])) == (["1", "3"], True)
    assert tabular._cells(pd.Series([0.00012, 0.001])) == (["0.00012", "0.001"], True)
    assert tabular._cells(pd.Series([1 / 3, 2.0])) == (["0.333", "2.000"], True)
    texts, right = tabular._cells(pd.Series(["x" * 40, None, "a-b"], dtype=object))
    assert (texts, right) == ([f"{'x' * 21}…", "—", "a-b"], False)
    stamp = pd.Series(np.array(["2020-01-02T03:04", "2020-01-03"], "M8[ns]"))
    assert tabular._cells(stamp)[0] == ["2020-01-02 03:04", "2020-01-03 00:00"]


def test_parts_of_the_loss(tmp_path):
    names = [f"c{i}" for i in range(45)]
    text = words(tabular.shares(names, np.arange(45.0), tmp_path / "s.svg"))
    assert "990.0 nats per row in all; most for c44: 44.0" in text
    assert [one for one in text if re.fullmatch(r"c\d+", one)] == [
        f"c{i}" for i in range(44, 15, -1)
    ]
    assert "16 others" in text
    assert "120.0" in text
    few = words(tabular.shares(["a", "b"], np.array([-3.0, 1.0]), tmp_path / "t.svg"))
    assert [one for one in few if one in "ab"] == ["b", "a"]
    assert "−3.00" in few
    assert drawn(tabular.shares(names, np.arange(45.0) - 20, tmp_path / "s.png"))


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(VariedError, match=r"Matrices of shape \(2, 3\) do not fit 3 names"):
        tabular.pair_trends(np.zeros((2, 3)), None, ["a", "b", "c"], tmp_path / "p.png")
    with pytest.raises(VariedError, match="1 names do not fit nats"):
        tabular.shares(["a"], np.zeros(2), tmp_path / "p.png")
    with pytest.raises(VariedError, match="There is no row to draw"):
        tabular.rows(pd.DataFrame({"a": []}), tmp_path / "p.png")
    assert list(tmp_path.iterdir()) == []


def test_letters_that_the_face_has_not_are_looked_for_in_others(tmp_path, monkeypatch):
    frame = pd.DataFrame({"年齢": [1.0, 2.5, 3.0], "町": ["東京", "大阪", "東京"]})
    style._faces.cache_clear()
    names = ["DejaVu Sans", "DejaVu Serif", "Noto Sans CJK JP"]
    monkeypatch.setattr(style.fontManager, "get_font_names", lambda: names)
    assert style._faces() == ["DejaVu Sans", "Noto Sans CJK JP"]
    style._faces.cache_clear()
    monkeypatch.setattr(style.fontManager, "get_font_names", lambda: names[:1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tabular.column_shapes(frame, frame, tmp_path / "a.png").stat().st_size > 500
    style._faces.cache_clear()
