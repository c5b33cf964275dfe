"""Tables: what each column is taken for, and that cells come back as they were."""

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


def items(**columns) -> RawData:
    return RawData(pd.DataFrame(columns), "table")


def words(values) -> pd.Series:
    return pd.Series(values, dtype=object)


def whole(values) -> pd.Series:
    return pd.Series(values, dtype="Int64")


def people(n: int = 400, seed: int = 0) -> RawData:
    """Return a table with a column of every kind."""
    dice = np.random.default_rng(seed)
    age = dice.integers(17, 90, n)
    pay = np.where(dice.random(n) < 0.6, 0.0, dice.lognormal(8, 1, n).round(2))
    town = words(dice.choice(["Ulm", "Graz", "Łódź"], n, p=[0.6, 0.3, 0.1]))
    town[dice.random(n) < 0.2] = None
    height = pd.Series(dice.normal(170, 9, n).round(1))
    height[dice.random(n) < 0.3] = np.nan
    days = pd.Series(pd.to_datetime("2020-01-01") + pd.to_timedelta(dice.integers(0, 900, n), "D"))
    return items(
        id=whole(range(1000, 1000 + n)),
        age=whole(age),
        pay=pd.Series(pay),
        town=town,
        height=height,
        since=days.astype("datetime64[ns]"),
        member=pd.Series(dice.random(n) < 0.5, dtype="boolean"),
        country=words(["AT"] * n),
        note=words([f"a long remark about person {i}" for i in range(n)]),
        empty=pd.Series(np.full(n, np.nan)),
        stars=whole(dice.integers(1, 6, n)),
    )


def kinds(codec: TableCodec) -> dict[str, str]:
    return {column.name: column.kind for column in codec.columns}


def test_each_kind_of_column_is_found_and_said():
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
    assert codec.words == "n n1 c3? n? n c2 c5"
    assert "pay: places of their own for 0, which came often." in codec.notes
    assert any("id: identifier" in note for note in codec.notes)


def test_what_is_learned_comes_back_to_the_letter():
    table = people()
    codec = fit_codec(table)
    back = codec.decode(codec.encode(table))
    assert list(back.columns) == list(table.x.columns)
    for column in codec.columns:
        name = column.name
        if column.word or column.kind in ("constant", "empty"):
            pd.testing.assert_series_equal(back[name], table.x[name], check_exact=name != "pay")
    assert back["id"].isna().all()
    assert back["note"].isna().all()


def test_missing_cells_are_gaps_and_nothing_else():
    table = people()
    codec = fit_codec(table)
    x = codec.encode(table)
    names = [column.name for column in codec.learned]
    for index, name in enumerate(names):
        assert torch.equal(x[:, index] == 0, torch.tensor(table.x[name].isna().to_numpy()))
    height = torch.tensor(table.x["height"].isna().to_numpy())
    place = len(names) + [n for n in names if n in ("age", "pay", "height", "since")].index(
        "height"
    )
    assert not x[height, place].any()
    assert x[~height, place].std() > 0.5


def test_a_number_is_normal_whatever_its_shape():
    v = np.random.default_rng(0).lognormal(3, 2, 5000)
    codec = fit_codec(items(v=pd.Series(v)))
    score = codec.encode(items(v=pd.Series(v)))[:, 1]
    assert score.mean().abs() < 0.02
    assert score.std() == pytest.approx(1, abs=0.03)
    assert torch.equal(score.argsort(), torch.from_numpy(v).argsort())


def test_what_lies_beyond_the_data_goes_on_but_comes_back_within():
    v = pd.Series(np.linspace(0, 1, 101) ** 2)
    codec = fit_codec(items(v=v))
    far = codec.encode(items(v=pd.Series([-5.0, 0.0, 1.0, 2.0, 9.0, 1e300])))[:, 1]
    assert (far.diff() > 0).all()
    assert far.isfinite().all()
    x = torch.tensor([[1.0, -30.0], [1.0, 30.0]])
    assert codec.decode(x)["v"].tolist() == [0.0, 1.0]


def test_rows_of_a_whole_number_stay_whole_and_digits_stay():
    table = items(n=whole(np.arange(50) ** 2), price=pd.Series(np.arange(50) * 1.25 + 0.5))
    codec = fit_codec(table)
    torch.manual_seed(0)
    x = torch.cat([torch.ones(200, 2), torch.randn(200, 2)], 1)
    made = codec.decode(x)
    assert str(made["n"].dtype) == "Int64"
    assert (made["price"].round(2) == made["price"]).all()
    assert made["n"].between(0, 49**2).all()


def test_a_column_of_a_thousand_levels_is_handled_by_name():
    dice = np.random.default_rng(0)
    levels = words([f"w{int(k)}" for k in dice.geometric(0.004, 6000)])
    codec = fit_codec(items(word=levels, other=words(["a", "b"] * 3000)))
    assert len(codec.columns[0].levels) == 255
    assert any("word: its 255 most frequent levels" in note for note in codec.notes)
    back = codec.decode(codec.encode(items(word=levels, other=words(["a", "b"] * 3000))))["word"]
    rare = set(codec.columns[0].rare)
    assert set(back[levels.isin(rare)]) <= rare
    assert (back[~levels.isin(rare)] == levels[~levels.isin(rare)]).all()


def test_a_level_that_was_never_seen_is_a_gap_and_is_said():
    table = people()
    codec = fit_codec(table)
    other = table.take(range(3))
    other.x["town"] = words(["Ulm", "Atlantis", None])
    assert codec.encode(other)[:, 2].tolist() == [1, 0, 0]
    assert codec.unseen(other).sum() == codec.unseen(other)[1, 2] == 1
    assert codec.strangers(other) == [
        "town has levels that were not there in training: 'Atlantis'."
    ]


def test_the_person_knows_better():
    table = people()
    codec = TableCodec.fit(
        table, column_types={"stars": "number", "age": "category", "town": "ignore"}
    )
    assert {k: kinds(codec)[k] for k in ("stars", "age", "town")} == {
        "stars": "whole number",
        "age": "category",
        "town": "left out, as asked",
    }
    back = codec.decode(codec.encode(table))
    assert (back["age"] == table.x["age"]).all()


def test_it_is_kept_as_plain_values():
    codec = fit_codec(people())
    assert open_codec(json.loads(json.dumps(codec.to_json()))) == codec


def test_other_rows_may_have_other_types_and_more_columns():
    codec = fit_codec(people())
    other = people(40, seed=1)
    other.x["age"] = other.x["age"].astype("float64")
    other.x["more"] = 1.0
    assert codec.encode(other).shape == (40, *codec.shape)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"agee": "number"}, "no column 'agee': did you mean 'age'"),
        ({"age": "numbr"}, "did you mean 'number'"),
        ({"town": "number"}, "'town' holds words"),
        ({"since": "category"}, "'since' holds dates"),
    ],
)
def test_what_cannot_be_is_refused(asked, words):
    with pytest.raises(VariedError, match=words):
        TableCodec.fit(people(), column_types=asked)


def test_a_table_that_is_not_like_it_is_refused_with_all_that_is_wrong():
    codec = fit_codec(people())
    other = people(40)
    other.x["age"] = words(["old"] * 40)
    del other.x["pay"]
    with pytest.raises(VariedError, match=r"'age' is object.*; there is no column 'pay'"):
        codec.encode(other)
    with pytest.raises(VariedError, match="give a table with the same columns"):
        codec.encode(np.zeros((3, 2)))


def test_a_table_with_nothing_to_learn_is_refused():
    with pytest.raises(VariedError, match="no column to learn from"):
        fit_codec(items(id=whole(range(50)), same=words(["x"] * 50)))


def test_the_digest_tells_tables_apart():
    table = people()
    assert table.digest() == people().digest()
    changed = people()
    changed.x.loc[3, "town"] = "Wien"
    assert table.digest() != changed.digest()
    assert table.take([0, 1]).x.shape == (2, 11)


cells = {
    "number": st.lists(
        st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1
    ),
    "whole": st.lists(st.none() | st.integers(-(2**53), 2**53), min_size=1),
    "words": st.lists(st.none() | st.sampled_from(["", "a", "ä", "b c", "None"]), min_size=1),
    "flags": st.lists(st.none() | st.booleans(), min_size=1),
}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_odd_tables_train_finite_or_are_refused(data):
    made = {
        "number": lambda v: pd.Series(v, dtype="float64"),
        "whole": whole,
        "words": words,
        "flags": lambda v: pd.Series(v, dtype="boolean"),
    }
    n = data.draw(st.integers(1, 30))
    columns = {}
    for i in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(sorted(cells)))
        values = data.draw(cells[kind])
        columns[f"{kind} {i}"] = made[kind]((values * n)[:n])
    table = items(**columns)
    try:
        codec = fit_codec(table)
    except VariedError as error:
        assert "no column to learn from" in str(error)
        return
    x = codec.encode(table)
    assert x.isfinite().all()
    assert x.shape == (n, *codec.shape)
    back = codec.decode(x)
    for column in codec.learned:
        assert str(back[column.name].dtype) == column.dtype
        assert (back[column.name].isna() == table.x[column.name].isna()).all()
        if column.kind in ("category", "yes/no"):
            pd.testing.assert_series_equal(back[column.name], table.x[column.name])
