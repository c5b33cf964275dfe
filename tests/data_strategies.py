"""Hypothesis strategies for unusual tables and arrays."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import uuid
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import torch
from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array

# Cells

MISSING = st.sampled_from([None, float("nan"), pd.NaT, pd.NA])
TEXT = st.text(max_size=8) | st.sampled_from(["", " ", "nan", "None", "NA", "a,b\n", "x" * 3000])
HUGE = st.sampled_from([1e300, -1e300, 1.7e308, 5e-324, 1e-320, -0.0, 1e16, float("inf"), 2.5])
INTEGERS = st.integers(-(2**70), 2**70) | st.sampled_from([2**53, 2**53 + 1, 2**63, -(2**63), 0, 7])
FLOATS = st.floats() | HUGE
RECENT = st.dates(dt.date(1990, 1, 1), dt.date(2030, 1, 1))
DATES = RECENT | RECENT | RECENT | st.dates()
ZONES = st.sampled_from([None, dt.UTC, dt.timezone(dt.timedelta(hours=-5, minutes=-30))])
TIMES = st.datetimes(timezones=ZONES) | st.datetimes(dt.datetime(1990, 1, 1))
# pandas cannot even print a signaling NaN.
DECIMALS = st.decimals(places=3, min_value=-(10**9), max_value=10**9)
DECIMALS |= st.decimals().filter(lambda v: not v.is_snan())
NESTED = st.lists(st.integers(), max_size=2) | st.dictionaries(TEXT, st.integers(), max_size=1)
NESTED |= st.sampled_from([(1, 2), frozenset({1}), np.arange(3), b"bytes"])
UNCOMMON = st.complex_numbers() | st.fractions() | st.uuids() | st.timedeltas() | st.times()
UNCOMMON |= st.sampled_from([Fraction(1, 3), uuid.UUID(int=1), int, pd.Interval(0, 1), 1j])
UNCOMMON |= st.sampled_from([pd.Period("2024-01"), pd.Timestamp.max, np.float32(0.1), np.int8(3)])
COMMON = [st.floats(-1e6, 1e6), st.integers(-1000, 1000), st.sampled_from("abc"), st.booleans()]
KINDS = [TEXT, INTEGERS, FLOATS, DATES, TIMES, DECIMALS, NESTED, UNCOMMON, st.booleans(), *COMMON]

ROWS = st.sampled_from([0, 1, 2, 9, *[10, 11, 14, 25, 40] * 9])
COUNTS = st.sampled_from([0, *[1, 2, 3] * 5])
LISTED_NAMES = ["a", "b", "id", "", " ", "n" * 5000, "x,y", "two\nlines", 'q"q', "$x_$", "%"]
NAMES = st.text(max_size=6) | st.sampled_from([*LISTED_NAMES, "café", "名", "0"])


def repeated(cells, n: int):
    """Return lists of n cells with few distinct values."""
    sizes = st.sampled_from([1, 3, 3, 3])
    few = sizes.flatmap(lambda size: st.lists(cells, min_size=size, max_size=6))
    return few.map(lambda values: (values * n)[:n])


def unique(n: int):
    """Return lists of n distinct cells."""
    functions = [str, float, lambda i: f"a long text about {i}", lambda i: -i, lambda i: i * 1e300]
    return st.sampled_from([list(map(function, range(n))) for function in functions])


@st.composite
def column_names(draw, names, count: int):
    """Draw column names, which rarely contain duplicates."""
    has_duplicates = draw(st.sampled_from([*[False] * 12, True]))
    by = None if has_duplicates else repr
    return draw(st.lists(names, min_size=count, max_size=count, unique_by=by))


# pandas DataFrames


@st.composite
def object_columns(draw, n: int):
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=2))
    cells = st.one_of(*kinds, MISSING) if draw(st.booleans()) else st.one_of(*kinds)
    return pd.Series(draw(repeated(cells, n) | unique(n)), dtype=object)


@st.composite
def inferred_columns(draw, n: int):
    cells = draw(st.sampled_from(COMMON))
    return pd.Series(draw(repeated(cells | st.none() if draw(st.booleans()) else cells, n)))


@st.composite
def numpy_columns(draw, n: int):
    return pd.Series(draw(hnp.arrays(draw(hnp.scalar_dtypes()), n)))


@st.composite
def extension_columns(draw, n: int):
    small = draw(repeated(st.integers(0, 100) | st.none(), n))
    day = pd.Series(pd.to_datetime("2024-03-31") + pd.to_timedelta(pd.Series(small), "h"))
    words = pd.Series(["w" * (v or 0) if v is not None else None for v in small], dtype=object)
    numeric = ("Int8", "UInt64", "Float32", "Int64")
    builders = {
        **{t: lambda t=t: pd.Series(small, dtype=t) for t in numeric},
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
    return draw(st.sampled_from(sorted(builders)).map(builders.get))()


@st.composite
def arrow_backed_columns(draw, n: int):
    array = draw(arrow_columns(n))
    return pd.Series(array, dtype=pd.ArrowDtype(array.type))


@st.composite
def pandas_frames(draw):
    n = draw(ROWS)
    kinds = [*[inferred_columns] * 3, object_columns, numpy_columns]
    kinds += [extension_columns, arrow_backed_columns]
    count = draw(COUNTS)
    plain = pd.Series(np.arange(n) / 2)
    columns = [draw(representable(draw(st.sampled_from(kinds))(n), plain)) for _ in range(count)]
    names = NAMES | st.integers(-3, 2**40) | st.sampled_from([None, 1.5, ("a", 1), True, b"b"])
    labels = draw(column_names(names, count))
    frame = pd.DataFrame(dict(enumerate(columns)), index=range(n))
    frame.columns = pd.Index(labels, dtype=object)
    match draw(st.sampled_from(["range", "duplicates", "dates", "multi"])):
        case "duplicates":
            frame.index = [0] * n
        case "dates":
            frame.index = pd.date_range("2020", periods=n, name=labels[0] if labels else None)
        case "multi":
            frame.index = pd.MultiIndex.from_product([["a"], range(n)])
    return frame


LIBRARY_ERRORS = (ValueError, TypeError, ArithmeticError, NotImplementedError, pa.ArrowException)
LIBRARY_ERRORS += (pl.exceptions.PolarsError, pl.exceptions.PanicException)


@st.composite
def representable(draw, columns, otherwise=None):
    """Draw a value, or return `otherwise` if the library cannot represent it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return draw(columns)
        except LIBRARY_ERRORS:
            return reject() if otherwise is None else otherwise


# pyarrow tables and polars DataFrames

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
COMMON_ARROW = [
    (kind, cells) for kind, cells in ARROW if kind in (pa.int8(), pa.float64(), pa.date32())
]
COMMON_ARROW += [(pa.string(), st.sampled_from("abc")), (pa.bool_(), st.booleans())]


@st.composite
def arrow_columns(draw, n: int):
    kind, cells = draw(st.sampled_from(ARROW) | st.sampled_from(COMMON_ARROW))
    values = draw(repeated(cells | st.none() if draw(st.booleans()) else cells, n))
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        plain = pa.array(values, kind.value_type)
        if pa.types.is_dictionary(kind):
            return plain.dictionary_encode().cast(kind)
        return pa.compute.run_end_encode(plain)
    return pa.array(values, kind)


@st.composite
def arrow_tables(draw):
    n = draw(ROWS)
    arrays = [draw(representable(arrow_columns(n))) for _ in range(draw(COUNTS))]
    names = draw(column_names(NAMES, len(arrays)))
    table = pa.table(arrays, names=names)
    return pa.concat_tables([table, table]) if draw(st.booleans()) else table


@st.composite
def polars_frames(draw):
    n = draw(ROWS)
    short = draw(repeated(st.sampled_from("abc") | st.none(), n))
    builders = [
        lambda: pl.Series(short, dtype=pl.Categorical),
        lambda: pl.Series(short, dtype=pl.Enum(["c", "b", "a", "never"])),
        lambda: pl.Series(range(n), dtype=pl.Int128),
        lambda: pl.Series([object()] * n, dtype=pl.Object),
        lambda: pl.Series([[1, 2]] * n, dtype=pl.Array(pl.Int8, 2)),
        lambda: pl.Series([Decimal("1.50")] * n),
        lambda: pl.Series([float("nan"), 1.0, None, 2.0] * n)[:n],
    ]
    series = st.sampled_from(builders).map(lambda build: build())
    series |= arrow_columns(n).map(lambda array: pl.Series(pl.from_arrow(array)))
    plain = pl.Series(np.arange(n) / 2)
    columns = [draw(representable(series, plain)) for _ in range(draw(COUNTS))]
    names = draw(st.lists(NAMES, min_size=len(columns), max_size=len(columns), unique=True))
    frame = pl.DataFrame([c.alias(name) for c, name in zip(columns, names, strict=True)])
    return frame.lazy() if draw(st.booleans()) else frame


# Text files

TOKENS = ["", "NA", "?", "nan", "NULL", "-", "inf", "#N/A"]
TEXTS = [
    st.integers(-99, 99).map(str),
    INTEGERS.map(str),
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
    """Draw the contents of a file, which is usually valid, and its name."""
    n, count = draw(ROWS), draw(st.integers(1, 4))
    columns = []
    for _ in range(count):
        cells = draw(st.sampled_from(TEXTS))
        columns.append(draw(repeated(cells | st.sampled_from(TOKENS), n) | repeated(cells, n)))
    rows = [list(row) for row in zip(*columns, strict=True)]
    names = NAMES if draw(st.booleans()) else st.sampled_from("abcdefgh")
    rows = [draw(column_names(names, count)), *rows]
    if draw(st.sampled_from([*[False] * 15, True])):
        rows[draw(st.integers(0, n))].append("more")
    file = io.StringIO()
    csv.writer(
        file,
        delimiter=draw(st.sampled_from(",,,;\t|:")),
        lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"])),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
    ).writerows(rows)
    text = draw(st.sampled_from(["", "", "", "", "# a comment\n", "\n\n"])) + file.getvalue()
    encodings = ["utf-8", "utf-8-sig", "utf-16", "cp1252"] * 4 + ["latin-1", "utf-32", "shift-jis"]
    contents = text.encode(draw(st.sampled_from(encodings)), errors="replace")
    if draw(st.sampled_from([*[False] * 9, True])):  # a corrupted file
        position = draw(st.integers(0, len(contents)))
        insertion = draw(st.sampled_from([b"\0", b'"', b"\xff", b"\n", b"\x1a"]))
        end = position + draw(st.integers(0, 3))
        contents = contents[:position] + insertion + contents[end:]
    suffix = draw(st.sampled_from([".csv"] * 5 + [".tsv", ".txt", ".CSV", ".csv.gz"]))
    return (gzip.compress(contents) if suffix.endswith(".gz") else contents), f"table{suffix}"


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
    elements = TEXT | INTEGERS | MISSING if dtype.hasobject and not dtype.names else None
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
    return draw(representable(st.sampled_from(views).map(lambda view: view(x))))


@st.composite
def matrices(draw):
    """Draw a matrix of numbers, or an input that resembles one."""
    shape = draw(st.sampled_from([0, 1, 2, *[5, 20] * 4])), draw(st.sampled_from([0, 1, *[3] * 6]))
    moderate = st.floats(-1e4, 1e4) | st.sampled_from([0.0, 1.0])
    cells = draw(
        st.sampled_from(
            [moderate, moderate, moderate | st.just(np.nan), FLOATS, st.just(1.0), HUGE]
        )
    )
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
