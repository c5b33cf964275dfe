"""The codec of tables: inferred columns, decoded cells, results and imputation."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from varied.data import Batch, read
from varied.data.codecs import TableCodec, fit_codec, open_codec
from varied.data.raw_data import RawData
from varied.errors import VariedError


def table(**columns) -> RawData:
    return RawData(pd.DataFrame(columns), "table")


def text(values) -> pd.Series:
    return pd.Series(values, dtype=object)


def integers(values) -> pd.Series:
    return pd.Series(values, dtype="Int64")


def people(n: int = 400, seed: int = 0) -> RawData:
    """Return a table with a column of every kind."""
    random = np.random.default_rng(seed)
    age = random.integers(17, 90, n)
    pay = np.where(random.random(n) < 0.6, 0.0, random.lognormal(8, 1, n).round(2))
    town = text(random.choice(["Ulm", "Graz", "Łódź"], n, p=[0.6, 0.3, 0.1]))
    town[random.random(n) < 0.2] = None
    height = pd.Series(random.normal(170, 9, n).round(1))
    height[random.random(n) < 0.3] = np.nan
    since = pd.to_datetime("2020-01-01") + pd.to_timedelta(random.integers(0, 900, n), "D")
    return table(
        id=integers(range(1000, 1000 + n)),
        age=integers(age),
        pay=pd.Series(pay),
        town=town,
        height=height,
        since=pd.Series(since).astype("datetime64[ns]"),
        member=pd.Series(random.random(n) < 0.5, dtype="boolean"),
        country=text(["AT"] * n),
        note=text([f"a long remark about person {i}" for i in range(n)]),
        empty=pd.Series(np.full(n, np.nan)),
        stars=integers(random.integers(1, 6, n)),
    )


def kinds(codec: TableCodec) -> dict[str, str]:
    return {column.name: column.kind for column in codec.columns}


def test_the_kind_of_each_column_is_inferred():
    codec = fit_codec(people())
    assert kinds(codec) == {
        "id": "identifier",
        "age": "whole number",
        "pay": "number",
        "town": "category",
        "height": "number",
        "since": "date",
        "member": "yes/no",
        "country": "constant",
        "note": "text",
        "empty": "empty",
        "stars": "whole number with few values",
    }
    assert codec.layout_text == "n n1 c3? n? n c2 c5"
    assert "pay: frequent values are modeled as categories (0)." in codec.notes
    assert "id: identifier." in codec.notes


@pytest.mark.parametrize(
    ("n_rare", "labels", "n_notes"), [(20, None, 1), (20, "member", 0), (30, None, 0)]
)
def test_a_note_recommends_labels_for_a_rare_class_without_labels(n_rare, labels, n_notes):
    members = pd.Series(["yes"] * n_rare + ["no"] * (100 - n_rare) + [None], dtype="category")
    frame = pd.DataFrame(
        {"age": range(101), "member": members, "town": ["a", "b", "c"] * 33 + ["a"] * 2}
    )
    codec = fit_codec(read(frame, labels=labels))
    notes = [note for note in codec.notes if "--labels" in note]
    assert len(notes) == n_notes
    assert all(note.startswith("member: fewer than 25% of the rows") for note in notes)


def test_decoding_inverts_encoding():
    data = people()
    codec = fit_codec(data)
    decoded = codec.decode(codec.encode(data))
    assert list(decoded.columns) == list(data.x.columns)
    ignored = ["id", "note"]
    for name in data.x.columns.drop(ignored):
        pd.testing.assert_series_equal(decoded[name], data.x[name], check_exact=name != "pay")
    assert decoded[ignored].isna().all(axis=None)


def test_missing_cells_are_zero_in_an_encoded_row():
    data = people()
    codec = fit_codec(data)
    x = codec.encode(data)
    names = [column.name for column in codec.learned]
    for i, name in enumerate(names):
        is_missing = torch.tensor(data.x[name].isna().to_numpy())
        assert torch.equal(x[:, i] == 0, is_missing)
    is_missing = torch.tensor(data.x["height"].isna().to_numpy())
    score = x[:, len(names) + codec.layout.number_columns.index(names.index("height"))]
    assert not score[is_missing].any()
    assert score[~is_missing].std() > 0.5


def test_scores_are_normal_for_any_distribution():
    v = np.random.default_rng(0).lognormal(3, 2, 5000)
    data = table(v=pd.Series(v))
    score = fit_codec(data).encode(data)[:, 1]
    assert score.mean().abs() < 0.02
    assert score.std() == pytest.approx(1, abs=0.03)
    assert torch.equal(score.argsort(), torch.from_numpy(v).argsort())


def test_scores_extrapolate_and_decoded_values_stay_in_range():
    codec = fit_codec(table(v=pd.Series(np.linspace(0, 1, 101) ** 2)))
    beyond = codec.encode(table(v=pd.Series([-5.0, 0.0, 1.0, 2.0, 9.0, 1e300])))[:, 1]
    assert (beyond.diff() > 0).all()
    assert beyond.isfinite().all()
    x = torch.tensor([[1.0, -30.0], [1.0, 30.0]])
    assert codec.decode(x)["v"].tolist() == [0.0, 1.0]


def test_decoded_numbers_keep_integers_and_decimals():
    data = table(n=integers(np.arange(50) ** 2), price=pd.Series(np.arange(50) * 1.25 + 0.5))
    codec = fit_codec(data)
    torch.manual_seed(0)
    x = torch.cat([torch.ones(200, 2), torch.randn(200, 2)], 1)
    samples = codec.decode(x)
    assert str(samples["n"].dtype) == "Int64"
    assert (samples["price"].round(2) == samples["price"]).all()
    assert samples["n"].between(0, 49**2).all()


def possible_values():
    """Return columns whose cells lie on a grid, and the grid of each column."""
    random = np.random.default_rng(0)
    minutes = pd.to_timedelta(random.integers(0, 10_000, 200) * 15, "min")
    salary = integers(20_000 + 500 * random.integers(0, 90, 200))
    weight = pd.Series(random.normal(80, 9, 200).round())
    weight[::7] = np.nan
    columns = {
        "salary": (salary, lambda v: v % 500),
        "weight": (weight, lambda v: v % 1),
        "odd": (integers(1 + 2 * random.integers(0, 80, 200)), lambda v: v % 2 - 1),
        "price": (pd.Series(random.integers(1, 200, 200) * 0.05).round(2), lambda v: v * 20 % 1),
        "time": (pd.Series(pd.Timestamp("2021-03-01") + minutes), lambda v: v.minute % 15),
        "week": (
            pd.Series(
                pd.Timestamp("2021-03-01") + pd.to_timedelta(random.integers(0, 99, 200) * 7, "D")
            ),
            lambda v: v.weekday() + v.hour,
        ),
    }
    return {name: (column.rename(name), grid) for name, (column, grid) in columns.items()}


@pytest.mark.parametrize("name", possible_values())
def test_decoded_numbers_lie_on_the_grid_of_the_column(name):
    column, grid = possible_values()[name]
    codec = open_codec(fit_codec(table(**{name: column})).to_json())
    x = torch.cat([torch.ones(500, 1), torch.randn(500, codec.shape[0] - 1)], 1)
    decoded = codec.decode(x)[name]
    assert decoded.nunique() > 30
    offsets = [grid(v) for v in decoded]
    assert np.allclose(np.minimum(offsets, np.subtract(1, offsets)), 0, atol=1e-6)
    restored = codec.decode(codec.encode(table(**{name: column})))[name]
    pd.testing.assert_series_equal(restored, column)


def test_numbers_with_few_values_have_no_grid():
    assert fit_codec(table(a=integers([3, 17, 31] * 2))).columns[0].step == 0


def test_rare_levels_share_a_category():
    levels = text([f"w{int(k)}" for k in np.random.default_rng(0).geometric(0.004, 6000)])
    data = table(word=levels, other=text(["a", "b"] * 3000))
    codec = fit_codec(data)
    column = codec.columns[0]
    assert len(column.levels) == 255
    assert any("word: the 255 most frequent levels" in note for note in codec.notes)
    decoded = codec.decode(codec.encode(data))["word"]
    is_rare = levels.isin(column.rare)
    assert set(decoded[is_rare]) <= set(column.rare)
    assert (decoded[~is_rare] == levels[~is_rare]).all()


def test_unseen_levels_are_missing_and_noted():
    data = people()
    codec = fit_codec(data)
    other = data.take(range(3))
    other.x["town"] = text(["Ulm", "Atlantis", None])
    assert codec.encode(other)[:, 2].tolist() == [1, 0, 0]
    (cells,) = codec.invalid_cells(other)
    assert cells.mask.tolist() == [False, True, False]
    assert cells.reason(1) == "town 'Atlantis' is not in the training rows"
    assert cells.describe() == (
        "Column 'town' has a value that is not in the training rows ('Atlantis' in row 2); it is "
        "treated as missing."
    )


def test_column_types_override_inference():
    data = people()
    types = {"stars": "number", "age": "category", "town": "ignore"}
    codec = TableCodec.fit(data, column_types=types)
    assert {name: kinds(codec)[name] for name in types} == {
        "stars": "whole number",
        "age": "category",
        "town": "ignored by the user",
    }
    decoded = codec.decode(codec.encode(data))
    assert (decoded["age"] == data.x["age"]).all()


def test_a_codec_is_restored_from_json():
    codec = fit_codec(people())
    assert open_codec(json.loads(json.dumps(codec.to_json()))) == codec


def test_a_damaged_column_is_refused():
    values = json.loads(json.dumps(fit_codec(people()).to_json()))
    values["columns"][0]["type"] = "numbr"
    with pytest.raises(VariedError, match=r"columns\[0\]\.type: there is no type of column"):
        open_codec(values)


def test_other_rows_may_have_other_dtypes_and_more_columns():
    codec = fit_codec(people())
    other = people(40, seed=1)
    other.x["age"] = other.x["age"].astype("float64")
    other.x["more"] = 1.0
    assert codec.encode(other).shape == (40, *codec.shape)


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ({"agee": "number"}, "no column 'agee': did you mean 'age'"),
        ({"age": "numbr"}, "did you mean 'number'"),
        ({"town": "number"}, "'town' contains text and cannot be numeric"),
        ({"since": "category"}, "'since' contains dates and cannot be categorical"),
    ],
)
def test_invalid_column_types_are_refused(types, message):
    with pytest.raises(VariedError, match=message):
        TableCodec.fit(people(), column_types=types)


def test_a_table_with_other_columns_is_refused_with_all_differences():
    codec = fit_codec(people())
    other = people(40)
    other.x["age"] = text(["old"] * 40)
    del other.x["pay"]
    with pytest.raises(VariedError, match=r"'age' is object instead of Int64; column 'pay' is mis"):
        codec.encode(other)
    with pytest.raises(VariedError, match="use a table with the same columns"):
        codec.encode(np.zeros((3, 2)))


def test_a_table_without_a_column_to_learn_is_refused():
    with pytest.raises(VariedError, match=r"no column to train on \(id: identifier; same: const"):
        fit_codec(table(id=integers(range(50)), same=text(["x"] * 50)))


def test_the_digest_depends_on_every_cell():
    data, changed = people(), people()
    assert data.digest() == people().digest()
    changed.x.loc[3, "town"] = "Wien"
    assert data.digest() != changed.digest()


CELLS = {
    "float64": st.floats(allow_nan=False, allow_infinity=False, width=32),
    "Int64": st.integers(-(2**53), 2**53),
    "object": st.sampled_from(["", "a", "ä", "b c", "None"]),
    "boolean": st.booleans(),
}


@st.composite
def random_tables(draw) -> RawData:
    n, columns = draw(st.integers(1, 30)), {}
    for i in range(draw(st.integers(1, 4))):
        dtype = draw(st.sampled_from(sorted(CELLS)))
        values = draw(st.lists(st.none() | CELLS[dtype], min_size=1))
        columns[f"{dtype} {i}"] = pd.Series((values * n)[:n], dtype=dtype)
    return table(**columns)


@settings(max_examples=150, deadline=None)
@given(random_tables())
def test_any_table_is_encoded_as_finite_numbers_or_refused(data):
    try:
        codec = fit_codec(data)
    except VariedError as error:
        assert "no column to train on" in str(error)
        return
    x = codec.encode(data)
    assert x.isfinite().all()
    assert x.shape == (len(data), *codec.shape)
    decoded = codec.decode(x)
    for column in codec.learned:
        assert str(decoded[column.name].dtype) == column.dtype
        assert (decoded[column.name].isna() == data.x[column.name].isna()).all()
        if column.kind in ("category", "yes/no"):
            pd.testing.assert_series_equal(decoded[column.name], data.x[column.name])


# Results


@pytest.fixture(scope="module")
def codec() -> TableCodec:
    return fit_codec(people())


AXES = {"path": None, "step": None}


@pytest.mark.parametrize(
    ("shape", "axes", "names", "index"),
    [
        ((4,), {}, [None], [0, 1, 2, 3]),
        ((2, 2), AXES, ["path", "step"], [(1, 1), (1, 2), (2, 1), (2, 2)]),
        (
            (2, 2),
            {"which": ("original", "reconstruction"), "row": None},
            ["row", "which"],
            [(1, "original"), (1, "reconstruction"), (2, "original"), (2, "reconstruction")],
        ),
        ((4,), {"row": tuple("abcd")}, ["row"], [("a",), ("b",), ("c",), ("d",)]),
    ],
    ids=["no axes", "numbered", "named before numbered", "named"],
)
def test_rows_are_arranged_by_an_index(codec, shape, axes, names, index):
    rows = people(4).x
    arranged = codec.arrange(rows, shape, axes)
    assert list(arranged.index.names) == names
    assert arranged.index.tolist() == index
    expected = rows["age"].tolist()
    if "which" in axes:
        expected = [expected[i] for i in (0, 2, 1, 3)]
    assert arranged["age"].tolist() == expected


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_result_is_a_frame_of_the_original_library(library):
    pl = pytest.importorskip("polars")
    original = {"pandas": pd, "polars": pl}[library].DataFrame({"a": range(30), "step": range(30)})
    codec = fit_codec(read(original), column_types={"a": "number", "step": "number"})
    rows = codec.decode(codec.encode(read(original)))
    frame = codec.to_frame(codec.arrange(rows, (3, 10), AXES))
    if library == "pandas":
        assert frame.index.names == ["path", "step"]
        assert list(frame.columns) == ["a", "step"]
    else:
        assert frame.columns == ["path", "step_1", "a", "step"]
    plain = codec.to_frame(rows)
    assert type(plain) is type(original)
    assert plain.equals(original)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".feather"])
def test_rows_are_saved_and_read_again(codec, tmp_path, ending):
    rows = codec.decode(codec.encode(people()))[["age", "pay", "town"]]
    path = codec.save(codec.arrange(rows, (40, 10), AXES), tmp_path / f"rows{ending}")
    saved = read(path).x
    assert list(saved.columns) == ["path", "step", "age", "pay", "town"]
    pd.testing.assert_frame_equal(saved[["age", "pay", "town"]], rows)
    assert saved["step"].tolist() == [*range(1, 11)] * 40


def test_rows_are_saved_in_the_dialect_of_the_table(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a;b\n1,5;x\n2,25;y\n" + "3,5;x\n" * 20)
    data = read(path, labels="b")
    codec = fit_codec(data)
    codec.save_labeled(data, tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text().splitlines()[:3] == ["a;b", "1,50;x", "2,25;y"]
    codec.write_table(pd.DataFrame({"score": [0.5]}), tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_text() == "score\n0,5\n"


def test_other_files_are_refused_and_png_plots_the_first_rows(codec, tmp_path):
    with pytest.raises(
        VariedError, match=r"'a\.npy' .*; use \.csv, .* \.png for a plot of the first"
    ):
        codec.save(people().x, tmp_path / "a.npy")
    rows = codec.decode(codec.encode(people(4)))
    assert codec.plot(rows, np.empty(0), None, tmp_path / "a.png").is_file()
    x = codec.encode(people(4))
    np.testing.assert_array_equal(codec.to_images(x), x.numpy())


def test_features_leave_out_columns(codec):
    x = codec.encode(people())
    assert torch.equal(codec.to_features(x), x)
    rest = codec.to_features(x, without=["town", "age"])
    is_kept = ~torch.isin(codec.layout.element_columns, torch.tensor([0, 2]))
    assert torch.equal(rest, x[:, is_kept])
    assert rest.shape[1] < x.shape[1]


def test_elementwise_values_are_summed_by_column(codec):
    sums = codec.by_column(torch.ones(2, *codec.shape))
    assert codec.column_names == ("age", "pay", "town", "height", "since", "member", "stars")
    assert sums.shape == (2, 7)
    assert sums.sum() == 2 * codec.shape[0]


def test_attributes_are_numbers_or_names(codec):
    data = people()
    attributes = codec.attributes(data)
    assert tuple(attributes) == codec.column_names
    np.testing.assert_array_equal(attributes["height"], data.x["height"])
    assert attributes["since"].dtype == np.float64
    assert attributes["town"] == [town or "" for town in data.x["town"]]
    assert set(attributes["member"]) == {"True", "False"}


@pytest.mark.parametrize(("n", "latent"), [(100, 11), (400, 7)])
def test_defaults_depend_on_columns_and_rows(codec, n, latent):
    defaults = codec.defaults(n)
    assert defaults["net"].value == "mlp"
    assert defaults["likelihood"].value == {
        "name": "autoregressive-table",
        "layout": codec.layout_text,
    }
    assert defaults["latent"].value == latent


def test_a_table_may_contain_the_inferred_classes():
    data = people()
    codec = TableCodec.fit(data, column_types={"town": "target", "stars": "target"})
    assert codec.decodes_labels
    assert "town" not in codec.column_names
    decoded = codec.decode(codec.encode(data)[:3], ["Ulm", None, "Graz"])
    assert decoded["town"].tolist() == ["Ulm", None, "Graz"]
    decoded = codec.decode(codec.encode(data)[:2], ["3", "5"])
    assert decoded["stars"].tolist() == [3, 5]
    assert codec.decode(codec.encode(data)[:2])["stars"].isna().all()


# Imputation


def test_incomplete_rows_have_a_missing_cell(codec):
    data = people()
    rows = codec.imputer().incomplete_rows(Batch(codec.encode(data)))
    expected = data.x[["town", "height"]].isna().any(axis=1)
    assert rows.tolist() == np.flatnonzero(expected).tolist()


def test_the_scale_is_for_numbers_only(codec):
    n_flags, n_numbers, n_levels = codec.layout.block_sizes
    imputer = codec.imputer()
    assert imputer.n_scales == n_numbers
    for factors in ([2.0 + i for i in range(n_numbers)], [0.5]):
        expected = factors * (n_numbers // len(factors))
        scale = imputer.scale(factors).tolist()
        assert scale == [1.0] * n_flags + expected + [1.0] * n_levels


def test_each_observed_number_is_hidden_once(codec):
    x = codec.encode(people())
    n_flags = codec.layout.block_sizes[0]
    parts = list(codec.imputer().hide_numbers(Batch(x), seed=0))
    assert len(parts) == 3
    cells = []
    for part in parts:
        assert (part.x[part.rows, part.elements] == 0).all()
        assert torch.equal(part.values, x[part.rows, part.elements])
        assert ((part.x != x).sum() <= 2 * len(part.rows)).item()
        cells += zip(part.rows.tolist(), part.elements.tolist(), strict=True)
    # age, height and since; pay has a frequent value
    n_observed = int(x[:, [0, 3, 4]].sum())
    assert len(cells) == len(set(cells)) == n_observed
    assert {element - n_flags for _, element in cells} == {0, 2, 3}
    repeated = list(codec.imputer().hide_numbers(Batch(x), seed=0))
    assert all(torch.equal(a.x, b.x) for a, b in zip(parts, repeated, strict=True))


def test_a_table_without_numbers_has_none_to_hide():
    codec = fit_codec(table(a=text(["x", "y"] * 20)))
    stored = Batch(codec.encode(table(a=text(["x", "y"]))))
    assert not list(codec.imputer().hide_numbers(stored, 0))


def test_missing_cells_are_filled_from_draws(codec):
    data = people().take(range(30))
    x = codec.encode(data)
    rows = codec.imputer().incomplete_rows(Batch(x)).numpy()
    draws = [codec.encode(people(400, seed).take(range(len(rows)))) for seed in (1, 2, 3, 4, 5)]
    filled, completed, cells = codec.imputer().fill(data, rows, draws)
    assert len(completed) == 5
    is_missing = data.x[["town", "height"]].isna()
    assert len(cells) == is_missing.to_numpy().sum()
    assert cells["row"].is_monotonic_increasing
    for name in data.x.columns:
        is_known = data.x[name].notna()
        for frame in (filled, *completed):
            assert frame[name].dtype == data.x[name].dtype
            pd.testing.assert_series_equal(frame[name][is_known], data.x[name][is_known])
    heights = cells[cells["column"] == "height"]
    towns = cells[cells["column"] == "town"]
    known = heights.dropna(subset="value")
    assert (known["ci_low"] <= known["ci_high"]).all()
    assert heights["frequency"].isna().all()
    assert towns["frequency"].dropna().between(0.2, 1).all()
    assert towns["ci_low"].isna().all()
    assert data.x["height"].isna().any()  # the original is unchanged


def test_a_complete_table_has_no_cell_to_fill(codec):
    data = people().take([0]).replace(x=people().x.dropna(subset=["town", "height"]).head(5))
    filled, completed, cells = codec.imputer().fill(data, np.arange(0), [])
    pd.testing.assert_frame_equal(filled, data.x)
    assert completed == []
    assert list(cells.columns) == ["row", "column", "value", "ci_low", "ci_high", "frequency"]
