"""Tables: read with typed columns, and given back to the letter."""

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
from varied.data.tables.dates import read_dates, write_dates
from varied.data.tables.number_format import render, style_of
from varied.errors import VariedError

DELIMITERS = [",", ";", "\t", "|"]
TYPES = {"float64", "Int64", "datetime64[ns]", "boolean", "object"}
ADMITTED = ("given back as", "spaces around")  # the words of a note on a change


def put(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def again(path: Path) -> bytes:
    frame, form, _ = read_table(path)
    form = TableDialect.from_json(json.loads(json.dumps(form.to_json())))
    return write_table(frame, path.with_name(f"again_{path.name}"), form).read_bytes()


def refusal(folder: Path, text: str | bytes, name: str = "t.csv") -> str:
    with pytest.raises(VariedError) as caught:
        read_table(put(folder, text, name))
    return str(caught.value)


def dtypes(frame: pd.DataFrame) -> list[str]:
    return [str(t) for t in frame.dtypes]


def as_csv(rows: list[list[str]], delimiter: str, newline: str, quoting: int) -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=newline, quoting=quoting)
    writer.writerows(rows)
    return file.getvalue()


def parsed(contents: bytes, delimiter: str) -> list[list[str]]:
    text = io.StringIO(contents.decode(), newline="")
    return list(csv.reader(text, delimiter=delimiter, strict=True))


# The law


def fixed(digits: int):
    return st.floats(-1e6, 1e6).map(lambda v: f"{v:.{digits}f}")


def moments(form: str):
    low, high = datetime(1980, 1, 1), datetime(2060, 1, 1)
    return st.datetimes(low, high).map(lambda d: d.strftime(form))


WORDS = st.text(st.sampled_from("ab ,;|\t\"'\né-/.0"), max_size=6).map("w".__add__)
FORMATS = ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%Y-%m-%dT%H:%M:%S", "%d/%m/%y", "%b %d, %Y"]
FORMATS += ["%Y-%m-%d %H:%M:%S.%f", "%d/%m/%Y %I:%M %p", "%Y-%m-%d %H:%M:%S+02:00"]
KINDS = [
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
        cells = draw(st.lists(draw(st.sampled_from(KINDS)), min_size=n, max_size=n))
        token = draw(st.sampled_from(TOKENS))
        gone = draw(st.lists(st.booleans(), min_size=n, max_size=n))
        columns.append([token if g else c for c, g in zip(cells, gone, strict=True)])
    header = [f"c {i}" for i in range(len(columns))]
    return [header, *map(list, zip(*columns, strict=True))]


@settings(max_examples=50, deadline=None, suppress_health_check=[*HealthCheck])
@given(
    tables(),
    st.sampled_from(DELIMITERS),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_every_cell_comes_back_to_the_letter(tmp_path, rows, delimiter, newline, quoting) -> None:
    path = put(tmp_path, as_csv(rows, delimiter, newline, quoting))
    frame, form, _ = read_table(path)
    assert form.delimiter == delimiter and set(dtypes(frame)) <= TYPES
    given_back = again(path)
    assert given_back == path.read_bytes()
    assert parsed(given_back, delimiter) == rows


@settings(max_examples=80, deadline=None, suppress_health_check=[*HealthCheck])
@given(st.data(), st.sampled_from(["0123456789.", "01.,e+- ", "NaN?-/12:", "0-1T:2Z/", 'a" ,;\n']))
def test_what_changes_is_said(tmp_path, data, alphabet) -> None:
    """Cells at their worst: each comes back, or a note names its column, or it is refused."""
    cell = st.text(st.sampled_from(alphabet), max_size=5)
    rows = data.draw(st.lists(st.lists(cell, min_size=3, max_size=3), min_size=1, max_size=5))
    names = ["first", "second", "third"]
    path = put(tmp_path, as_csv([names, *rows], ",", "\n", csv.QUOTE_MINIMAL))
    try:
        _, _, notes = read_table(path)
    except VariedError as error:
        assert "not finite" in str(error)
        return
    admitted = [note for note in notes if any(words in note for words in ADMITTED)]
    for row, back in zip([names, *rows], parsed(again(path), ","), strict=True):
        for name, cell, given_back in zip(names, row, back, strict=True):
            assert cell == given_back or any(f"'{name}'" in note for note in admitted)


EXACT = {
    "fixed digits": "a,b\n1.50,x\n2.25,y\n",
    "digits as Python has them": "a,b\n1.0,x\n2.25,y\n1e-07,z\n",
    "whole among real": "a,b\n1,x\n2.5,y\n",
    "no zero before the point": "a,b\n.5,x\n-.25,y\n3,z\n",
    "signs": "a,b\n+1.5,x\n-2.5,y\n",
    "exponents": "a,b\n1.500E+05,x\n2.000E-03,y\n",
    "general": "a,b\n1e+06,x\n123456,y\n0.0001,z\n1e-05,z\n",
    "minus nothing": "a,b\n-0,x\n3,y\n",
    "text in quotes": '"a","b"\n1.5,"x"\n2,"y, z"\n3,NA\n',
    "all in quotes": '"a","b"\n"1","x"\n"","y"\n',
    "CRLF": "a,b\r\n1,x\r\n2,y\r\n",
    "no last newline": "a,b\n1,x\n2,y",
    "spaces after commas": "a, b, c\n1, x, ?\n2, y, 3\n",
    "decimal comma": "a;b;c\n1,50;x;1\n2,25;y;2\n",
    "tabs": "a\tb\n1\tx, y\n2\tz\n",
    "quotes and newlines": 'a,b\n1,"x ""y""\nz"\n2,"w, v"\n',
    "inches": 'a\tb\n1\t"5" pipe\n2\tpipe\n',
    "no header": "1,2.5\n3,4.5\n",
    "a column without a name": ",a\n0,x\n1,y\n",
    "one column": 'a\n1\n""\n3\n',
    "one column of text": "a\nx;y\nz;w\n",
    "tokens of their own": "a,b,c\n?,1,\n2,NA,x\n3,3,y\n",
    "yes and true": "a,b\nyes,TRUE\nno,FALSE\n",
    "two kinds of missing words": "a,b\n,1\nNA,2\nx,3\n",
    "milliseconds": "a,b\n2024-01-05 07:08:09.250,x\n2024-01-06 07:08:09.000,y\n",
    "unpadded": "a,b\n1/5/2024 3:04 PM,x\n12/31/2024 11:00 AM,y\n",
    "thousands": 'a,b\n"1,234",x\n"5",y\n',
}


@pytest.mark.parametrize("what", EXACT)
def test_the_very_bytes(tmp_path, what) -> None:
    path = put(tmp_path, EXACT[what])
    expected = EXACT[what]
    if what == "thousands":
        expected = expected.replace('"5"', "5")  # quotes are kept where they are needed
    assert again(path).decode() == expected


@pytest.mark.parametrize(
    ("encoding", "bom", "kept"),
    [
        ("utf-8", b"\xef\xbb\xbf", "utf-8"),
        ("utf-16-le", b"\xff\xfe", "utf-16-le"),
        ("utf-16-be", b"\xfe\xff", "utf-16-be"),
        ("cp1252", b"", "cp1252"),
        ("utf-8", b"", "utf-8"),
    ],
)
def test_encodings(tmp_path, encoding, bom, kept) -> None:
    contents = bom + "naïve,b\n1,café\n2,x\n".encode(encoding)
    path = put(tmp_path, contents)
    frame, form, notes = read_table(path)
    assert list(frame.columns) == ["naïve", "b"] and frame["b"][0] == "café"
    assert (form.encoding, form.bom) == (kept, bool(bom))
    assert ("not in UTF-8" in " ".join(notes)) == (kept == "cp1252")
    assert again(path) == contents


@pytest.mark.parametrize("name", ["t.csv.gz", "t.tsv", "t.txt", "t.TSV.GZ"])
def test_endings(tmp_path, name) -> None:
    text = b"a\tb\n1\tx,y\n2\tz\n"
    path = put(tmp_path, gzip.compress(text) if name.lower().endswith("gz") else text, name)
    given_back = again(path)
    assert (gzip.decompress(given_back) if name.lower().endswith("gz") else given_back) == text


# Types


def test_types_and_missing(tmp_path) -> None:
    text = (
        "id,w,h,when,s,t\n007,1,1.5,2024-01-31,a,None\n010,,?,NaT,NA,x\n100,3,2.0,2024-02-01,b,y\n"
    )
    frame, form, notes = read_table(put(tmp_path, text))
    assert dtypes(frame) == ["object", "Int64", "float64", "datetime64[ns]", "object", "object"]
    assert frame["id"].tolist() == ["007", "010", "100"]
    assert frame["w"].isna().tolist() == [False, True, False] and frame["w"][2] == 3
    assert np.isnan(frame["h"][1]) and frame["when"].isna()[1]
    assert frame["s"][1] is None and frame["t"][0] == "None"
    assert form.token("h") == "?" and form.token("w") == "" and form.token("s") == "NA"
    assert form.dates == {"when": "%Y-%m-%d"} and form.decimals == {"h": 1}
    assert any("leading zeros" in n and "'id'" in n for n in notes)
    assert any("?" in n and "h" in n for n in notes)


def test_values_are_read_right(tmp_path) -> None:
    text = "a;b;c\n-1,25;31.12.2023;9007199254740992\n1e3;01.02.2024;-5\n"
    frame, form, notes = read_table(put(tmp_path, text))
    assert frame["a"].tolist() == [-1.25, 1000.0] and form.decimal == ","
    assert frame["b"].tolist() == [pd.Timestamp(2023, 12, 31), pd.Timestamp(2024, 2, 1)]
    assert frame["c"].tolist() == [2**53, -5]
    assert "The decimal sign is a comma." in notes


def test_a_second_token_among_words_is_a_word(tmp_path) -> None:
    frame, form, notes = read_table(put(tmp_path, "a,b,c\n,NA,NA\nNA,NA,\nNA,?,5\nx,y,7\n"))
    assert frame["a"].tolist() == [None, "NA", "NA", "x"] and form.token("a") == ""
    assert frame["b"].tolist() == [None, None, "?", "y"] and form.token("b") == "NA"
    assert frame["c"].isna().tolist() == [True, True, False, False]
    assert any("'a' keeps 'NA' as a word" in n for n in notes)


def test_beyond_a_float_is_text(tmp_path) -> None:
    frame, _, notes = read_table(put(tmp_path, "a,b\n9007199254740993,1\n5,2\n"))
    assert frame["a"].tolist() == ["9007199254740993", "5"]
    assert any("2^53" in n for n in notes)


@pytest.mark.parametrize(
    ("cells", "sign"),
    [
        (["1,5", "2,25"], ","),
        (["1,234", "5,678"], "."),  # thousands, perhaps
        (["0,123", "5,678"], ","),
        (["1.5", "2.5"], "."),
        (["x,y", "1,5"], "."),
    ],
)
def test_decimal_signs(tmp_path, cells, sign) -> None:
    frame, form, _ = read_table(put(tmp_path, "a;b\n" + "".join(f"{c};1\n" for c in cells)))
    assert form.decimal == sign
    assert (dtypes(frame)[0] == "float64") == (sign == "," or cells[0] == "1.5")


@pytest.mark.parametrize(
    ("texts", "form", "first"),
    [
        (["13/01/2024", "01/02/2024"], "%d/%m/%Y", "2024-01-13"),
        (["01/13/2024", "02/01/2024"], "%m/%d/%Y", "2024-01-13"),
        (["3.1.2024", "31.12.2024"], "%-d.%-m.%Y", "2024-01-03"),
        (["2024/01/05"], "%Y/%m/%d", "2024-01-05"),
        (["2024-03"], "%Y-%m", "2024-03-01"),
        (["05-Jan-24"], "%d-%b-%y", "2024-01-05"),
        (["January 5, 2024"], "%B %-d, %Y", "2024-01-05"),
        (["2024-01-05T06:07Z"], "%Y-%m-%dT%H:%MZ", "2024-01-05T06:07"),
        (["1/31/2024 12:05:06 AM"], "%-m/%-d/%Y %I:%M:%S %p", "2024-01-31T00:05:06"),
        (["1/31/2024 12:05 PM"], "%-m/%-d/%Y %I:%M %p", "2024-01-31T12:05"),
        (["29/02/2024", "12.5"], None, None),
        (["29/02/2023"], None, None),
        (["9999-12-31"], None, None),
        (["12:30"], None, None),
        (["1.2.3"], None, None),
        (["20240105"], None, None),
    ],
)
def test_formats_of_dates(texts, form, first) -> None:
    found = read_dates(texts)
    if form is None:
        assert found is None
        return
    assert found.format == form and not found.guessed
    assert found.values[0] == np.datetime64(first)
    assert write_dates(found.values, form) == texts


def test_dates_agree_with_strptime() -> None:
    days = [
        datetime(1979, 12, 28, 23, 59, 1) + timedelta(days=97, seconds=3671) * i for i in range(200)
    ]
    for form in FORMATS[:-1]:
        texts = [d.strftime(form) for d in days]
        expected = [np.datetime64(datetime.strptime(t, form)) for t in texts]
        found = read_dates(texts)
        assert found.format == form and (found.values == expected).all()


def test_day_or_month_first_is_said(tmp_path) -> None:
    frame, _, notes = read_table(put(tmp_path, "a,b\n01/02/2024,1\n03/04/2024,2\n"))
    assert frame["a"][0] == pd.Timestamp(2024, 2, 1)
    assert any("day or month first" in n for n in notes)


def test_new_numbers_are_written_as_the_old() -> None:
    for texts, value, written in [
        (["1.50", "2.25"], 0.126, "0.13"),
        (["1.5", "2"], 0.126, "0.1"),
        (["1.5", "2"], 4.0, "4"),
        (["1.5", "2.0"], -0.01, "0.0"),
        (["1e-07", "2.0"], 0.126, "0.126"),
        (["1.5e+00", "2.5e+10"], 0.126, "1.3e-01"),
    ]:
        style, digits, changed = style_of(texts, [float(t) for t in texts])
        assert not changed or texts[0] == "1e-07"
        assert render([value], style, digits) == [written]


def test_a_frame_can_be_written_with_other_values(tmp_path) -> None:
    frame, form, _ = read_table(put(tmp_path, "a,b,c\n1.50,2024-01-05,x\n?,2024-01-06,y\n"))
    new = frame.assign(a=[np.nan, 0.333], b=pd.to_datetime([None, "2025-12-01"]), c=["x,y", None])
    written = write_table(new, tmp_path / "new.csv", form).read_text()
    # No column but the first had missing cells, so that its token serves for all.
    assert written == 'a,b,c\n?,?,"x,y"\n0.33,2025-12-01,?\n'


# What is noted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1.5,x\n1.50,y\n", "several ways"),
        ("a,b\n 1,x\n2,y\n", "spaces around numbers"),
        ("a,b\n?,x\nNA,y\n3,z\n", "'?', 'NA'"),
        ('a,b\n"1,234",x\n5,y\n', "thousands"),
        ("a,b\n" + "1,x\n" * 20 + "abc,y\n", "because row 22 holds 'abc'"),
        ("1,2\n3,4\n", "c1, c2"),
        ("a;b\n1;2\n", "semicolons"),
        ("a,,b\n1,2,3\n", "column 2"),
        ("a,b\n1,2\n\n3,4\n", "1 empty line left out"),
        ("a\nx\ny\n", "single column"),
    ],
)
def test_notes(tmp_path, text, words) -> None:
    _, _, notes = read_table(put(tmp_path, text))
    assert any(words in note for note in notes)
    assert all(note.endswith(".") for note in notes)


def test_a_plain_table_needs_no_notes(tmp_path) -> None:
    assert read_table(put(tmp_path, "a,b\n1,x\n2,y\n"))[2] == ()


# What is refused


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        ("a,b\n", "a header and no rows"),
        (b"PK\x03\x04rest", "a workbook"),
        (b"PAR1....", "call it .parquet"),
        (b"\x00\x01\x02a,b", "no text"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "let its name end in .gz"),
        ("a,b,a\n1,2,3\n", "several columns called 'a'"),
        ("a,b\n1,2\n3\n", "row 3 has 1 cell and the header 2"),
        ('a,b\n1,"2\n3,4,5\n', "row 2 a quote is not closed"),
        ("a,b\n1.5,x\ninf,y\n", "Row 3 of column 'a' holds inf"),
        ("a,b\n1.5,x\n1e400,y\n", "Row 3 of column 'a' holds 1e400"),
    ],
)
def test_refusals(tmp_path, text, words) -> None:
    assert words in refusal(tmp_path, text)


def test_all_ragged_rows_in_one_sentence(tmp_path) -> None:
    rows = ["a,b"] + ["1,2"] * 3 + ["1,2,3"] * 7
    said = refusal(tmp_path, "\n".join(rows))
    assert "row 5 has 3 cells and the header 2; row 6 has 3; row 7" in said
    assert "row 9 has 3; and 2 more" in said and "row 10" not in said


def test_rows_are_counted_as_a_spreadsheet_does(tmp_path) -> None:
    assert "row 4 has 1" in refusal(tmp_path, 'a,b\n1,"x\ny"\n\n3\n')
    assert "Row 4 of" in refusal(tmp_path, 'a,b\n1,"x\ny"\n\ninf,3\n')


def test_no_table(tmp_path) -> None:
    with pytest.raises(VariedError, match="let it end in"):
        read_table(tmp_path / "a.docx")
    with pytest.raises(VariedError, match="no file"):
        read_table(tmp_path / "a.csv")
    with pytest.raises(VariedError, match="let it end in"):
        write_table(pd.DataFrame({"a": [1.0]}), tmp_path / "a.docx", TableDialect())
    assert "damaged" in refusal(tmp_path, b"no gzip", "t.csv.gz")
    assert "damaged" in refusal(tmp_path, gzip.compress(b"a,b\n1,2\n" * 99)[:-12], "t.csv.gz")


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_a_huge_table_is_refused_before_it_is_read(tmp_path, monkeypatch, name) -> None:
    monkeypatch.setattr("varied.data.memory.free_memory", lambda: 1000)
    text = b"a,b\n" + b"1,2\n" * 100
    assert "GiB" in refusal(tmp_path, gzip.compress(text) if name.endswith("gz") else text, name)


def test_an_encoding_without_the_letter(tmp_path) -> None:
    with pytest.raises(VariedError, match=r"cp1252 cannot write 'λ'"):
        write_table(pd.DataFrame({"λ": [1.0]}), tmp_path / "a.csv", TableDialect(encoding="cp1252"))


# The form


def test_forms_are_plain() -> None:
    form = TableDialect(
        unnamed=("column 1",), levels={"a": ["x"]}, decimals={"b": 2}, names={"3": 3}
    )
    plain = form.to_json()
    assert TableDialect.from_json(json.loads(json.dumps(plain))) == form
    assert TableDialect.from_json({}) == TableDialect()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"delimeter": ";"}, "did you mean 'delimiter'"),
        ({"delimiter": 3}, "cannot have delimiter = 3"),
        ({"delimiter": "x"}, "choose from"),
        ({"encoding": "rot13"}, "choose from"),
        ({"decimals": {"a": "2"}}, "cannot have decimals"),
        ({"levels": {"a": [1]}}, "cannot have levels"),
        ({"unnamed": [1]}, "cannot have unnamed"),
    ],
)
def test_bad_forms(values, words) -> None:
    with pytest.raises(VariedError, match=words):
        TableDialect.from_json(values)


def test_endings_are_known_without_pandas() -> None:
    assert {".csv", ".tsv", ".txt", ".parquet", ".feather", ".csv.gz", ".tsv.gz"} <= set(SUFFIXES)


# Frames of pandas


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


def test_pandas_there_and_back() -> None:
    original = pandas_frame()
    frame, form, notes = from_frame(original)
    assert set(dtypes(frame)) == TYPES
    assert list(frame.columns) == [str(c) for c in original.columns]
    assert form.levels["size"] == ["small", "large", "huge"] and form.ordered == ("size",)
    assert form.decimals["real"] == 2 and form.decimals["exact"] == 2
    assert frame["single"].tolist() == [0.1, 0.2, 0.3]
    assert frame["zone"][0] == pd.Timestamp("2024-07-04 22:00")
    assert frame["words"].tolist() == ["x", None, "y"] and frame["words"][1] is None
    assert any("UTC" in n for n in notes) and any("2^53" in n for n in notes)
    form = TableDialect.from_json(json.loads(json.dumps(form.to_json())))
    pd.testing.assert_frame_equal(to_frame(frame, form), original)


def test_values_that_the_type_does_not_allow_keep_theirs() -> None:
    frame, form, _ = from_frame(pd.DataFrame({"a": np.array([1, 2], np.int8), "b": [True, False]}))
    frame["a"] = pd.array([1, None], "Int64")
    frame["b"] = pd.array([None, True], "boolean")
    assert dtypes(to_frame(frame, form)) == ["Int64", "boolean"]
    frame["a"] = pd.array([1, 300], "Int64")
    assert to_frame(frame, form)["a"].tolist() == [1, 300]


def test_an_index_is_left_out_aloud() -> None:
    frame, _, notes = from_frame(pd.DataFrame({"a": [1, 2]}, index=["x", "y"]))
    assert "reset_index" in notes[0] and list(frame.index) == [0, 1]
    assert not from_frame(pd.DataFrame({"a": [1, 2]}))[2]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "several columns called 'a'"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "several columns called '1'"),
        (pd.DataFrame({("a", "b"): [1]}), "several levels"),
        (pd.DataFrame({"a": []}), "no rows"),
        (pd.DataFrame(index=[1, 2]), "no columns"),
        (pd.DataFrame({"a": [[1], [2]]}), "'a' holds several values in one cell"),
        (pd.DataFrame({"a": ["x", 2, "y"]}), "'x', but 2 in row 1"),
        (pd.DataFrame({"a": [1j]}), "'a' is of the type complex128"),
        (pd.DataFrame({"a": [b"x"]}), "'a' holds bytes"),
        (pd.DataFrame({"a": pd.to_timedelta(["1s"])}), "'a' is of the type timedelta64"),
        (pd.DataFrame({"a": pd.period_range("2024", periods=1)}), "'a' is of the type period"),
        (pd.DataFrame({"a": [1.0, -np.inf]}), "Row 1 .* of column 'a' holds -inf"),
        (pd.DataFrame({"a": np.array(["9999-12-31"], "datetime64[s]")}), "before 1678"),
        ({"a": [1]}, "dict is no table"),
        (np.zeros((2, 2)), "ndarray is no table"),
    ],
)
def test_frames_refused(frame, words) -> None:
    with pytest.raises(VariedError, match=words):
        from_frame(frame)


def test_a_frame_as_text(tmp_path) -> None:
    frame, form, _ = from_frame(pandas_frame()[["small", "real", "flag", "words", "when", "day"]])
    text = write_table(frame, tmp_path / "a.csv", form).read_text()
    assert text.splitlines() == [
        "small,real,flag,words,when,day",
        "1,1.25,True,x,2024-01-05 01:02:03,2024-01-05",
        "2,,False,,,",
        "3,3.0,True,y,2024-01-06 00:00:00,2024-01-06",
    ]


# Frames of polars and pyarrow


def test_polars_there_and_back() -> None:
    pl = pytest.importorskip("polars")
    times = [datetime(2024, 1, 5, 6, 7, 8, 9000), None, datetime(1960, 1, 1)]
    original = pl.DataFrame(
        {
            "whole": pl.Series([1, None, 3], dtype=pl.UInt8),
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
    frame, form, notes = from_frame(original)
    assert set(dtypes(frame)) == TYPES and form.kind == "polars"
    assert form.levels == {"size": ["l, m", "s", "l"]} and form.ordered == ("size",)
    assert form.decimals["exact"] == 2 and form.dates == {"day": "%Y-%m-%d"}
    assert frame["when"][0] == pd.Timestamp(2024, 1, 5, 6, 7, 8, 9000) and frame["when"].isna()[1]
    assert any("Europe/Paris" in n for n in notes)
    form = TableDialect.from_json(json.loads(json.dumps(form.to_json())))
    back = to_frame(frame, form)
    assert back.schema == original.schema and back.equals(original)
    assert from_frame(original.lazy())[0].equals(frame)


def test_polars_refused() -> None:
    pl = pytest.importorskip("polars")
    for column, words in [
        ([[1], [2]], "'a' holds several values"),
        ([timedelta(1)], "'a' is of the type Duration"),
        ([float("inf")], "column 'a' holds inf"),
        ([{"x": 1}], "'a' holds several values"),
    ]:
        with pytest.raises(VariedError, match=words):
            from_frame(pl.DataFrame({"a": column}))
    with pytest.raises(VariedError, match="no table"):
        from_frame(pl.Series([1]))


def arrow_table(pa):
    when = [datetime(2024, 1, 5, 6, 7), None]
    sizes = pa.DictionaryArray.from_arrays(
        pa.array([1, None], pa.int8()), pa.array(["s", "l"]), ordered=True
    )
    return pa.table(
        {
            "whole": pa.array([1, None], pa.int16()),
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


def test_pyarrow_there_and_back() -> None:
    pa = pytest.importorskip("pyarrow")
    original = arrow_table(pa)
    frame, form, _ = from_frame(original)
    assert set(dtypes(frame)) == TYPES and form.kind == "pyarrow"
    assert form.levels == {"size": ["s", "l"]} and form.ordered == ("size",)
    back = to_frame(frame, TableDialect.from_json(json.loads(json.dumps(form.to_json()))))
    assert back.schema == original.schema and back.equals(original)
    with pytest.raises(VariedError, match="several columns called 'a'"):
        from_frame(pa.table([[1], [2]], names=["a", "a"]))


@pytest.mark.parametrize("ending", [".parquet", ".feather"])
def test_parquet_and_feather(tmp_path, ending) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    path, original = tmp_path / f"a{ending}", arrow_table(pa)
    write = parquet.write_table if ending == ".parquet" else feather.write_feather
    read = parquet.read_table if ending == ".parquet" else feather.read_table
    write(original, path)
    frame, form, _ = read_table(path)
    again = write_table(frame, tmp_path / f"b{ending}", form)
    assert read(again).equals(original) and read(again).schema == original.schema
    text, plain, _ = read_table(put(tmp_path, "a,b,c\n1,x,\n2,NA,2024-01-05\n"))
    there = read_table(write_table(text, tmp_path / f"c{ending}", plain))[0]
    pd.testing.assert_frame_equal(there, text)
    assert "damaged" in refusal(tmp_path, b"nothing", f"d{ending}")


def test_without_pyarrow(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "varied[parquet]" in refusal(tmp_path, b"PAR1", "a.parquet")
    with pytest.raises(VariedError, match=r"varied\[parquet\]"):
        write_table(pd.DataFrame({"a": [1.0]}), tmp_path / "a.parquet", TableDialect())


def test_fast_enough(tmp_path) -> None:
    """50,000 rows of 15 columns within about 2 s; a loose bound, for busy machines."""
    source = np.random.default_rng(0)
    n = 50_000
    frame = pd.DataFrame({f"r{i}": source.normal(size=n).round(4) for i in range(5)})
    frame = frame.assign(**{f"w{i}": source.integers(0, 10**6, n) for i in range(5)})
    frame = frame.assign(**{f"s{i}": source.choice(list("abcdef"), n) for i in range(4)})
    days = np.datetime64("2000-01-01") + source.integers(0, 9000, n)
    text = frame.assign(d=days.astype(str)).to_csv(index=False)
    path = put(tmp_path, text)
    start = time.process_time()
    typed, _, _ = read_table(path)
    assert time.process_time() - start < 4
    assert dtypes(typed) == ["float64"] * 5 + ["Int64"] * 5 + ["object"] * 4 + ["datetime64[ns]"]
