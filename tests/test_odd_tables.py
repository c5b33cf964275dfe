"""Two thousand odd tables and arrays: each gives rows like it back, or is refused in a sentence."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import itertools
import re
import uuid
import warnings
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array

from varied import estimators
from varied.data.codecs.columns import Cells, column_of
from varied.data.tables import read_table
from varied.errors import VariedError
from varied.files import read_json, write_json
from varied.jobs import prepare, tables

TINY = {"steps": 1, "batch": 8, "width": 4, "latent": 1, "net": "mlp", "threads": 1}
TINY |= {"precision": "float32", "compile": "no"}
MADE = 5
# Cells

GAPS = st.sampled_from([None, float("nan"), pd.NaT, pd.NA])
TEXT = st.text(max_size=8) | st.sampled_from(["", " ", "nan", "None", "NA", "a,b\n", "x" * 3000])
HUGE = st.sampled_from([1e300, -1e300, 1.7e308, 5e-324, 1e-320, -0.0, 1e16, float("inf"), 2.5])
WHOLE = st.integers(-(2**70), 2**70) | st.sampled_from([2**53, 2**53 + 1, 2**63, -(2**63), 0, 7])
FLOATS = st.floats() | HUGE
RECENT = st.dates(dt.date(1990, 1, 1), dt.date(2030, 1, 1))
DATES = RECENT | RECENT | RECENT | st.dates()
ZONES = st.sampled_from([None, dt.UTC, dt.timezone(dt.timedelta(hours=-5, minutes=-30))])
TIMES = st.datetimes(timezones=ZONES) | st.datetimes(dt.datetime(1990, 1, 1))
DECIMALS = st.decimals(places=3, min_value=-(10**9), max_value=10**9) | st.decimals()
NESTED = st.lists(st.integers(), max_size=2) | st.dictionaries(TEXT, st.integers(), max_size=1)
NESTED |= st.sampled_from([(1, 2), frozenset({1}), np.arange(3), b"bytes"])
ODDITIES = st.complex_numbers() | st.fractions() | st.uuids() | st.timedeltas() | st.times()
ODDITIES |= st.sampled_from([Fraction(1, 3), uuid.UUID(int=1), int, pd.Interval(0, 1), 1j])
ODDITIES |= st.sampled_from([pd.Period("2024-01"), pd.Timestamp.max, np.float32(0.1), np.int8(3)])
SANE = [st.floats(-1e6, 1e6), st.integers(-1000, 1000), st.sampled_from("abc"), st.booleans()]
KINDS = [TEXT, WHOLE, FLOATS, DATES, TIMES, DECIMALS, NESTED, ODDITIES, st.booleans(), *SANE]

ROWS = st.sampled_from([0, 1, 2, 9, *[10, 11, 14, 25, 40] * 9])
NAMES = st.text(max_size=6) | st.sampled_from(
    [
        "a",
        "b",
        "id",
        "",
        " ",
        "n" * 5000,
        "x,y",
        "two\nlines",
        'q"q',
        "$x_$",
        "%",
        "café",
        "名",
        "0",
    ]
)


def spread(cells, n: int):
    """Return lists of n cells, a few of them over and over."""
    size = st.sampled_from([1, 3, 3, 3])
    return size.flatmap(lambda k: st.lists(cells, min_size=k, max_size=6)).map(
        lambda v: (v * n)[:n]
    )


def unlike(n: int):
    """Return lists of n cells that are all unlike."""
    makes = [str, float, lambda i: f"a long text about {i}", lambda i: -i, lambda i: i * 1e300]
    return st.sampled_from([list(map(make, range(n))) for make in makes])


@st.composite
def headings(draw, names, count: int):
    """Draw the names of columns, which are seldom alike."""
    alike = draw(st.sampled_from([*[False] * 12, True]))
    return draw(st.lists(names, min_size=count, max_size=count, unique_by=None if alike else repr))


# Frames of pandas


@st.composite
def objects(draw, n: int):
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=2))
    cells = st.one_of(*kinds, GAPS) if draw(st.booleans()) else st.one_of(*kinds)
    return pd.Series(draw(spread(cells, n) | unlike(n)), dtype=object)


@st.composite
def inferred(draw, n: int):
    cells = draw(st.sampled_from(SANE))
    return pd.Series(draw(spread(cells | st.none() if draw(st.booleans()) else cells, n)))


@st.composite
def numpy_columns(draw, n: int):
    return pd.Series(draw(hnp.arrays(draw(hnp.scalar_dtypes()), n)))


@st.composite
def extensions(draw, n: int):
    small = draw(spread(st.integers(0, 100) | st.none(), n))
    day = pd.Series(pd.to_datetime("2024-03-31") + pd.to_timedelta(pd.Series(small), "h"))
    words = pd.Series(["w" * (v or 0) if v is not None else None for v in small], dtype=object)
    makes = {
        **{
            t: lambda t=t: pd.Series(small, dtype=t) for t in ("Int8", "UInt64", "Float32", "Int64")
        },
        "boolean": lambda: pd.Series(
            [None if v is None else v > 50 for v in small], dtype="boolean"
        ),
        "string": lambda: words.astype("string"),
        "str": lambda: words.astype("str"),
        "pyarrow": lambda: words.astype("string[pyarrow]"),
        "zone": lambda: day.dt.tz_localize("UTC").dt.tz_convert("Europe/Vienna"),
        "seconds": lambda: day.astype("datetime64[s]"),
        "span": lambda: day - day.min(),
        "period": lambda: day.dt.to_period("D"),
        "interval": lambda: pd.Series(pd.arrays.IntervalArray.from_breaks(np.arange(n + 1))),
        "sparse": lambda: pd.Series(pd.arrays.SparseArray([float(v or 0) for v in small])),
        "category": lambda: words.astype("category"),
        "unused": lambda: pd.Series(pd.Categorical(small, range(-5, 200), ordered=True)),
        "days": lambda: day.astype("category"),
        "flags": lambda: pd.Series([None if v is None else v > 9 for v in small], dtype="category"),
        "cuts": lambda: pd.cut(pd.Series(small, dtype=float), 3),
        "never": lambda: pd.Series([pd.NaT] * n),
    }
    return draw(st.sampled_from(sorted(makes)).map(makes.get))()


@st.composite
def arrow_backed(draw, n: int):
    array = draw(arrow_columns(n))
    return pd.Series(array, dtype=pd.ArrowDtype(array.type))


@st.composite
def pandas_frames(draw):
    n = draw(ROWS)
    kinds = [inferred, inferred, inferred, objects, numpy_columns, extensions, arrow_backed]
    count = draw(st.sampled_from([0, *[1, 2, 3] * 5]))
    plain = pd.Series(np.arange(n) / 2)
    columns = [draw(possible(draw(st.sampled_from(kinds))(n), plain)) for _ in range(count)]
    names = NAMES | st.integers(-3, 2**40) | st.sampled_from([None, 1.5, ("a", 1), True, b"b"])
    named = draw(headings(names, count))
    frame = pd.DataFrame(dict(enumerate(columns)), index=range(n))
    frame.columns = pd.Index(named, dtype=object)
    odd = ["range", "twice", "dates", "two"]
    match draw(st.sampled_from(odd)):
        case "twice":
            frame.index = [0] * n
        case "dates":
            frame.index = pd.date_range("2020", periods=n, name=named[0] if named else None)
        case "two":
            frame.index = pd.MultiIndex.from_product([["a"], range(n)])
    return frame


UNABLE = (ValueError, TypeError, ArithmeticError, NotImplementedError, pa.ArrowException)
UNABLE += (pl.exceptions.PolarsError, pl.exceptions.PanicException)


@st.composite
def possible(draw, columns, otherwise=None):
    """Draw what the library itself can hold; what it cannot is no table of anyone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return draw(columns)
        except UNABLE:
            return reject() if otherwise is None else otherwise


# Frames of pyarrow and polars

ARROW = [
    (pa.int8(), st.integers(-128, 127)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.float16(), st.floats(width=16)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats(-1e6, 1e6)),
    (pa.float64(), FLOATS),
    (pa.decimal128(20, 3), st.decimals(-(10**9), 10**9, places=3)),
    (pa.decimal256(50, 0), st.decimals(-(10**40), 10**40, places=0)),
    (pa.string(), TEXT),
    (pa.string(), st.sampled_from("abc")),
    (pa.large_string(), TEXT),
    (pa.string_view(), TEXT),
    (pa.binary(), st.binary(max_size=3)),
    (pa.bool_(), st.booleans()),
    (pa.null(), st.none()),
    (pa.date32(), DATES),
    (pa.date64(), DATES),
    (pa.timestamp("s"), st.datetimes()),
    (pa.timestamp("ms", "Europe/Vienna"), st.datetimes(dt.datetime(1990, 1, 1))),
    (pa.timestamp("ns", "+05:30"), st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2100, 1, 1))),
    (pa.time32("s"), st.times()),
    (pa.time64("us"), st.times()),
    (pa.duration("ms"), st.timedeltas(dt.timedelta(-9999), dt.timedelta(9999))),
    (pa.month_day_nano_interval(), st.just((1, 2, 3))),
    (pa.list_(pa.int8()), st.lists(st.integers(0, 9), max_size=2)),
    (pa.struct([("x", pa.int8())]), st.just({"x": 1})),
    (pa.map_(pa.string(), pa.int8()), st.just([("k", 1)])),
    (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["a", "b", ""])),
    (pa.dictionary(pa.int32(), pa.int64()), st.integers(-5, 2**60)),
    (pa.run_end_encoded(pa.int32(), pa.int64()), st.integers(0, 3)),
]
USUAL = [(kind, cells) for kind, cells in ARROW if kind in (pa.int8(), pa.float64(), pa.date32())]
USUAL += [(pa.string(), st.sampled_from("abc")), (pa.bool_(), st.booleans())]


@st.composite
def arrow_columns(draw, n: int):
    kind, cells = draw(st.sampled_from(ARROW) | st.sampled_from(USUAL))
    values = draw(spread(cells | st.none() if draw(st.booleans()) else cells, n))
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        plain = pa.array(values, kind.value_type)
        return (
            plain.dictionary_encode().cast(kind)
            if pa.types.is_dictionary(kind)
            else (pa.compute.run_end_encode(plain))
        )
    return pa.array(values, kind)


@st.composite
def arrow_tables(draw):
    n = draw(ROWS)
    arrays = [
        draw(possible(arrow_columns(n))) for _ in range(draw(st.sampled_from([0, *[1, 2, 3] * 5])))
    ]
    names = draw(headings(NAMES, len(arrays)))
    table = pa.table(arrays, names=names)
    return pa.concat_tables([table, table]) if draw(st.booleans()) else table


@st.composite
def polars_frames(draw):
    n = draw(ROWS)
    short = draw(spread(st.sampled_from("abc") | st.none(), n))
    own = [
        lambda: pl.Series(short, dtype=pl.Categorical),
        lambda: pl.Series(short, dtype=pl.Enum(["c", "b", "a", "never"])),
        lambda: pl.Series(range(n), dtype=pl.Int128),
        lambda: pl.Series([object()] * n, dtype=pl.Object),
        lambda: pl.Series([[1, 2]] * n, dtype=pl.Array(pl.Int8, 2)),
        lambda: pl.Series([Decimal("1.50")] * n),
        lambda: pl.Series([float("nan"), 1.0, None, 2.0] * n)[:n],
    ]
    series = st.sampled_from(own).map(lambda make: make())
    series |= arrow_columns(n).map(lambda array: pl.Series(pl.from_arrow(array)))
    plain = pl.Series(np.arange(n) / 2)
    columns = [
        draw(possible(series, plain)) for _ in range(draw(st.sampled_from([0, *[1, 2, 3] * 5])))
    ]
    names = draw(st.lists(NAMES, min_size=len(columns), max_size=len(columns), unique=True))
    frame = pl.DataFrame([c.alias(name) for c, name in zip(columns, names, strict=True)])
    return frame.lazy() if draw(st.booleans()) else frame


# Files of text

TOKENS = ["", "NA", "?", "nan", "NULL", "-", "inf", "#N/A"]
WRITTEN = [
    st.integers(-99, 99).map(str),
    WHOLE.map(str),
    FLOATS.map(repr),
    st.floats(-1e6, 1e6).map("{:.2f}".format),
    st.floats(-1e6, 1e6).map("{:,.2f}".format),
    st.floats(-1e6, 1e6).map(lambda v: f"{v:.2f}".replace(".", ",")),
    st.floats(-1e6, 1e6).map("{:.3e}".format),
    st.integers(0, 999).map("{:05d}".format),
    DATES.map(str),
    RECENT.map(lambda d: d.strftime("%d.%m.%Y")),
    st.datetimes(dt.datetime(1990, 1, 1)).map(lambda d: d.strftime("%m/%d/%y %I:%M %p")),
    st.datetimes(dt.datetime(1990, 1, 1)).map(lambda d: f"{d.isoformat()}+02:00"),
    st.sampled_from(["yes", "no"]),
    st.sampled_from(["a", "b", "c d", "ä"]),
    st.text(max_size=8),
    st.sampled_from(["two\nlines", 'a "quoted" word', "x,y", "x;y", "=1+1", "1 000", "50%", "€ 5"]),
]


@st.composite
def texts(draw):
    """Return the bytes of a file, often a good one, and its name."""
    n, count = draw(ROWS), draw(st.integers(1, 4))
    columns = []
    for _ in range(count):
        cells = draw(st.sampled_from(WRITTEN))
        columns.append(draw(spread(cells | st.sampled_from(TOKENS), n) | spread(cells, n)))
    rows = [list(row) for row in zip(*columns, strict=True)]
    names = NAMES if draw(st.booleans()) else st.sampled_from("abcdefgh")
    rows = [draw(headings(names, count)), *rows]
    if draw(st.sampled_from([*[False] * 15, True])):
        rows[draw(st.integers(0, n))].append("more")
    file = io.StringIO()
    csv.writer(
        file,
        delimiter=draw(st.sampled_from(",,,;\t|:")),
        lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"])),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
    ).writerows(rows)
    text = draw(st.sampled_from(["", "", "", "", "# a remark\n", "\n\n"])) + file.getvalue()
    encodings = ["utf-8", "utf-8-sig", "utf-16", "cp1252"] * 4 + ["latin-1", "utf-32", "shift-jis"]
    contents = text.encode(draw(st.sampled_from(encodings)), errors="replace")
    if draw(st.sampled_from([*[False] * 9, True])):  # a file that was damaged
        place = draw(st.integers(0, len(contents)))
        hurt = draw(st.sampled_from([b"\0", b'"', b"\xff", b"\n", b"\x1a"]))
        contents = contents[:place] + hurt + contents[place + draw(st.integers(0, 3)) :]
    ending = draw(st.sampled_from([".csv"] * 5 + [".tsv", ".txt", ".CSV", ".csv.gz"]))
    return (gzip.compress(contents) if ending.endswith(".gz") else contents), f"odd{ending}"


# Arrays


@st.composite
def arrays(draw):
    first = draw(st.sampled_from([0, 1, 2, *[10, 12, 30] * 3]))
    rest = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5) | st.just(()))
    dtypes = hnp.scalar_dtypes() | st.sampled_from([np.dtype(object), np.dtype("U3")])
    dtypes |= st.sampled_from(
        [np.dtype(t) for t in ("f2", "f4", "f8", "u1", "i8", ">f4", "?", "g")]
    )
    dtypes |= st.just(np.dtype([("a", "f4"), ("b", "i8")]))
    dtype = draw(dtypes)
    elements = TEXT | WHOLE | GAPS if dtype.hasobject and not dtype.names else None
    if dtype.kind == "f" and draw(st.booleans()):
        elements = st.floats(-1e4, 1e4, width=16).map(float)
    x = draw(hnp.arrays(dtype, (first, *rest), elements=elements))
    views = [
        lambda x: x,
        lambda x: x[::-1],
        lambda x: np.repeat(x, 2, 0)[::2],
        np.asfortranarray,
        lambda x: x.T,
        lambda x: np.ma.masked_array(x, np.zeros(x.shape, bool)),
        lambda x: np.ma.masked_array(x, np.arange(x.size).reshape(x.shape) % 3 == 0),
        lambda x: x.reshape(-1)[:1].reshape(()) if x.size else x,
        lambda x: x.tolist(),
        lambda x: torch.from_numpy(np.array(x)),
        lambda x: torch.from_numpy(np.array(x)).to_sparse(),
        lambda x: torch.from_numpy(np.array(x, "f4")).to(torch.bfloat16).requires_grad_(),
        lambda x: (x, np.arange(len(x)) % 2),
        lambda x: (x, x),
    ]
    return draw(possible(st.sampled_from(views).map(lambda view: view(x))))


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

SMALL = {"net": {"name": "mlp", "width": 4, "depth": 1}, "latent": 1, "steps": 1, "batch": 8}
ALL = [getattr(estimators, name) for name in estimators.__all__]


@st.composite
def matrices(draw):
    """Return numbers, or nearly, in two dimensions, or nearly."""
    shape = draw(st.sampled_from([0, 1, 2, *[5, 20] * 4])), draw(st.sampled_from([0, 1, *[3] * 6]))
    tame = st.floats(-1e4, 1e4) | st.sampled_from([0.0, 1.0])
    cells = draw(st.sampled_from([tame, tame, tame | st.just(np.nan), FLOATS, st.just(1.0), HUGE]))
    x = draw(hnp.arrays(np.float64, shape, elements=cells, fill=cells))
    forms = [
        np.asarray,
        np.asarray,
        np.asfortranarray,
        pd.DataFrame,
        np.ndarray.tolist,
        np.ravel,
        lambda x: x.astype("f2") if np.abs(np.nan_to_num(x)).max(initial=0) < 6e4 else x,
        lambda x: x.astype(object),
        lambda x: x.astype(str),
        lambda x: x.astype(complex),
        lambda x: x[:, :, None],
        csr_array,
        lambda x: np.ma.masked_array(x, x == 1),
        lambda x: pd.DataFrame(x).astype("Float64"),
    ]
    return draw(st.sampled_from(forms))(x)


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
    monkeypatch.setattr(tables, "COLUMNS", 2)
    dice = np.random.default_rng(0)
    job = prepare(pd.DataFrame(dice.normal(size=(40, 3))), out=next(folders), **TINY)
    for _ in job.train():
        pass
    run = job.deliver()
    write_json(run.store / "evaluation.json", {})
    first, second, *_ = tables.table_figures(run, run.evaluate())
    assert "in the first 2 of 3 columns" in first.alt
    assert "in the first 2 of 3 columns" in second.alt
    assert len(read_json(run.store / "evaluation.json")["columns"]) == 3
