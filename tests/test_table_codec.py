"""The codec of tables: the inferred type of each column, and that cells come back unchanged."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
    assert np.argwhere(codec.unseen(other)).tolist() == [[1, 2]]
    assert codec.describe_unseen(other) == [
        "town has levels that are not in the training rows: 'Atlantis'."
    ]


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
    with pytest.raises(VariedError, match="column is damaged"):
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
        ({"town": "number"}, "'town' has text and cannot be a number"),
        ({"since": "category"}, "'since' has dates and cannot be a category"),
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
    with pytest.raises(VariedError, match="give a table with the same columns"):
        codec.encode(np.zeros((3, 2)))


def test_a_table_without_a_column_to_learn_is_refused():
    with pytest.raises(VariedError, match=r"no column to learn from \(id: identifier; same: const"):
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
        assert "no column to learn from" in str(error)
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
