"""Relations between columns that hold in all training rows hold in all decoded rows."""

import json
import time

import numpy as np
import pandas as pd
import pytest
import torch
from quick_training import train_quickly

from varied.data import read
from varied.data.codecs import TableCodec, open_codec
from varied.data.codecs.relation_search import detect_relations

N = 400


def _days(rng, low, high):
    return pd.to_timedelta(rng.integers(low, high, N), "D")


def _related_table(seed=0):
    rng = np.random.default_rng(seed)
    a, b = np.round(rng.gamma(2, 10, N), 2), np.round(rng.gamma(2, 5, N), 2)
    c = np.round(rng.normal(15, 8, N), 1)
    check_in = pd.Timestamp("2020-01-01") + _days(rng, 0, 700)
    nights, quantity = rng.integers(1, 15, N), rng.integers(1, 12, N)
    price, low = np.round(rng.gamma(3, 7, N), 2), rng.integers(20, 90, N) * 1000
    return pd.DataFrame(
        {
            "total": np.round(a + b, 2),
            "a": a,
            "b": b,
            "celsius": c,
            "fahrenheit": np.round(1.8 * c + 32, 1),
            "check_in": check_in,
            "nights": nights,
            "check_out": check_in + pd.to_timedelta(nights, "D"),
            "quantity": quantity,
            "price": price,
            "amount": np.round(quantity * price, 2),
            "low": low,
            "high": low + rng.integers(0, 40, N) * 500,
            "noise": rng.normal(size=N),
        }
    )


def _fit(frame, **options):
    return TableCodec.fit(read(frame), **options)


def _texts(frame, **options):
    return {str(relation) for relation in _fit(frame, **options).relations}


def _broken(frame):
    """Return the number of rows that violate each relation of `_related_table`."""
    return {
        "total": (np.round(frame.a + frame.b, 2) != frame.total).sum(),
        "fahrenheit": (np.round(1.8 * frame.celsius + 32, 1) != frame.fahrenheit).sum(),
        "check_out": (
            frame.check_in + pd.to_timedelta(frame.nights.astype(int), "D") != frame.check_out
        ).sum(),
        "amount": (np.abs(frame.quantity * frame.price - frame.amount) > 0.0051).sum(),
        "high": (frame.high < frame.low).sum(),
    }


NONE_BROKEN = dict.fromkeys(("total", "fahrenheit", "check_out", "amount", "high"), 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_quickly(_related_table(), steps=300, out=tmp_path_factory.mktemp("runs") / "run")


def test_relations_of_all_kinds_are_detected():
    assert _texts(_related_table()) == {
        "total = a + b",
        "fahrenheit = 1.8 celsius + 32",
        "check_out = check_in + nights",
        "amount = quantity * price",
        "high >= low",
    }


RNG = np.random.default_rng(1)
X, Y, Z = RNG.normal(10, 3, (3, N))
HOURS = RNG.integers(1, 200, N)
START = pd.Timestamp("2021-03-01 08:00") + pd.to_timedelta(RNG.integers(0, 500_000, N), "min")
YEARS, WHOLE = RNG.integers(1940, 2010, (2, N))
SINGLE = {
    "copy": ({"x": X, "y": X}, "y = x"),
    "difference": ({"x": X, "y": Y, "d": X - Y}, "d = x - y"),
    "shares": ({"x": X / 100, "y": Y / 50, "z": 1 - X / 100 - Y / 50}, "z = - x - y + 1"),
    "age": ({"year": YEARS, "age": 2024 - YEARS}, "age = - year + 2024"),
    "hours": (
        {"start": START, "hours": HOURS, "end": START + pd.to_timedelta(HOURS, "h")},
        "end = start + 1/24 hours",
    ),
    "tax": ({"net": np.round(X, 2), "tax": np.round(0.19 * np.round(X, 2), 2)}, "tax = 0.19 net"),
    "rounded": ({"x": np.round(X, 3), "y": np.round(7 * np.round(X, 3), 1)}, "y = 7 x"),
    "half up": ({"x": WHOLE, "y": np.floor(WHOLE / 2 + 0.5).astype(int)}, "y = 0.5 x"),
    "float32": ({"x": (X / 7).astype("f4"), "y": (X / 7).astype("f4") * 2}, "y = 2 x"),
    "ratio": ({"x": X, "y": Y + 20, "ratio": X / (Y + 20)}, "x = y * ratio"),
    "rounded ratio": (
        {
            "x": np.round(X, 3),
            "y": np.round(Y + 20, 3),
            "r": np.round(np.round(X, 3) / np.round(Y + 20, 3), 2),
        },
        "r = x / y",
    ),
    "order of dates": (
        {"start": START, "end": START + pd.to_timedelta(HOURS**2, "min")},
        "end >= start",
    ),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_relation_is_detected_and_decoded(name):
    frame, text = pd.DataFrame(SINGLE[name][0]), SINGLE[name][1]
    codec = _fit(frame)
    assert [str(relation) for relation in codec.relations] == [text]
    decoded = codec.decode(codec.encode(read(frame)))
    assert codec.invalid_cells(read(frame)) == []
    assert codec.invalid_cells(read(decoded)) == []


@pytest.mark.parametrize("name", SINGLE)
def test_any_encoded_rows_are_decoded_to_rows_that_satisfy_the_relation(name):
    codec = _fit(pd.DataFrame(SINGLE[name][0]))
    x = codec.encode(read(pd.DataFrame(SINGLE[name][0])))
    shuffled = np.random.default_rng(0).permuted(x.numpy(), axis=0)
    assert codec.invalid_cells(read(codec.decode(torch.from_numpy(shuffled)))) == []


def test_an_inequality_with_large_differences_is_not_modeled_as_a_difference():
    relation = _fit(pd.DataFrame({"x": X, "y": X + Y**2 / 20})).relations[0]
    assert str(relation) == "y >= x" and relation.difference is None
    assert _fit(_related_table()[["low", "high"]]).relations[0].difference is not None


@pytest.mark.parametrize("n_missing", [30, 5])
def test_a_cell_is_encoded_where_other_cells_of_its_relation_are_missing(n_missing):
    frame = _related_table()[["total", "a", "b"]]
    frame.loc[: n_missing - 1, "a"] = None
    codec = _fit(frame)
    decoded = codec.decode(codec.encode(read(frame)))
    assert any(not relation.is_order for relation in codec.relations)
    assert (decoded["total"] == frame["total"]).all()


@pytest.mark.parametrize("n_columns", [5, 50, 200])
def test_independent_columns_have_no_relations(n_columns):
    for seed in range(3 if n_columns == 5 else 1):
        rng = np.random.default_rng(seed)
        for x in (
            rng.normal(size=(300, n_columns)),
            rng.integers(0, 100, (300, n_columns)),
            rng.poisson(3, (300, n_columns)),
            (rng.random((300, n_columns)) < 0.02) * rng.integers(1, 1000, (300, n_columns)),
        ):
            assert not _texts(pd.DataFrame(x).rename(columns=str))


def test_strongly_correlated_columns_have_no_equation():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 1)) + 0.01 * rng.normal(size=(300, 20))
    assert not _texts(pd.DataFrame(np.round(x, 3)).rename(columns=str))


def test_a_single_exception_prevents_a_relation():
    frame = _related_table().iloc[:, :3]
    frame.loc[7, "total"] += 0.01
    assert not any("=" in text and ">=" not in text for text in _texts(frame))


def test_few_rows_do_not_suffice():
    assert not _texts(_related_table().head(20))


def test_a_column_with_a_given_type_is_modeled_directly():
    frame = _related_table()
    assert "total = a + b" not in _texts(frame, column_types={"total": "number"})
    assert "b = total - a" in _texts(
        frame[["total", "a", "b"]], column_types={"total": "number", "a": "number"}
    )


def test_the_search_takes_less_than_half_a_second():
    x = np.random.default_rng(0).integers(0, 1000, (10_000, 200))
    data = read(pd.DataFrame(x).rename(columns=str))
    codec = TableCodec.fit(data)
    start = time.process_time()
    assert not detect_relations(data.x, codec.columns)
    assert time.process_time() - start < 1.0  # 0.3 s on an idle core


def test_decoded_rows_equal_the_table():
    frame = _related_table()
    codec = _fit(frame)
    decoded = codec.decode(codec.encode(read(frame))).drop(columns="noise")
    pd.testing.assert_frame_equal(decoded, read(frame).x.drop(columns="noise"), check_exact=True)


def test_missing_cells_stay_missing_and_others_are_unchanged():
    frame = _related_table().drop(columns="noise")
    frame = frame.mask(np.random.default_rng(0).random(frame.shape) < 0.1)
    codec, cells = _fit(frame), read(frame).x
    assert {"total = a + b", "high >= low"} <= {str(relation) for relation in codec.relations}
    decoded = codec.decode(codec.encode(read(frame)))
    pd.testing.assert_frame_equal(decoded.isna(), cells.isna())
    assert (decoded == cells).sum().sum() == cells.notna().sum().sum()


def test_a_codec_is_saved_with_its_relations():
    codec = _fit(_related_table())
    assert open_codec(json.loads(json.dumps(codec.to_json()))) == codec


def test_notes_describe_the_relations():
    notes = _fit(_related_table()[["total", "a", "b", "low", "high"]]).notes
    assert notes[-2:] == (
        "total = a + b holds in all training rows and is satisfied by decoded rows.",
        "high >= low holds in all training rows and is satisfied by decoded rows.",
    )


def test_samples_and_reconstructions_satisfy_all_relations(run):
    assert _broken(run.sample(1000).array) == NONE_BROKEN
    assert _broken(run.reconstruct().array) == NONE_BROKEN


def test_anomaly_detection_names_the_violated_relation(run):
    rows = run.split("test").x.head(4).reset_index(drop=True)
    rows.loc[0, "total"] += 10
    rows.loc[1, "check_out"] = rows.loc[1, "check_in"] - pd.Timedelta("3D")
    rows.loc[2, "high"] = rows.loc[2, "low"] - 5000
    report = run.detect(rows)
    names = [reason.split(" ")[0] for reason in report.reasons[:3]]
    assert names == ["total", "check_out", "high"]
    assert report.excess[:3].max(1).min() > np.log(N / 2)
    assert (
        report.notes == ("total = a + b holds in all training rows, but not in 1 of 4 rows.",)
        or len(report.notes) == 3
    )


def test_the_score_of_a_violated_equation_is_bounded():
    frame = _related_table()[["total", "a", "b"]]
    codec = _fit(frame)
    assert codec.encode(read(frame.assign(total=frame.total + 1e6))).abs().max() <= 10


def test_imputed_cells_are_computed_from_relations(run):
    complete = run.split("test").x.head(12).reset_index(drop=True)
    rows = complete.copy()
    names = ["total", "a", "b", "celsius", "fahrenheit", "check_in", "check_out", "nights"]
    for i, name in enumerate(names):
        rows.loc[i, name] = None
    result = run.impute(rows, n_draws=5)
    assert (result.array[names] == complete[names]).all(axis=None)
    assert len(result.cells) == len(names)


def test_imputed_cells_satisfy_relations(run):
    complete = run.split("test").x.head(12).reset_index(drop=True)
    hidden = ["total", "a", "fahrenheit", "celsius", "check_out", "check_in", "high"]
    mask = np.tile(complete.columns.isin(hidden), (len(complete), 1))
    mask[:6] |= complete.columns.isin(["low", "price", "amount"])
    mask[6:] |= complete.columns.isin(["quantity", "amount"])
    rows = complete.mask(mask)
    result = run.impute(rows, n_draws=5)
    for frame in (result.array, *result.draws):
        assert _broken(frame) == NONE_BROKEN
        assert (frame.where(rows.notna()) == rows).sum().sum() == rows.notna().sum().sum()
