"""Table files and DataFrames: reading with types, and writing the same values and types."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import time
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from varied.data.tables import SUFFIXES, TableDialect, from_frame, read_table, to_frame, write_table
from varied.data.tables.dates import parse_dates
from varied.errors import VariedError

DELIMITERS = [",", ";", "\t", "|"]
DTYPES = {"float64", "Int64", "datetime64[ns]", "boolean", "object"}


def write_file(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def through_json(dialect: TableDialect) -> TableDialect:
    return TableDialect.from_json(json.loads(json.dumps(dialect.to_json())))


def rewrite(path: Path) -> Path:
    """Read a table and write it with its dialect."""
    frame, dialect, _ = read_table(path)
    return write_table(frame, path.with_name(f"new_{path.name}"), through_json(dialect))


def error_of(folder: Path, content: str | bytes, name: str = "t.csv") -> str:
    with pytest.raises(VariedError) as error:
        read_table(write_file(folder, content, name))
    return str(error.value)


def dtypes(frame: pd.DataFrame) -> list[str]:
    return [str(dtype) for dtype in frame.dtypes]


def to_csv(rows: list[list[str]], delimiter: str, newline: str, quoting: int) -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=newline, quoting=quoting)
    writer.writerows(rows)
    return file.getvalue()


# A table that is read, written and read again


def fixed(digits: int):
    return st.floats(-1e6, 1e6).map(lambda v: f"{v:.{digits}f}")


def moments(date_format: str):
    low, high = datetime(1980, 1, 1), datetime(2060, 1, 1)
    return st.datetimes(low, high).map(lambda d: d.strftime(date_format))


WORDS = st.text(st.sampled_from("ab ,;|\t\"'\né-/.0"), max_size=6).map("w".__add__)
FORMATS = ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%Y-%m-%dT%H:%M:%S", "%d/%m/%y", "%b %d, %Y"]
FORMATS += ["%Y-%m-%d %H:%M:%S.%f", "%d/%m/%Y %I:%M %p", "%Y-%m-%d %H:%M:%S+02:00"]
CELLS = [
    WORDS,
    st.integers(-(10**6), 10**6).map(str),
    st.integers(0, 999).map("{:05d}".format),
    st.integers(2**54, 2**70).map(str),
    *(fixed(k) for k in (0, 1, 2, 5)),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(-1e9, 1e9).map("{:.4e}".format),
    *(moments(f) for f in FORMATS),
]
TOKENS = ["", "NA", "?", "N/A", "nan", "NULL", "None", "-"]


@st.composite
def tables(draw):
    n = draw(st.integers(1, 8))
    columns = []
    for _ in range(draw(st.integers(2, 5))):
        cells = draw(st.lists(draw(st.sampled_from(CELLS)), min_size=n, max_size=n))
        token = draw(st.sampled_from(TOKENS))
        is_missing = draw(st.lists(st.booleans(), min_size=n, max_size=n))
        columns.append([token if m else c for c, m in zip(cells, is_missing, strict=True)])
    header = [f"c {i}" for i in range(len(columns))]
    return [header, *map(list, zip(*columns, strict=True))]


@pytest.mark.slow
@settings(max_examples=50, deadline=None, suppress_health_check=[*HealthCheck])
@given(
    tables(),
    st.sampled_from(DELIMITERS),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_a_written_table_reads_the_same(tmp_path, rows, delimiter, newline, quoting) -> None:
    path = write_file(tmp_path, to_csv(rows, delimiter, newline, quoting))
    frame, dialect, _ = read_table(path)
    assert dialect.delimiter == delimiter
    assert list(frame.columns) == rows[0]
    assert set(dtypes(frame)) <= DTYPES
    again, dialect_again, _ = read_table(rewrite(path))
    pd.testing.assert_frame_equal(again, frame, check_exact=True)
    assert (dialect_again.delimiter, dialect_again.dates) == (delimiter, dialect.dates)


@settings(max_examples=80, deadline=None, suppress_health_check=[*HealthCheck])
@given(st.data(), st.sampled_from(["0123456789.", "01.,e+- ", "NaN?-/12:", "0-1T:2Z/", 'a" ,;\n']))
def test_any_cells_read_the_same_again_or_are_refused(tmp_path, data, alphabet) -> None:
    cell = st.text(st.sampled_from(alphabet), max_size=5)
    rows = data.draw(st.lists(st.lists(cell, min_size=3, max_size=3), min_size=1, max_size=5))
    names = ["first", "second", "third"]
    path = write_file(tmp_path, to_csv([names, *rows], ",", "\n", csv.QUOTE_MINIMAL))
    try:
        frame, _, _ = read_table(path)
    except VariedError as error:
        assert "a finite number" in str(error)
        return
    pd.testing.assert_frame_equal(read_table(rewrite(path))[0], frame, check_exact=True)


UNCHANGED = {
    "decimals": "a,b\n1.50,x\n2.25,y\n",
    "decimal comma": "a;b;c\n1,50;x;1\n2,25;y;2\n",
    "tabs": "a\tb\n1\tx, y\n2\tz\n",
    "quotes and newlines": 'a,b\n1,"x ""y""\nz"\n2,"w, v"\n',
    "no header": "1,2.5\n3,4.5\n",
    "one column": 'a\n1\n""\n3\n',
    "one column of text": "a\nx;y\nz;w\n",
    "missing tokens by column": "a,b,c\n?,1,\n2,NA,x\n3,3,y\n",
    "booleans as text": "a,b\nyes,TRUE\nno,FALSE\n",
    "two missing tokens in text": "a,b\n,1\nNA,2\nx,3\n",
    "dates": "a,b\n05/01/2024 03:04 PM,x\n31/12/2024 11:00 AM,y\n",
    "a constant UTC offset": "a,b\n2024-01-05T03:04:05+02:00,x\n2024-01-06T03:04:05+02:00,y\n",
    "thousands": 'a,b\n"1,234",x\n5,y\n',
    "a carriage return": '"a","b"\n"x\ry","1"\n"z","2"\n',
}


@pytest.mark.parametrize("content", UNCHANGED.values(), ids=UNCHANGED)
def test_a_file_in_the_usual_format_is_unchanged(tmp_path, content) -> None:
    assert rewrite(write_file(tmp_path, content)).read_bytes().decode() == content


NORMALIZED = {
    "different decimals": ("a,b\n1.0,x\n2.25,y\n", "a,b\n1.00,x\n2.25,y\n"),
    "signs and bare points": ("a,b\n+.5,x\n-2.5,y\n", "a,b\n0.5,x\n-2.5,y\n"),
    "exponents": ("a,b\n1.5E+05,x\n2e-07,y\n", "a,b\n150000.0,x\n2e-07,y\n"),
    "quotes": ('"a","b"\n"1","x"\n"","y"\n', "a,b\n1,x\n,y\n"),
    "CRLF": ("a,b\r\n1,x\r\n2,y", "a,b\n1,x\n2,y\n"),
    "spaces after commas": ("a, b, c\n1, x, ?\n2, y, 3\n", "a,b,c\n1,x,?\n2,y,3\n"),
    "unbalanced quotes": ('a\tb\n1\t"5" pipe\n2\tp\n', 'a\tb\n1\t"""5"" pipe"\n2\tp\n'),
    "dates without zeros": ("a,b\n1/25/2024,x\n12/3/2024,y\n", "a,b\n01/25/2024,x\n12/03/2024,y\n"),
    "milliseconds": ("a\n2024-01-05 07:08:09.250\n", "a\n2024-01-05 07:08:09.250000\n"),
    "a column without a name": (",a\n0,x\n1,y\n", "column 1,a\n0,x\n1,y\n"),
}


@pytest.mark.parametrize(("content", "expected"), NORMALIZED.values(), ids=NORMALIZED)
def test_the_format_is_normalized(tmp_path, content, expected) -> None:
    path = write_file(tmp_path, content)
    new = rewrite(path)
    assert new.read_text() == expected
    pd.testing.assert_frame_equal(read_table(new)[0], read_table(path)[0], check_exact=True)


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-be", "utf-16"),
        ("cp1252", "cp1252"),
    ],
)
def test_the_encoding_is_kept(tmp_path, encoding, written) -> None:
    text = "naïve,b\n1,café\n2,x\n"
    bom = b"\xfe\xff" * (encoding == "utf-16-be")
    path = write_file(tmp_path, bom + text.encode(encoding))
    frame, dialect, notes = read_table(path)
    assert list(frame.columns) == ["naïve", "b"]
    assert frame["b"][0] == "café"
    assert dialect.encoding == written
    assert ("not valid UTF-8" in " ".join(notes)) == (encoding == "cp1252")
    assert rewrite(path).read_bytes() == text.encode(written)


@pytest.mark.parametrize("name", ["t.csv.gz", "t.tsv", "t.txt", "t.TSV.GZ"])
def test_suffixes(tmp_path, name) -> None:
    content = b"a\tb\n1\tx,y\n2\tz\n"
    is_compressed = name.lower().endswith("gz")
    path = write_file(tmp_path, gzip.compress(content) if is_compressed else content, name)
    new = rewrite(path).read_bytes()
    assert (gzip.decompress(new) if is_compressed else new) == content


def test_leading_empty_lines_are_skipped(tmp_path) -> None:
    frame, dialect, _ = read_table(write_file(tmp_path, "\n" * 300 + "a;b\n1;2\n"))
    assert (list(frame.columns), dialect.delimiter) == (["a", "b"], ";")


# Types


def test_types_and_missing_cells(tmp_path) -> None:
    text = (
        "id,w,h,when,s,t\n007,1,1.5,2024-01-31,a,None\n010,,?,NaT,NA,x\n100,3,2.0,2024-02-01,b,y\n"
    )
    frame, dialect, notes = read_table(write_file(tmp_path, text))
    assert dtypes(frame) == ["object", "Int64", "float64", "datetime64[ns]", "object", "object"]
    assert frame["id"].tolist() == ["007", "010", "100"]
    assert frame["w"].isna().tolist() == [False, True, False]
    assert np.isnan(frame["h"][1])
    assert frame["when"].isna()[1]
    assert frame["s"][1] is None
    assert frame["t"][0] == "None"
    assert dialect.missing == {"h": "?", "when": "NaT", "s": "NA"}
    assert dialect.dates == {"when": "%Y-%m-%d"}
    assert dialect.decimals == {"h": 1}
    assert "Column 'id' is read as text, because it has numbers with leading zeros." in notes
    assert "'?' is read as a missing value in 'h'." in notes


def test_values_with_a_decimal_comma(tmp_path) -> None:
    text = "a;b;c\n-1,25;31.12.2023;9007199254740992\n1e3;01.02.2024;-5\n"
    frame, dialect, notes = read_table(write_file(tmp_path, text))
    assert frame["a"].tolist() == [-1.25, 1000.0]
    assert dialect.decimal == ","
    assert frame["b"].tolist() == [pd.Timestamp(2023, 12, 31), pd.Timestamp(2024, 2, 1)]
    assert frame["c"].tolist() == [2**53, -5]
    assert "The decimal separator is a comma." in notes


def test_text_has_one_missing_token(tmp_path) -> None:
    path = write_file(tmp_path, "a,b,c\n,NA,NA\nNA,NA,\nNA,?,5\nx,y,7\n")
    frame, dialect, notes = read_table(path)
    assert frame["a"].tolist() == [None, "NA", "NA", "x"]
    assert frame["b"].tolist() == [None, None, "?", "y"]
    assert frame["c"].isna().tolist() == [True, True, False, False]
    assert dialect.missing == {"b": "NA"}
    assert (
        "Column 'a' keeps 'NA' as text, since only an empty cell is read as a missing value."
        in notes
    )


def test_integers_that_a_float_cannot_represent_are_text(tmp_path) -> None:
    digits = "9" * 5000
    path = write_file(tmp_path, f"a,b\n9007199254740993,{digits}\n5,2\n")
    frame, _, notes = read_table(path)
    assert frame["a"].tolist() == ["9007199254740993", "5"]
    assert frame["b"].tolist() == [digits, "2"]
    note = (
        "Column 'a' is read as text, because it has integers beyond 2^53; the same applies to 'b'."
    )
    assert note in notes


@pytest.mark.parametrize(
    ("cells", "decimal", "dtype"),
    [
        (["1,5", "2,25"], ",", "float64"),
        (["1,234", "5,678"], ".", "Int64"),  # the commas separate thousands
        (["0,123", "5,678"], ",", "float64"),
        (["1.5", "2.5"], ".", "float64"),
        (["x,y", "1,5"], ".", "object"),
    ],
)
def test_decimal_separators(tmp_path, cells, decimal, dtype) -> None:
    path = write_file(tmp_path, "a;b\n" + "".join(f"{cell};1\n" for cell in cells))
    frame, dialect, _ = read_table(path)
    assert dialect.decimal == decimal
    assert dtypes(frame)[0] == dtype


@pytest.mark.parametrize(
    ("texts", "date_format", "first"),
    [
        (["13/01/2024", "01/02/2024"], "%d/%m/%Y", "2024-01-13"),
        (["01/13/2024", "02/01/2024"], "%m/%d/%Y", "2024-01-13"),
        (["3.1.2024", "31.12.2024"], "%d.%m.%Y", "2024-01-03"),
        (["2024/01/05"], "%Y/%m/%d", "2024-01-05"),
        (["2024-03"], "%Y-%m", "2024-03-01"),
        (["05-Jan-24"], "%d-%b-%y", "2024-01-05"),
        (["January 5, 2024"], "%B %d, %Y", "2024-01-05"),
        (["2024-01-05T06:07Z"], "%Y-%m-%dT%H:%MZ", "2024-01-05T06:07"),
        (["1/31/2024 12:05:06 AM"], "%m/%d/%Y %I:%M:%S %p", "2024-01-31T00:05:06"),
        (["1/31/2024 12:05 PM"], "%m/%d/%Y %I:%M %p", "2024-01-31T12:05"),
    ],
)
def test_date_formats(texts, date_format, first) -> None:
    dates = parse_dates(texts)
    assert (dates.format, dates.is_ambiguous) == (date_format, False)
    assert dates.values[0] == np.datetime64(first)


@pytest.mark.parametrize(
    "texts",
    [
        ["29/02/2024", "12.5"],
        ["29/02/2023"],
        ["9999-12-31"],
        ["12:30"],
        ["1.2.3"],
        ["20240105"],
        ["2024-01-05", "now"],
    ],
)
def test_texts_that_are_not_dates(texts) -> None:
    assert parse_dates(texts) is None


def test_dates_agree_with_strptime() -> None:
    start, step = datetime(1979, 12, 28, 23, 59, 1), timedelta(days=97, seconds=3671)
    days = [start + step * i for i in range(200)]
    for date_format in FORMATS[:-1]:
        texts = [day.strftime(date_format) for day in days]
        expected = [np.datetime64(datetime.strptime(text, date_format)) for text in texts]
        dates = parse_dates(texts)
        assert dates.format == date_format
        assert (dates.values == expected).all()


def test_dates_keep_nanoseconds(tmp_path) -> None:
    content = "a,b\n2024-01-05 07:08:09.123456789,x\n2024-01-06 07:08:09.000000001,y\n"
    path = write_file(tmp_path, content)
    assert read_table(path)[0]["a"][0] == pd.Timestamp("2024-01-05 07:08:09.123456789")
    assert rewrite(path).read_text() == content


def test_an_ambiguous_order_of_day_and_month_is_noted(tmp_path) -> None:
    frame, _, notes = read_table(write_file(tmp_path, "a,b\n01/02/2024,1\n03/04/2024,2\n"))
    assert frame["a"][0] == pd.Timestamp(2024, 2, 1)
    assert "Column 'a' has an ambiguous order of day and month and is read as %d/%m/%Y." in notes


@pytest.mark.parametrize(
    ("cells", "value", "expected"),
    [
        (["1.50", "2.25"], 0.126, "0.13"),
        (["1.5", "2"], 0.126, "0.1"),
        (["1.5", "2"], 4.0, "4.0"),
        (["1.5", "2.0"], -0.01, "0.0"),
        (["1.25", "2.0"], 1e300, "1e+300"),
        (["1e-07", "2.0"], 0.126, "0.126"),
        (["0.12345678901234567", "2.0"], 0.5, "0.500000000000000"),
    ],
)
def test_numbers_are_written_with_the_decimals_of_the_column(
    tmp_path, cells, value, expected
) -> None:
    path = write_file(tmp_path, "a,b\n" + "".join(f"{cell},1\n" for cell in cells))
    frame, dialect, _ = read_table(path)
    new = write_table(frame.assign(a=[value, 1.0]), tmp_path / "new.csv", dialect)
    assert new.read_text().splitlines()[1] == f"{expected},1"


def test_other_values_are_written_in_the_dialect(tmp_path) -> None:
    path = write_file(tmp_path, "a,b,c\n1.50,2024-01-05,x\n?,2024-01-06,NA\n")
    frame, dialect, _ = read_table(path)
    dates = pd.to_datetime([None, "2025-12-01"])
    new = frame.assign(a=[np.nan, 0.333], b=dates, c=["x,y", None])
    text = write_table(new, tmp_path / "new.csv", dialect).read_text()
    assert text == 'a,b,c\n?,,"x,y"\n0.33,2025-12-01,NA\n'


# Notes


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ('a,b\n"1,234",x\n5,y\n', "is read as numbers in the format '1,234'"),
        ("a,b\n" + "1,x\n" * 20 + "abc,y\n", "because row 22 contains 'abc'"),
        ("1,2\n3,4\n", "the columns are named c1, c2"),
        ("a;b\n1;2\n", "The delimiter is a semicolon."),
        ("a,,b\n1,2,3\n", "Unnamed columns are named 'column 2'."),
        ("a,b\n1,2\n\n3,4\n", "Skipped 1 empty line."),
        ("a\nx\ny\n", "single column"),
    ],
)
def test_notes(tmp_path, text, note) -> None:
    _, _, notes = read_table(write_file(tmp_path, text))
    assert any(note in sentence for sentence in notes)
    assert all(sentence.endswith(".") for sentence in notes)


def test_a_plain_table_has_no_notes(tmp_path) -> None:
    assert read_table(write_file(tmp_path, "a,b\n1,x\n2,y\n"))[2] == ()


# Errors


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        ("a,b\n", "a header but no rows"),
        (b"PK\x03\x04rest", "a workbook"),
        (b"PAR1....", "change its extension to .parquet"),
        (b"\x00\x01\x02a,b", "is not valid UTF-8, UTF-16 or cp1252 text"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "add the extension .gz"),
        ("a,b,a\n1,2,3\n", r"duplicate column names \('a'\)"),
        ("a,b\n1,2\n3\n", "the header has 2 cells, but row 3 has 1;"),
        ('a,b\n1,"2\n3,4,5\n', "in row 2, a quote is not closed"),
        ("a,b\n1.5,x\ninf,y\n", "Row 3 of column 'a' contains inf"),
        ("a,b\n1.5,x\n1e400,y\n", "Row 3 of column 'a' contains 1e400"),
    ],
)
def test_refused_files(tmp_path, content, message) -> None:
    with pytest.raises(VariedError, match=message):
        read_table(write_file(tmp_path, content))


def test_ragged_rows_are_listed_in_one_sentence(tmp_path) -> None:
    rows = ["a,b"] + ["1,2"] * 3 + ["1,2,3"] * 7
    message = error_of(tmp_path, "\n".join(rows))
    assert "row 5 has 3, row 6 has 3, row 7 has 3, row 8 has 3, row 9 has 3, and 2 more" in message
    assert "row 10" not in message


def test_messages_number_rows_as_a_spreadsheet(tmp_path) -> None:
    assert "row 4 has 1" in error_of(tmp_path, 'a,b\n1,"x\ny"\n\n3\n')
    assert "Row 4 of" in error_of(tmp_path, 'a,b\n1,"x\ny"\n\ninf,3\n')


def test_paths_without_a_table_are_refused(tmp_path) -> None:
    with pytest.raises(VariedError, match="does not have a supported file extension"):
        read_table(tmp_path / "a.docx")
    with pytest.raises(VariedError, match="no file"):
        read_table(tmp_path / "a.csv")
    with pytest.raises(VariedError, match="does not have a supported file extension"):
        write_table(pd.DataFrame({"a": [1.0]}), tmp_path / "a.docx", TableDialect())
    assert "corrupted" in error_of(tmp_path, b"no gzip", "t.csv.gz")
    assert "corrupted" in error_of(tmp_path, gzip.compress(b"a,b\n1,2\n" * 99)[:-12], "t.csv.gz")


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_a_table_larger_than_memory_is_refused(tmp_path, monkeypatch, name) -> None:
    monkeypatch.setattr("varied.data.memory.free_memory", lambda: 1000)
    content = b"a,b\n" + b"1,2\n" * 100
    content = gzip.compress(content) if name.endswith("gz") else content
    assert "GiB" in error_of(tmp_path, content, name)


def test_a_character_that_the_encoding_lacks_is_refused(tmp_path) -> None:
    with pytest.raises(VariedError, match=r"cp1252 cannot encode 'λ'"):
        write_table(pd.DataFrame({"λ": [1.0]}), tmp_path / "a.csv", TableDialect(encoding="cp1252"))


# The dialect


def test_a_dialect_is_restored_from_json() -> None:
    dialect = TableDialect(ordered=("a",), levels={"a": ["x"]}, decimals={"b": 2}, names={"3": 3})
    assert through_json(dialect) == dialect
    assert TableDialect.from_json({}) == TableDialect()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"delimeter": ";"}, "did you mean 'delimiter'"),
        ({"delimiter": 3}, "delimiter: 3 is not text"),
        ({"delimiter": "x"}, "cannot have delimiter = 'x'"),
        ({"encoding": "rot13"}, "cannot have encoding = 'rot13'"),
        ({"decimals": [2]}, r"decimals: \[2\] is not a mapping"),
    ],
)
def test_invalid_dialects(values, message) -> None:
    with pytest.raises(VariedError, match=message):
        TableDialect.from_json(values)


def test_the_suffixes_include_compressed_files() -> None:
    assert {".csv", ".tsv", ".txt", ".parquet", ".feather", ".csv.gz", ".tsv.gz"} <= set(SUFFIXES)


# pandas


def pandas_frame() -> pd.DataFrame:
    sizes = pd.CategoricalDtype(["small", "large", "huge"], ordered=True)
    return pd.DataFrame(
        {
            "small": np.array([1, 2, 3], np.int8),
            "nullable": pd.array([1, None, 3], "Int32"),
            "real": [1.25, np.nan, 3.0],
            "single": np.array([0.1, 0.2, 0.3], np.float32),
            "flag": [True, False, True],
            "maybe": pd.array([True, None, False], "boolean"),
            "words": ["x", None, "y"],
            "objects": pd.Series(["x", None, "y"], dtype=object),
            "size": pd.Series(["large", None, "small"], dtype=sizes),
            "grade": pd.Series([3, 1, 3], dtype="category"),
            "when": pd.to_datetime(["2024-01-05 01:02:03", None, "2024-01-06 00:00:00"]),
            "zone": pd.to_datetime(["2024-07-05", None, "2024-01-06"]).tz_localize("Europe/Paris"),
            "day": pd.Series([date(2024, 1, 5), None, date(2024, 1, 6)], dtype=object),
            "exact": pd.Series([Decimal("1.50"), None, Decimal("2.25")], dtype=object),
            "long": np.array([2**60, 1, 2], np.uint64),
            7: [1, 2, 3],
        }
    )


def test_pandas_frames_keep_their_types() -> None:
    original = pandas_frame()
    frame, dialect, notes = from_frame(original)
    assert set(dtypes(frame)) == DTYPES
    assert list(frame.columns) == [str(name) for name in original.columns]
    assert dialect.levels["size"] == ["small", "large", "huge"]
    assert dialect.ordered == ("size",)
    assert (dialect.decimals["real"], dialect.decimals["exact"]) == (2, 2)
    assert frame["single"].tolist() == [0.1, 0.2, 0.3]
    assert frame["zone"][0] == pd.Timestamp("2024-07-04 22:00")
    assert frame["words"].tolist() == ["x", None, "y"]
    assert "Column 'zone' has a time zone and is converted to UTC." in notes
    assert any("2^53" in note for note in notes)
    pd.testing.assert_frame_equal(to_frame(frame, through_json(dialect)), original)


def test_values_that_do_not_fit_the_type_keep_their_own() -> None:
    original = pd.DataFrame({"a": np.array([1, 2], np.int8), "b": [True, False]})
    frame, dialect, _ = from_frame(original)
    frame["a"] = pd.array([1, None], "Int64")
    frame["b"] = pd.array([None, True], "boolean")
    assert dtypes(to_frame(frame, dialect)) == ["Int64", "boolean"]
    frame["a"] = pd.array([1, 300], "Int64")
    assert to_frame(frame, dialect)["a"].tolist() == [1, 300]


@pytest.mark.parametrize("nan", ["NaN", "sNaN"])
def test_decimal_nan_is_missing(nan) -> None:
    frame, dialect, _ = from_frame(pd.DataFrame({"a": [Decimal(nan), Decimal("1.50")]}))
    np.testing.assert_array_equal(frame["a"], [np.nan, 1.5])
    assert to_frame(frame, dialect)["a"].tolist() == [None, Decimal("1.50")]


def test_an_index_is_dropped_with_a_note() -> None:
    frame, _, notes = from_frame(pd.DataFrame({"a": [1, 2]}, index=["x", "y"]))
    assert "reset_index" in notes[0]
    assert list(frame.index) == [0, 1]
    assert not from_frame(pd.DataFrame({"a": [1, 2]}))[2]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), r"duplicate column names \('a'\)"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), r"duplicate column names \('1'\)"),
        (pd.DataFrame({("a", "b"): [1]}), "MultiIndex"),
        (pd.DataFrame({"a": []}), "no rows"),
        (pd.DataFrame(index=[1, 2]), "no columns"),
        (pd.DataFrame({"a": [[1], [2]]}), "'a' has several values in a cell"),
        (pd.DataFrame({"a": ["x", 2, "y"]}), "'x' and, in row 1 counted from 0, 2"),
        (pd.DataFrame({"a": [1j]}), "'a' contains values of the unsupported type complex128"),
        (pd.DataFrame({"a": [b"x"]}), "'a' contains values of the unsupported type bytes"),
        (pd.DataFrame({"a": pd.to_timedelta(["1s"])}), "unsupported type timedelta64"),
        (pd.DataFrame({"a": pd.period_range("2024", periods=1)}), "unsupported type period"),
        (pd.DataFrame({"a": [1.0, -np.inf]}), "Row 1 .* of column 'a' contains -inf"),
        (pd.DataFrame({"a": np.array(["9999-12-31"], "datetime64[s]")}), "before 1678"),
        ({"a": [1]}, "dict is not a DataFrame"),
        (np.zeros((2, 2)), "ndarray is not a DataFrame"),
    ],
)
def test_refused_frames(frame, message) -> None:
    with pytest.raises(VariedError, match=message):
        from_frame(frame)


def test_a_frame_is_written_as_csv(tmp_path) -> None:
    names = ["small", "real", "flag", "words", "when", "day"]
    frame, dialect, _ = from_frame(pandas_frame()[names])
    text = write_table(frame, tmp_path / "a.csv", dialect).read_text()
    assert text.splitlines() == [
        "small,real,flag,words,when,day",
        "1,1.25,True,x,2024-01-05 01:02:03,2024-01-05",
        "2,,False,,,",
        "3,3.00,True,y,2024-01-06 00:00:00,2024-01-06",
    ]


# polars and pyarrow


def test_polars_frames_keep_their_types() -> None:
    pl = pytest.importorskip("polars")
    times = [datetime(2024, 1, 5, 6, 7, 8, 9000), None, datetime(1960, 1, 1)]
    original = pl.DataFrame(
        {
            "integer": pl.Series([1, None, 3], dtype=pl.UInt8),
            "real": [1.5, None, -2.0],
            "single": pl.Series([0.1, 0.2, None], dtype=pl.Float32),
            "flag": [True, None, False],
            "words": ["x", None, ""],
            "kinds": pl.Series(["b", None, "a"], dtype=pl.Categorical),
            "size": pl.Series(["s", "l", None], dtype=pl.Enum(["l, m", "s", "l"])),
            "day": [date(2024, 1, 5), None, date(1960, 1, 1)],
            "when": pl.Series(times, dtype=pl.Datetime("ms")),
            "zone": pl.Series(times, dtype=pl.Datetime("us", "Europe/Paris")),
            "exact": pl.Series([Decimal("1.50"), None, Decimal("2.25")], dtype=pl.Decimal(10, 2)),
            "long": pl.Series([2**63, 1, None], dtype=pl.UInt64),
            "none": pl.Series([None, None, None], dtype=pl.String),
        }
    )
    frame, dialect, notes = from_frame(original)
    assert set(dtypes(frame)) == DTYPES
    assert dialect.library == "polars"
    assert dialect.decimals["exact"] == 2
    assert dialect.dates == {"day": "%Y-%m-%d"}
    assert frame["when"][0] == pd.Timestamp(2024, 1, 5, 6, 7, 8, 9000)
    assert frame["when"].isna()[1]
    assert "Column 'zone' has a time zone and is converted to UTC." in notes
    restored = to_frame(frame, through_json(dialect))
    assert restored.schema == original.schema
    assert restored.equals(original)
    assert from_frame(original.lazy())[0].equals(frame)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([[1], [2]], "'a' has several values in a cell"),
        ([{"x": 1}], "'a' has several values in a cell"),
        ([timedelta(1)], "'a' contains values of the unsupported type Duration"),
        ([float("inf")], "column 'a' contains inf"),
    ],
)
def test_refused_polars_frames(cells, message) -> None:
    pl = pytest.importorskip("polars")
    with pytest.raises(VariedError, match=message):
        from_frame(pl.DataFrame({"a": cells}))
    with pytest.raises(VariedError, match="not a DataFrame"):
        from_frame(pl.Series([1]))


def arrow_table(pa):
    when = [datetime(2024, 1, 5, 6, 7), None]
    sizes = pa.DictionaryArray.from_arrays(
        pa.array([1, None], pa.int8()), pa.array(["s", "l"]), ordered=True
    )
    return pa.table(
        {
            "integer": pa.array([1, None], pa.int16()),
            "real": pa.array([1.5, None], pa.float32()),
            "flag": pa.array([True, None]),
            "words": pa.array(["x", None]),
            "large": pa.array(["x", None], pa.large_string()),
            "size": sizes,
            "day": pa.array([date(2024, 1, 5), None], pa.date32()),
            "when": pa.array(when, pa.timestamp("ms")),
            "zone": pa.array(when, pa.timestamp("us", "Europe/Paris")),
            "exact": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
        }
    )


def test_pyarrow_tables_keep_their_types() -> None:
    pa = pytest.importorskip("pyarrow")
    original = arrow_table(pa)
    frame, dialect, _ = from_frame(original)
    assert set(dtypes(frame)) == DTYPES
    assert dialect.library == "pyarrow"
    assert dialect.levels == {"size": ["s", "l"]}
    restored = to_frame(frame, through_json(dialect))
    assert restored.schema == original.schema
    assert restored.equals(original)
    with pytest.raises(VariedError, match=r"duplicate column names \('a'\)"):
        from_frame(pa.table([[1], [2]], names=["a", "a"]))


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_parquet_and_feather_files_keep_types(tmp_path, suffix) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    path, original = tmp_path / f"a{suffix}", arrow_table(pa)
    write = parquet.write_table if suffix == ".parquet" else feather.write_feather
    read = parquet.read_table if suffix == ".parquet" else feather.read_table
    write(original, path)
    frame, dialect, _ = read_table(path)
    again = read(write_table(frame, tmp_path / f"b{suffix}", dialect))
    assert again.equals(original)
    assert again.schema == original.schema
    frame, dialect, _ = read_table(write_file(tmp_path, "a,b,c\n1,x,\n2,NA,2024-01-05\n"))
    converted, _, _ = read_table(write_table(frame, tmp_path / f"c{suffix}", dialect))
    pd.testing.assert_frame_equal(converted, frame)
    assert "corrupted" in error_of(tmp_path, b"nothing", f"d{suffix}")


def test_a_missing_pyarrow_is_named_with_its_extra(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "requires pyarrow; run pip install 'varied[parquet]'" in error_of(
        tmp_path, "", "a.parquet"
    )
    with pytest.raises(VariedError, match=r"varied\[parquet\]"):
        write_table(pd.DataFrame({"a": [1.0]}), tmp_path / "a.parquet", TableDialect())


def test_reading_takes_a_few_seconds_at_most(tmp_path) -> None:
    """50,000 rows of 15 columns take 1 to 2 s; the limit allows for a busy machine."""
    random = np.random.default_rng(0)
    n = 50_000
    frame = pd.DataFrame({f"r{i}": random.normal(size=n).round(4) for i in range(5)})
    frame = frame.assign(**{f"w{i}": random.integers(0, 10**6, n) for i in range(5)})
    frame = frame.assign(**{f"s{i}": random.choice(list("abcdef"), n) for i in range(4)})
    days = np.datetime64("2000-01-01") + random.integers(0, 9000, n)
    path = write_file(tmp_path, frame.assign(d=days.astype(str)).to_csv(index=False))
    start = time.process_time()
    typed, _, _ = read_table(path)
    assert time.process_time() - start < 4
    assert dtypes(typed) == ["float64"] * 5 + ["Int64"] * 5 + ["object"] * 4 + ["datetime64[ns]"]
