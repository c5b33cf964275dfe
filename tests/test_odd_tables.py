"""Two thousand odd tables and arrays: each gives rows like it back, or is refused in a sentence."""

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
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from odd import arrays, arrow_tables, matrices, pandas_frames, polars_frames, texts

from varied import estimators
from varied.atomic_io import read_json, write_json
from varied.data.codecs.column_types import column_of
from varied.data.codecs.columns import Cells
from varied.data.tables import read_table
from varied.errors import VariedError
from varied.training import prepare, table_figures

TINY = {"steps": 1, "batch_size": 8, "width": 4, "latent": 1, "net": "mlp", "threads": 1}
TINY |= {"precision": "float32", "compile": "no"}
MADE = 5


# What each must do


def sentence(text: str) -> bool:
    """Whether a message is one sentence, of a length that a person reads."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
    return "\n" not in text and len(text) < 700 and not re.search(r"[.?!] +[A-Z]", bare)


def lived(source, folder: Path):
    """Train and sample; return what was made, or None where the source was refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            job = prepare(source, out=folder, **TINY)
            losses = [float(event.parts["loss"]) for event in job.train()]
        except VariedError as error:
            assert sentence(str(error)), str(error)
            return None
        assert np.isfinite(losses).all()
        return job.deliver().sample(MADE)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Return new folders, one after the other."""
    base = tmp_path_factory.mktemp("odd")
    return (base / str(i) for i in itertools.count())


def same_column(made: pd.Series, given: pd.Series) -> None:
    """Hold a made column of pandas against the person's."""
    name, kind = given.name, given.dtype
    holds_gaps = kind.kind not in "iub" or isinstance(kind, pd.api.extensions.ExtensionDtype)
    assert made.dtype == kind or (made.isna().any() and not holds_gaps), (name, made.dtype, kind)
    there, known = made.dropna(), given.dropna()
    if isinstance(kind, pd.ArrowDtype) and str(kind).startswith("string_view"):
        return  # pandas itself knows nothing of its kind
    if isinstance(kind, pd.CategoricalDtype):
        assert made.cat.categories.equals(given.cat.categories)
        assert set(there) <= set(known)
    elif pd.api.types.is_numeric_dtype(kind) and len(there):
        assert np.isfinite(there.astype(float)).all()
        wide = known.astype(float)
        slack = 1e-6 * np.abs(wide).max()
        assert wide.min() - slack <= there.astype(float).min()
        assert there.astype(float).max() <= wide.max() + slack
    elif isinstance(kind, pd.StringDtype):
        assert set(there) <= set(known)
    if not given.isna().any() and len(there):
        assert not made.isna().any()


def check_pandas(frame, folders):
    made = lived(frame, next(folders))
    if made is None:
        return
    back = made.frame
    for asked, name in zip(frame.columns, back.columns, strict=True):
        assert name == (asked if isinstance(asked, int) else str(asked))
    for place in range(frame.shape[1]):
        same_column(back.iloc[:, place], frame.iloc[:, place])
    again(made, folders)


def check_other(frame, folders):
    made = lived(frame, next(folders))
    if made is None:
        return
    full = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    back = made.frame
    assert type(back) is type(full)
    if isinstance(full, pl.DataFrame):
        assert back.schema == full.schema
    else:
        assert back.schema.types == full.schema.types
        assert back.schema.names == full.schema.names
    again(made, folders)


def again(made, folders):
    """Whatever was made can be written, and read again."""
    for ending in (".csv", ".parquet"):
        folder = next(folders)
        try:
            path = made.save(folder / f"made{ending}")
        except VariedError as error:
            assert sentence(str(error)), str(error)
            continue
        frame, _, _ = read_table(path)
        assert frame.shape[1] == made.array.shape[1]
        assert len(frame) == MADE or not any(map(str.isalpha, made.array.columns))


def check_text(file, folders):
    contents, name = file
    folder = next(folders)
    folder.mkdir()
    path = folder / name
    path.write_bytes(contents)
    made = lived(str(path), folder / "run")
    if made is None:
        return
    frame, form, _ = read_table(path)
    assert list(made.array.columns) == list(frame.columns)
    for column in frame:
        assert str(made.array[column].dtype) == str(frame[column].dtype)
        if frame[column].dtype == object:
            assert set(made.array[column].dropna()) <= set(frame[column].dropna())
    written = made.save(folder / f"made{name[3:]}").read_bytes()
    written = gzip.decompress(written) if name.endswith(".gz") else written
    text = io.StringIO(written.decode(form.encoding).removeprefix("\ufeff"), newline="")
    quoting = csv.QUOTE_NONE if form.quoting == "none" else csv.QUOTE_MINIMAL
    options = {"delimiter": form.delimiter, "skipinitialspace": form.space, "quoting": quoting}
    rows = list(csv.reader(text, strict=True, **options))
    if form.header:
        header = rows.pop(0)
        named = ["" if column in form.unnamed else column for column in frame]
        assert [h.strip() for h in header] == [n.strip() for n in named]
    assert len(rows) == MADE


def check_array(x, folders):
    made = lived(x, next(folders))
    if made is None:
        return
    given = x[0] if isinstance(x, tuple) else x
    shape = given.shape if hasattr(given, "shape") else np.shape(given)
    assert made.array.shape[0] == MADE
    assert np.isfinite(made.array).all()
    assert made.array[0].size in (np.prod(shape[1:], dtype=int), np.prod(shape[1:-1]) * 3)


CHECKS = [
    (check_pandas, pandas_frames()),
    (check_other, arrow_tables()),
    (check_other, polars_frames()),
    (check_text, texts()),
    (check_array, arrays()),
]
CASES = st.sampled_from(CHECKS).flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1]))
LOOSE = settings(suppress_health_check=[*HealthCheck], deadline=None)


@settings(LOOSE, max_examples=100)
@given(CASES)
def test_a_hundred_odd_things_give_rows_or_are_refused(folders, case):
    check, source = case
    check(source, folders)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(LOOSE, max_examples=2000, phases=[Phase.explicit, Phase.generate])
@given(CASES)
def test_two_thousand_odd_things_give_rows_or_are_refused(folders, case):
    check, source = case
    check(source, folders)


# What was found so, each by itself

DICTIONARY = pa.dictionary(pa.int32(), pa.string())


def rows(**columns) -> pd.DataFrame:
    """Return a table of sixty rows, which has a column that can be learned in any case."""
    cells = {name: (list(v) * 60)[:60] for name, v in columns.items()}
    kinds = {name: getattr(v, "dtype", None) for name, v in columns.items()}
    frame = pd.DataFrame({name: pd.Series(v, dtype=kinds[name]) for name, v in cells.items()})
    return frame.assign(learned=np.arange(60) % 7 / 2)


def typed(kind, *cells) -> pd.DataFrame:
    """Return a table with a column of a type."""
    return rows().assign(odd=pd.Series((cells * 60)[:60], dtype=kind))


FOUND = {
    "numbers whose differences overflow": rows(v=[1.7e308, -1.7e308, 2.5, *np.arange(40)]),
    "numbers that round to infinity": rows(v=[1.7e308, 0.5, *np.arange(40)]),
    "numbers whose squares vanish": rows(v=np.arange(60) * 1e-300),
    "numbers that differ by the least": rows(v=[0.0, 5e-324, 1e-323, *np.arange(40)]),
    "numbers the other way round": typed(">i8", *range(60)),
    "answers beside NaT": rows(v=pd.Series([pd.NaT, False, True], dtype=object)),
    "numbers beside NaT": rows(v=pd.Series([pd.NaT, *np.arange(59) / 2], dtype=object)),
    "halves": typed("float16", 65504, 0.1, *range(30)),
    "halves of arrow": typed(pd.ArrowDtype(pa.float16()), *np.arange(60, dtype="f2")),
    "days of arrow": typed(pd.ArrowDtype(pa.date32()), dt.date(2024, 2, 29), None),
    "days in milliseconds": typed(pd.ArrowDtype(pa.date64()), dt.date(2024, 2, 29), None),
    "wide decimals": typed(pd.ArrowDtype(pa.decimal256(50, 2)), Decimal("1.50"), None),
    "words of arrow": typed(pd.ArrowDtype(pa.string()), "a", "b", None),
    "a dictionary of arrow": typed(pd.ArrowDtype(DICTIONARY), "a", "b", None),
    "intervals": rows().assign(cut=pd.cut(pd.Series(np.arange(60) / 7), 4)),
    "names on two lines": rows(**{"two\nlines": ["a", "b"], "n" * 5000: ["a", "b"]}),
    "names that are no words": rows().set_axis([pd.Timestamp(0)], axis=1).assign(a=["x", "y"] * 30),
}


@pytest.mark.parametrize("name", FOUND)
def test_a_table_of_pandas_comes_back(folders, name):
    check_pandas(FOUND[name], folders)
    if name != "names that are no words":
        made = lived(FOUND[name], next(folders))
        assert made.array.iloc[:, 0].notna().any()


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
def test_any_score_of_any_number_is_a_number(values):
    cells = pd.Series(values, name="v", dtype=float)
    column = column_of(cells, "number")
    scores = np.linspace(-4, 4, 999)
    back = column.decode(Cells(np.ones(999), scores)).to_numpy()
    assert np.isfinite(back).all()
    assert (np.diff(back / 2) >= 0).all()
    assert cells.min() <= back.min() <= back.max() <= cells.max()
    seen = column.encode(cells).score
    assert np.isfinite(seen).all()
    assert np.abs(seen).max() < 5
    assert np.isfinite(column.encode(pd.Series([-1.7e308, 1.7e308], name="v")).score).all()


@pytest.mark.parametrize("name", [None, "two\nlines", "n" * 5000])
def test_a_refusal_is_a_sentence_whatever_a_column_is_called(folders, name):
    for cells in ([[1], [2]], [float("inf"), 1.0], [1, "a"], [pd.Timedelta(1)] * 2, ["a"] * 2):
        frame = pd.DataFrame({name: pd.Series(cells * 30, dtype=object)})
        assert lived(frame, next(folders)) is None
        assert lived(pd.concat([frame, frame], axis=1), next(folders)) is None


def test_names_that_are_no_words_are_told(folders):
    job = prepare(FOUND["names that are no words"], out=next(folders), **TINY)
    assert any("given back with words as names" in told for told in job.sentences)


def test_no_gap_becomes_a_level(folders):
    made = lived(FOUND["a dictionary of arrow"], next(folders))
    assert made.array["odd"].isna().any()
    assert set(made.array["odd"].dropna()) <= {"a", "b"}


def test_types_of_polars_and_arrow_come_back(folders):
    known = pl.Series("v", np.arange(30) / 4)
    halves = known.cast(pl.Float16).alias("half")
    none = pl.Series("none", [None] * 30)
    never = pl.Series("never", [None] * 30, dtype=pl.Enum(["a", "b"]))
    frame = pl.DataFrame([known, halves, none, never])
    check_other(frame, folders)
    check_other(pa.table({"v": np.arange(30) / 4, "none": pa.nulls(30)}), folders)


@pytest.mark.parametrize("name", ["a\tb", "a;b", "a|b", "a,b"])
def test_the_name_of_a_lone_column_does_not_part_it(name, folders):
    check_other(pa.table({name: np.arange(30) % 7}), folders)


def test_text_with_a_nul_is_not_written_as_text(folders):
    made = lived(rows(word=["a\0", "b\0"]), next(folders))
    with pytest.raises(VariedError, match="NUL"):
        made.save(next(folders) / "made.csv")


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.ma.masked_array(np.ones((30, 2)), np.arange(60).reshape(30, 2) == 3), "masked"),
        (np.ma.masked_array(np.ones(30, [("a", "?")]), True), "not numbers"),
        (np.arange(60.0).reshape(30, 2) * 1e300, "e.300 .infinity in 32 bits. in row 0, column 1"),
        (torch.empty(30, 2, device="meta"), "without values"),
        (torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged), "nested"),
        (torch.ones(30, 2, dtype=torch.complex64), "complex"),
    ],
)
def test_arrays_that_are_refused(folders, x, says):
    with pytest.raises(VariedError, match=says) as caught:
        prepare(x, out=next(folders), **TINY)
    assert sentence(str(caught.value))


def test_a_sparse_tensor_is_read(folders):
    assert lived(torch.eye(30).to_sparse(), next(folders)) is not None


# Estimators

SMALL = {"net": {"name": "mlp", "width": 4, "depth": 1}, "latent": 1, "steps": 1, "batch_size": 8}
ALL = [getattr(estimators, name) for name in estimators.__all__]


def said_by(estimator, x):
    """Fit an estimator, and return all that it says of the rows."""
    y = np.arange(x.shape[0] if hasattr(x, "shape") else len(x)) % 2
    if hasattr(estimator, "fit_resample"):
        return [estimator.fit_resample(x, y)[0]]
    estimator.fit(x, y)
    names = ("transform", "score_samples", "decision_function", "predict_proba")
    return [getattr(estimator, name)(x) for name in names if hasattr(estimator, name)]


@pytest.mark.parametrize("estimator", ALL)
@settings(LOOSE, max_examples=25)
@given(matrices())
def test_estimators_are_finite_or_refuse(estimator, x):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            found = said_by(estimator(**SMALL, random_state=0), x)
        except (ValueError, TypeError):
            return
    for one in found:
        told = np.asarray(one, dtype=float)
        gaps = hasattr(estimator, "fit_resample")  # the person's own rows keep theirs
        assert np.isfinite(told[~np.isnan(told)] if gaps else told).all()


# Many columns


def test_only_the_first_of_many_columns_are_compared(folders, monkeypatch):
    monkeypatch.setattr(table_figures, "COLUMNS", 2)
    dice = np.random.default_rng(0)
    job = prepare(pd.DataFrame(dice.normal(size=(40, 3))), out=next(folders), **TINY)
    for _ in job.train():
        pass
    run = job.deliver()
    write_json(run.store / "evaluation.json", {})
    first, second, *_ = table_figures.table_figures(run, run.evaluate())
    assert "in the first 2 of 3 columns" in first.alt
    assert "in the first 2 of 3 columns" in second.alt
    assert len(read_json(run.store / "evaluation.json")["columns"]) == 3
