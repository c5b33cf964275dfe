"""Thousands of random tables and arrays, which are either modeled or rejected with a message."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import itertools
import re
import warnings
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from data_strategies import arrays, arrow_tables, matrices, pandas_frames, polars_frames, texts
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy.sparse import issparse

from varied import estimators
from varied.atomic_io import read_json, write_json
from varied.data.codecs.column_types import infer_column
from varied.data.codecs.columns import EncodedColumn
from varied.data.tables import read_table
from varied.errors import VariedError
from varied.training import prepare, table_figures

pytestmark = pytest.mark.figures

TINY = {"steps": 1, "batch_size": 8, "width": 4, "latent": 1, "net": "mlp", "threads": 1}
TINY |= {"precision": "float32", "compile": "no"}
N_SAMPLES = 5


# Checks of a source


def is_sentence(text: str) -> bool:
    """Return whether a message is one sentence of readable length."""
    unquoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
    return "\n" not in text and len(text) < 700 and not re.search(r"[.?!] +[A-Z]", unquoted)


def sample_from(source, folder: Path):
    """Train on a source and sample; return None if the source is rejected."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            job = prepare(source, out=folder, **TINY)
            losses = [float(event.parts["loss"]) for event in job.train()]
        except VariedError as error:
            assert is_sentence(str(error)), str(error)
            return None
        assert np.isfinite(losses).all()
        return job.write_model().sample(N_SAMPLES)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Return an iterator of new folders."""
    base = tmp_path_factory.mktemp("odd")
    return (base / str(i) for i in itertools.count())


def check_column(samples: pd.Series, original: pd.Series) -> None:
    """Compare the dtype and the values of a sampled pandas column with the original."""
    name, dtype = original.name, original.dtype
    can_be_missing = dtype.kind not in "iub" or isinstance(dtype, pd.api.extensions.ExtensionDtype)
    is_same_dtype = samples.dtype == dtype or (samples.isna().any() and not can_be_missing)
    assert is_same_dtype, (name, samples.dtype, dtype)
    if isinstance(dtype, pd.ArrowDtype) and str(dtype).startswith("string_view"):
        return  # neither dropna nor the type of its values is implemented
    values, expected = samples.dropna(), original.dropna()
    if isinstance(dtype, pd.CategoricalDtype):
        assert samples.cat.categories.equals(original.cat.categories)
        assert set(values) <= set(expected)
    elif pd.api.types.is_numeric_dtype(dtype) and len(values):
        values, expected = values.astype(float), expected.astype(float)
        assert np.isfinite(values).all()
        tolerance = 1e-6 * np.abs(expected).max()
        assert expected.min() - tolerance <= values.min()
        assert values.max() <= expected.max() + tolerance
    elif isinstance(dtype, pd.StringDtype):
        assert set(values) <= set(expected)
    if not original.isna().any() and len(values):
        assert not samples.isna().any()


def check_pandas(frame, folders):
    result = sample_from(frame, next(folders))
    if result is None:
        return
    samples = result.frame
    expected = [name if isinstance(name, int) else str(name) for name in frame.columns]
    assert samples.columns.tolist() == expected
    for i in range(frame.shape[1]):
        check_column(samples.iloc[:, i], frame.iloc[:, i])
    check_files(result, folders)


def check_other_library(frame, folders):
    result = sample_from(frame, next(folders))
    if result is None:
        return
    original = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    samples = result.frame
    assert type(samples) is type(original)
    if isinstance(original, pl.DataFrame):
        assert samples.schema == original.schema
    else:
        assert samples.schema.types == original.schema.types
        assert samples.schema.names == original.schema.names
    check_files(result, folders)


def check_files(result, folders):
    """Write samples to files and read them again."""
    for suffix in (".csv", ".parquet"):
        try:
            path = result.save(next(folders) / f"samples{suffix}")
        except VariedError as error:
            assert is_sentence(str(error)), str(error)
            continue
        frame, _, _ = read_table(path)
        assert frame.shape[1] == result.array.shape[1]
        has_numeric_names = not any(map(str.isalpha, result.array.columns))
        assert len(frame) == N_SAMPLES or has_numeric_names


def check_text(file, folders):
    content, name = file
    folder = next(folders)
    folder.mkdir()
    path = folder / name
    path.write_bytes(content)
    result = sample_from(str(path), folder / "run")
    if result is None:
        return
    frame, dialect, _ = read_table(path)
    assert list(result.array.columns) == list(frame.columns)
    for column in frame:
        assert str(result.array[column].dtype) == str(frame[column].dtype)
        if frame[column].dtype == object:
            assert set(result.array[column].dropna()) <= set(frame[column].dropna())
    content = result.save(folder / f"samples{name.removeprefix('table')}").read_bytes()
    content = gzip.decompress(content) if name.endswith(".gz") else content
    text = io.StringIO(content.decode(dialect.encoding), newline="")
    rows = list(csv.reader(text, strict=True, delimiter=dialect.delimiter))
    if dialect.header:
        assert rows.pop(0) == list(frame)
    assert len(rows) == N_SAMPLES


def check_array(x, folders):
    result = sample_from(x, next(folders))
    if result is None:
        return
    original = x[0] if isinstance(x, tuple) else x
    shape = original.shape if hasattr(original, "shape") else np.shape(original)
    assert result.array.shape[0] == N_SAMPLES
    assert np.isfinite(result.array).all()
    assert result.array[0].size in (np.prod(shape[1:], dtype=int), np.prod(shape[1:-1]) * 3)


CHECKS = [
    (check_pandas, pandas_frames()),
    (check_other_library, arrow_tables()),
    (check_other_library, polars_frames()),
    (check_text, texts()),
    (check_array, arrays()),
]
CASES = st.sampled_from(CHECKS).flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1]))
LOOSE = settings(suppress_health_check=[*HealthCheck], deadline=None)


@pytest.mark.slow
@settings(LOOSE, max_examples=50)
@given(CASES)
def test_random_data_give_samples_or_are_refused(folders, case):
    check, source = case
    check(source, folders)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(LOOSE, max_examples=2000, phases=[Phase.explicit, Phase.generate])
@given(CASES)
def test_two_thousand_random_data_give_samples_or_are_refused(folders, case):
    check, source = case
    check(source, folders)


# Individual cases that random data revealed

DICTIONARY = pa.dictionary(pa.int32(), pa.string())


def table(**columns) -> pd.DataFrame:
    """Return a table of sixty rows with an additional column that can be modeled."""
    cells = {name: (list(v) * 60)[:60] for name, v in columns.items()}
    dtypes = {name: getattr(v, "dtype", None) for name, v in columns.items()}
    frame = pd.DataFrame({name: pd.Series(v, dtype=dtypes[name]) for name, v in cells.items()})
    return frame.assign(learned=np.arange(60) % 7 / 2)


def typed(dtype, *cells) -> pd.DataFrame:
    """Return a table with a column of a dtype."""
    return table().assign(odd=pd.Series((cells * 60)[:60], dtype=dtype))


TABLES = {
    "numbers whose differences overflow": table(v=[1.7e308, -1.7e308, 2.5, *np.arange(40)]),
    "numbers that round to infinity": table(v=[1.7e308, 0.5, *np.arange(40)]),
    "numbers whose squares underflow": table(v=np.arange(60) * 1e-300),
    "subnormal numbers": table(v=[0.0, 5e-324, 1e-323, *np.arange(40)]),
    "big-endian integers": typed(">i8", *range(60)),
    "big-endian numbers": typed(">f8", *np.arange(60) / 4),
    "booleans and NaT": table(v=pd.Series([pd.NaT, False, True], dtype=object)),
    "numbers and NaT": table(v=pd.Series([pd.NaT, *np.arange(59) / 2], dtype=object)),
    "float16": typed("float16", 65504, 0.1, *range(30)),
    "Arrow float16": typed(pd.ArrowDtype(pa.float16()), *np.arange(60, dtype="f2")),
    "Arrow date32": typed(pd.ArrowDtype(pa.date32()), dt.date(2024, 2, 29), None),
    "Arrow date64": typed(pd.ArrowDtype(pa.date64()), dt.date(2024, 2, 29), None),
    "Arrow decimal256": typed(pd.ArrowDtype(pa.decimal256(50, 2)), Decimal("1.50"), None),
    "Arrow string": typed(pd.ArrowDtype(pa.string()), "a", "b", None),
    "Arrow dictionary": typed(pd.ArrowDtype(DICTIONARY), "a", "b", None),
    "intervals": table().assign(cut=pd.cut(pd.Series(np.arange(60) / 7), 4)),
    "long names and line breaks": table(**{"two\nlines": ["a", "b"], "n" * 5000: ["a", "b"]}),
    "column names that are not text": table()
    .set_axis([pd.Timestamp(0)], axis=1)
    .assign(a=["x", "y"] * 30),
}


@pytest.mark.parametrize("name", TABLES)
def test_pandas_tables_give_samples_of_the_same_types(folders, name):
    check_pandas(TABLES[name], folders)
    if name != "column names that are not text":
        samples = sample_from(TABLES[name], next(folders))
        assert samples.array.iloc[:, 0].notna().any()


NUMBERS = [
    [1.7e308, -1.7e308, 2.5, *range(40)],
    [1.7e308, 0.5, *range(40)],
    [0.0, 5e-324, 1e-323, *range(40)],
    [k * 1e-300 for k in range(40)],
    [k * 5e-324 for k in range(40)],
    [-1e300, 1e300],
]


@pytest.mark.parametrize("values", NUMBERS)
@pytest.mark.filterwarnings("error")
def test_scores_of_extreme_numbers_are_finite(values):
    cells = pd.Series(values, name="v", dtype=float)
    column = infer_column(cells, "number")
    scores = np.linspace(-4, 4, 999)
    decoded = column.decode(EncodedColumn(np.ones(999), scores)).to_numpy()
    assert np.isfinite(decoded).all()
    assert (np.diff(decoded / 2) >= 0).all()
    assert cells.min() <= decoded.min() <= decoded.max() <= cells.max()
    encoded = column.encode(cells).score
    assert np.isfinite(encoded).all()
    assert np.abs(encoded).max() < 5
    extremes = pd.Series([-1.7e308, 1.7e308], name="v")
    assert np.isfinite(column.encode(extremes).score).all()


@pytest.mark.parametrize("name", [None, "two\nlines", "n" * 5000])
@pytest.mark.parametrize(
    "cells",
    [[[1], [2]], [float("inf"), 1.0], [1, "a"], [pd.Timedelta(1)] * 2, ["a"] * 2],
    ids=["lists", "infinite", "mixed", "durations", "constant"],
)
def test_refusals_are_one_sentence_for_any_column_name(folders, name, cells):
    frame = pd.DataFrame({name: pd.Series(cells * 30, dtype=object)})
    assert sample_from(frame, next(folders)) is None
    assert sample_from(pd.concat([frame, frame], axis=1), next(folders)) is None


def test_column_names_that_become_text_are_noted(folders):
    job = prepare(TABLES["column names that are not text"], out=next(folders), **TINY)
    assert any("are converted to text" in sentence for sentence in job.sentences)


def test_a_missing_cell_is_not_a_level(folders):
    samples = sample_from(TABLES["Arrow dictionary"], next(folders)).array["odd"]
    assert samples.isna().any()
    assert set(samples.dropna()) <= {"a", "b"}


def test_polars_and_arrow_types_of_samples(folders):
    known = pl.Series("v", np.arange(30) / 4)
    half = known.cast(pl.Float16).alias("half")
    null = pl.Series("null", [None] * 30)
    enum = pl.Series("enum", [None] * 30, dtype=pl.Enum(["a", "b"]))
    check_other_library(pl.DataFrame([known, half, null, enum]), folders)
    check_other_library(pa.table({"v": np.arange(30) / 4, "null": pa.nulls(30)}), folders)


@pytest.mark.parametrize("name", ["a\tb", "a;b", "a|b", "a,b"])
def test_a_single_column_may_have_a_delimiter_in_its_name(name, folders):
    check_other_library(pa.table({name: np.arange(30) % 7}), folders)


def test_a_nul_character_is_not_written_as_csv(folders):
    samples = sample_from(table(word=["a\0", "b\0"]), next(folders))
    with pytest.raises(VariedError, match="NUL"):
        samples.save(next(folders) / "samples.csv")


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ma.masked_array(np.ones((30, 2)), np.arange(60).reshape(30, 2) == 3), "masked"),
        (np.ma.masked_array(np.ones(30, [("a", "?")]), True), "must be numeric"),
        (
            np.arange(60.0).reshape(30, 2) * 1e300,
            r"e.300 \(infinite in float32\) in row 0, column 1",
        ),
        (torch.empty(30, 2, device="meta"), "on the meta device"),
        (torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged), "nested"),
        (torch.ones(30, 2, dtype=torch.complex64), "complex"),
    ],
)
def test_refused_arrays(folders, x, message):
    with pytest.raises(VariedError, match=message) as error:
        prepare(x, out=next(folders), **TINY)
    assert is_sentence(str(error.value))


def test_a_sparse_tensor_is_read(folders):
    assert sample_from(torch.eye(30).to_sparse(), next(folders)) is not None


# Estimators

SMALL = {"net": {"name": "mlp", "width": 4, "depth": 1}, "latent": 1, "steps": 1, "batch_size": 8}
ALL = [getattr(estimators, name) for name in estimators.__all__ if name.startswith("VAE")]


def outputs_of(estimator, x):
    """Fit an estimator, and return all its outputs for the rows."""
    y = np.arange(x.shape[0] if hasattr(x, "shape") else len(x)) % 2
    if hasattr(estimator, "fit_resample"):
        return [estimator.fit_resample(x, y)[0]]
    estimator.fit(x, y)
    names = ("transform", "score_samples", "decision_function", "predict_proba")
    return [getattr(estimator, name)(x) for name in names if hasattr(estimator, name)]


@pytest.mark.parametrize("estimator", ALL)
@settings(LOOSE, max_examples=25)
@given(matrices())
def test_estimators_give_finite_outputs_or_refuse(estimator, x):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            outputs = outputs_of(estimator(**SMALL, random_state=0), x)
        except (ValueError, TypeError):
            return
    for output in outputs:
        dense = output.toarray() if issparse(output) else output
        values = pd.DataFrame(dense).select_dtypes("number").to_numpy(float)
        if hasattr(estimator, "fit_resample"):  # the original rows keep their missing cells
            values = values[~np.isnan(values)]
        assert np.isfinite(values).all()


# Many columns


def test_figures_compare_the_first_columns_of_many(folders, monkeypatch):
    monkeypatch.setattr(table_figures, "_MAX_COLUMNS", 2)
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)))
    job = prepare(frame, out=next(folders), **TINY)
    for _ in job.train():
        pass
    run = job.write_model()
    write_json(run.store / "evaluation.json", {})
    first, second, *_ = table_figures.table_figures(run)
    assert "the first 2 of 3" in first.alt
    assert "the first 2 of 3" in second.alt
    assert len(read_json(run.store / "evaluation.json")["columns"]) == 3
