"""Column types in the estimators: categories, whole numbers, dates and missing cells."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from test_estimators import FAST

from varied.data import fit_codec, read
from varied.errors import VariedError
from varied.estimators import (
    VAEClassifier,
    VAEDetector,
    VAEImputer,
    VAESampler,
    VAETransformer,
)
from varied.estimators.column_scaler import ColumnScaler, Support
from varied.estimators.table_converter import TableConverter
from varied.spec import Part

N = 300
TRAINED = FAST | {"steps": 300}


def mixed_frame():
    """Return a DataFrame with all types of columns; all but the last two depend on one number."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=N)
    hidden = rng.random((2, N)) < 0.1
    return pd.DataFrame(
        {
            "married": z + rng.normal(size=N) > 0.5,
            "smoker": pd.array(np.where(hidden[0], None, rng.random(N) < 0.06), dtype="boolean"),
            "age": (40 + 10 * z).round().astype("int16"),
            "visits": pd.array(np.where(hidden[1], None, rng.poisson(np.exp(z / 2))), "Int64"),
            "pay": np.exp(z + 0.3 * rng.normal(size=N)).round(2),
            "city": pd.Categorical(np.where(z > 0, "rome", "oslo"), ["rome", "oslo", "bonn"]),
            "word": np.where(z > 0.3, "a", np.where(rng.random(N) < 0.5, "b", None)),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta((100 * z).round(), unit="D"),
        },
        index=np.arange(N) + 7,
    )


FRAME = mixed_frame()
Y = pd.Series(np.where(FRAME["age"] > 52, "rare", "common"), FRAME.index, name="y")
LIBRARIES = {
    "pandas": lambda: FRAME,
    "polars": lambda: pl.from_pandas(FRAME),
    "pyarrow": lambda: pl.from_pandas(FRAME).to_arrow(),
}


def to_pandas(rows):
    return rows if isinstance(rows, pd.DataFrame) else rows.to_pandas()


def schema(rows):
    return rows.dtypes.tolist() if isinstance(rows, pd.DataFrame) else rows.schema


def check_cells(rows):
    """Check that cells have values that are possible in the columns of `mixed_frame`."""
    rows = to_pandas(rows)
    assert rows["visits"].dropna().between(0, FRAME["visits"].max()).all()
    assert (rows["visits"].dropna() % 1 == 0).all()
    assert (rows["age"] % 1 == 0).all()
    assert rows["pay"].between(FRAME["pay"].min(), FRAME["pay"].max()).all()
    np.testing.assert_allclose(rows["pay"].round(2), rows["pay"])
    assert set(rows["city"]) <= {"rome", "oslo"}
    assert set(rows["word"].dropna()) <= {"a", "b"}
    assert (rows["day"] == rows["day"].dt.normalize()).all()


@pytest.mark.parametrize("library", LIBRARIES)
def test_resampled_frames_keep_their_rows_and_types(library):
    frame = LIBRARIES[library]()
    rows, labels = VAESampler(**FAST).fit_resample(frame, Y)
    assert type(rows) is type(frame)
    assert schema(rows) == schema(frame)
    assert len(rows) == len(labels) == 2 * (Y == "common").sum()
    assert type(labels) is pd.Series and labels.name == "y"
    pd.testing.assert_frame_equal(to_pandas(rows)[:N], to_pandas(frame).reset_index(drop=True))
    check_cells(rows)


@pytest.mark.slow
def test_generated_booleans_are_as_frequent_as_in_the_data():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=1000), "common": rng.random(1000) < 0.3})
    frame["rare"] = rng.random(1000) < 0.055
    samples = VAETransformer(**TRAINED).fit(frame).sample(4000)
    assert samples.dtypes.equals(frame.dtypes)
    difference = samples[["common", "rare"]].mean() - frame[["common", "rare"]].mean()
    assert difference.abs().max() < 0.03


@pytest.mark.slow
def test_resampled_booleans_are_as_frequent_as_in_the_data():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=N), "common": rng.random(N) < 0.3})
    frame["rare"] = pd.array(rng.random(N) < 0.055, dtype="boolean")
    rows, _ = VAESampler(**TRAINED).fit_resample(frame, np.arange(N) < 100)
    generated = rows[["common", "rare"]].iloc[N:].astype(float)
    assert len(generated) == N - 200
    difference = generated.mean() - frame[["common", "rare"]].astype(float).mean()
    assert difference.abs().max() < 0.15


@pytest.mark.parametrize("library", LIBRARIES)
def test_samples_and_reconstructions_have_the_types_of_the_frame(library):
    frame = LIBRARIES[library]()
    vae = VAETransformer(2, **FAST).fit(frame)
    for rows in (vae.sample(50), vae.inverse_transform(vae.transform(frame))):
        assert type(rows) is type(frame)
        assert schema(rows) == schema(frame)
        check_cells(rows)
    assert np.isfinite(vae.score_samples(frame)).all()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("n_draws", [0, 1])
def test_imputed_frames_are_complete_and_keep_observed_cells(library, n_draws):
    frame = LIBRARIES[library]()
    imputer = VAEImputer(n_draws=n_draws, **FAST)
    filled = imputer.fit_transform(frame)
    assert type(filled) is type(frame)
    assert schema(filled) == schema(frame)
    check_cells(filled)
    before, after = to_pandas(frame), to_pandas(filled)
    assert not after.isna().any(axis=None)
    for name in before:
        observed = before[name].notna()
        assert (after[name][observed] == before[name][observed]).all(), name
    if library == "pandas":
        assert after.index.equals(FRAME.index)
        draws = imputer.draw(frame, 3)
        assert [draw.shape for draw in draws] == [frame.shape] * 3
        check_cells(draws[0])


def test_imputed_values_of_arrays_are_possible():
    rng = np.random.default_rng(0)
    z = rng.normal(size=400)
    x = np.stack([z, z > 1, rng.poisson(np.exp(z)), 30 + 10 * z], 1)
    x[:, 3] = x[:, 3].round()
    missing = rng.random(x.shape) < 0.2
    imputer = VAEImputer(n_draws=1, **FAST).fit(np.where(missing, np.nan, x))
    for rows in (imputer.transform(np.where(missing, np.nan, x)), imputer.draw(x * np.nan, 2)[1]):
        assert set(rows[:, 1]) == {0, 1}
        assert set(rows[:, 2]) <= set(x[:, 2])
        assert (rows[:, 3] % 1 == 0).all()


def test_samples_and_reconstructions_of_arrays_are_possible():
    rng = np.random.default_rng(0)
    z = rng.normal(size=400)
    x = np.stack([z, z > 1, rng.poisson(np.exp(z)), (30 + 10 * z).round(), np.exp(z)], 1)
    vae = VAETransformer(2, **FAST).fit(x)
    for rows in (vae.sample(400), vae.inverse_transform(vae.transform(x))):
        assert set(rows[:, 1]) <= {0, 1}
        assert set(rows[:, 2]) <= set(x[:, 2])
        assert (rows[:, 3] % 1 == 0).all()
        assert (rows[:, 4] >= x[:, 4].min()).all()


def test_generated_times_are_whole_minutes():
    rng = np.random.default_rng(0)
    minutes = pd.to_timedelta(rng.integers(0, 10_000, N) * 5, "min")
    frame = pd.DataFrame({"x": rng.normal(size=N), "time": pd.Timestamp("2021-03-01") + minutes})
    times = VAETransformer(1, **FAST).fit(frame).sample(100)["time"].dt
    assert ((times.minute % 5 == 0) & (times.second == 0) & (times.microsecond == 0)).all()
    assert times.minute.nunique() > 6


def test_constant_columns_are_imputed():
    frame = FRAME[["age"]].assign(unit=3.0, place="Lab")
    frame.loc[frame.index[::4], ["unit", "place"]] = None
    filled = VAEImputer(**FAST).fit_transform(frame)
    assert (filled["unit"] == 3).all() and (filled["place"] == "Lab").all()


def test_types_are_those_of_the_command():
    converter, codec = TableConverter.fit(FRAME), fit_codec(read(FRAME))
    assert [(c.name, c.kind) for c in converter.columns] == [
        (c.name, c.kind) for c in codec.columns
    ]
    columns = {c.name: c.kind for c in TableConverter.fit(FRAME).columns}
    assert columns["married"] == columns["smoker"] == "yes/no"
    assert columns["visits"] == "whole number with few values"
    assert columns["city"] == columns["word"] == "category"
    assert (columns["age"], columns["pay"], columns["day"]) == ("whole number", "number", "date")


@pytest.mark.parametrize("features", [["a"], [0], [True, False, False]])
def test_categorical_features(features):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.integers(0, 40, (100, 3)), columns=["a", "b", "c"])
    frame["b"] = frame["b"] % 2
    converter = TableConverter.fit(frame, features)
    assert [bool(s.levels) for s in converter.supports] == [True, False, False]
    x = VAETransformer(categorical_features=features, **FAST).fit(frame).sample(100)
    assert set(x["a"]) <= set(frame["a"])
    with pytest.raises(VariedError, match="'z', which is not a column"):
        TableConverter.fit(frame, ["z"])
    with pytest.raises(VariedError, match="1 entries for 3 columns"):
        TableConverter.fit(frame, [True])


def test_text_that_is_not_a_category_is_refused():
    frame = pd.DataFrame({"x": np.arange(50.0), "name": [f"person {i}" for i in range(50)]})
    with pytest.raises(VariedError, match="'name' contains free text or identifiers"):
        VAETransformer(**FAST).fit(frame)
    with pytest.raises(VariedError, match="contains text and cannot be numeric"):
        VAETransformer(categorical_features=[], **FAST).fit(FRAME[["word", "age"]])


def test_frames_with_other_types_are_refused():
    vae = VAETransformer(**FAST).fit(FRAME)
    with pytest.raises(VariedError, match=r"'age' is object, but it was Int64 in training"):
        vae.transform(FRAME.assign(age="old"))
    with pytest.raises(ValueError, match="feature names"):
        vae.transform(FRAME.drop(columns="age"))


def test_arrays_of_objects_with_text():
    x = FRAME[["age", "city", "visits"]].to_numpy(dtype=object)
    filled = VAEImputer(**FAST).fit_transform(x)
    assert filled.dtype == object
    assert not pd.isna(filled).any()
    assert (filled[~pd.isna(x)] == x[~pd.isna(x)]).all()
    assert set(VAETransformer(1, **FAST).fit(x[:, :2]).sample(20)[:, 1]) <= {"rome", "oslo"}


@pytest.mark.parametrize("marker", [pd.NA, None, np.nan])
def test_missing_values_may_be_any_null(marker):
    filled = VAEImputer(missing_values=marker, **FAST).fit_transform(FRAME)
    assert not filled.isna().any(axis=None)


def test_markers_are_missing_in_addition_to_nan():
    x = np.random.default_rng(0).normal(size=(50, 3))
    marked = x.copy()
    marked[3, 1], marked[4, 2] = -999, np.nan
    filled = VAEImputer(missing_values=-999, **FAST).fit_transform(marked)
    assert (np.abs(filled) < 10).all()
    frame = FRAME.assign(age=FRAME["age"].where(FRAME["age"] > 30, -999))
    filled = VAEImputer(missing_values=-999, **FAST).fit_transform(frame)
    assert filled["age"].dtype == "int16"
    assert (filled["age"] > 0).all()
    words = FRAME.assign(word=FRAME["word"].fillna("unknown"))
    filled = VAEImputer(missing_values="unknown", **FAST).fit_transform(words)
    assert set(filled["word"]) == {"a", "b"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "labels"), [(None, ["no", "yes"]), (np.nan, [0, 1]), (pd.NA, ["no", "yes"])]
)
def test_missing_labels_mark_unlabeled_rows(missing, labels):
    truth = np.where(FRAME["age"] > 40, *labels[::-1])
    y = truth.astype(object)
    y[::3] = missing
    classifier = VAEClassifier(**TRAINED).fit(FRAME, y)
    assert classifier.classes_.tolist() == labels
    assert classifier.score(FRAME, truth) > 0.9


def test_labels_without_classes_are_refused():
    with pytest.raises(VariedError, match="at least two classes"):
        VAEClassifier(**FAST).fit(FRAME, pd.Series([None, "a"] * (N // 2)))
    with pytest.raises(VariedError, match="at least two classes"):
        VAEClassifier(**FAST).fit(FRAME, [None] * N)


def test_sparse_rows_are_read():
    x = np.random.default_rng(0).poisson(0.3, (100, 5)).astype(float)
    sparse = scipy.sparse.csr_matrix(x)
    dense = VAETransformer(2, **FAST).fit(x)
    np.testing.assert_array_equal(dense.transform(x), dense.transform(sparse))
    np.testing.assert_array_equal(
        dense.transform(x), VAETransformer(2, **FAST).fit(sparse).transform(x)
    )


def test_resampled_sparse_rows_are_sparse():
    x = scipy.sparse.csr_matrix(np.random.default_rng(0).poisson(0.3, (100, 5)))
    rows, labels = VAESampler(**FAST).fit_resample(x, np.arange(100) < 20)
    assert (rows.format, rows.dtype, rows.shape) == ("csr", x.dtype, (160, 5))
    assert labels.dtype == bool
    np.testing.assert_array_equal(rows[:100].toarray(), x.toarray())


@pytest.mark.slow
def test_detector_finds_unknown_levels():
    detector = VAEDetector(**TRAINED).fit(FRAME)
    unknown = FRAME.assign(word="c", city=FRAME["city"].where(FRAME.index < 0, "bonn"))
    normal, anomalous = (detector.score_samples(x) for x in (FRAME, unknown))
    assert (anomalous < normal).mean() > 0.95


@pytest.mark.slow
def test_unknown_levels_lower_the_density():
    x = np.random.default_rng(0).integers(0, 2, (200, 2)).astype(float)
    vae = VAETransformer(1, **TRAINED).fit(x)
    scores = vae.score_samples([[0, 0], [0, 5]])
    assert scores[1] < scores[0] - 2
    assert np.isclose(
        np.exp(vae.score_samples([[0, 0], [0, 1], [1, 0], [1, 1]])).sum(), 1, atol=0.05
    )


def test_scaler_encodes_levels():
    supports = [
        Support(levels=(1, 2, 5)),
        Support(low=0, high=9),
        Support(levels=(0, 1, 2), is_ordered=False),
    ]
    x = np.array([[1, 3, 2], [np.nan, 4, 0], [5, np.nan, 1], [2, 9, 3]])
    table = ColumnScaler.fit(x, Part("table"), supports)
    assert table.layout == "c3 n c3"
    assert table.shape == (10,)
    rows = table.transform(x).x
    assert rows[:, :3].tolist() == [[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]]  # 3 is unknown
    decoded = table.inverse_transform(rows)
    assert decoded[0].tolist() == [1, 3, 2]
    assert decoded[3, :2].tolist() == [2, 9]
    real = ColumnScaler.fit(x, Part("gaussian"), supports)
    assert real.shape == (5,)
    assert real.inverse_transform(real.transform(x).x)[[0, 2]].tolist() == [
        [1, 3, 2],
        [5, 16 / 3, 1],
    ]


@pytest.mark.parametrize(
    ("support", "expected"),
    [(Support(levels=(1, 2, 5)), 2.0), (Support(levels=(0, 1, 2), is_ordered=False), 2.0)],
)
def test_levels_are_summarized_by_the_median_or_the_mode(support, expected):
    assert support.select(np.array([[0.3, 0.3, 0.4]])).tolist() == [expected]
