"""Dates as text: which format a column has, its instants, and the very text again."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["Dates", "read_dates", "write_dates"]

Instants = npt.NDArray[np.datetime64]

MONTHS = ["January", "February", "March", "April", "May", "June", "July"]
MONTHS += ["August", "September", "October", "November", "December"]
SHORT = [month[:3] for month in MONTHS]
DAY, HOUR, TWELVE = "[12][0-9]|3[01]", "1[0-9]|2[0-3]", "1[0-2]"

# Each directive: the part that it tells, the pattern that it reads, the format that it writes.
DIRECTIVES = {
    "%Y": ("year", "[0-9]{4}", "{:04d}"),
    "%y": ("year2", "[0-9]{2}", "{:02d}"),
    "%m": ("month", "0[1-9]|1[0-2]", "{:02d}"),
    "%-m": ("month", "[1-9]|1[0-2]", "{:d}"),
    "%b": ("short", "|".join(SHORT), "{}"),
    "%B": ("long", "|".join(MONTHS), "{}"),
    "%d": ("day", f"0[1-9]|{DAY}", "{:02d}"),
    "%-d": ("day", f"[1-9]|{DAY}", "{:d}"),
    "%H": ("hour", f"0[0-9]|{HOUR}", "{:02d}"),
    "%-H": ("hour", f"[0-9]|{HOUR}", "{:d}"),
    "%I": ("twelve", f"0[1-9]|{TWELVE}", "{:02d}"),
    "%-I": ("twelve", f"[1-9]|{TWELVE}", "{:d}"),
    "%p": ("half", "AM|PM", "{}"),
    "%M": ("minute", "[0-5][0-9]", "{:02d}"),
    "%S": ("second", "[0-5][0-9]", "{:02d}"),
    "%f": ("fraction", "[0-9]{6}", "{}"),
    **{f"%{k}f": ("fraction", f"[0-9]{{{k}}}", "{}") for k in range(1, 10)},
}
TOKEN = re.compile(r"%-?[A-Za-z]|%[1-9]f")
DAYS = [("%d", "%m"), ("%-d", "%-m"), ("%d", "%-m"), ("%-d", "%m")]
YEAR_FIRST = ["%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y-%m"]
DAY_FIRST = [f"{d}{s}{m}{s}%Y" for s in "/.-" for d, m in DAYS]
MONTH_FIRST = [f"{m}{s}{d}{s}%Y" for s in "/-" for d, m in DAYS]
TWO_DIGITS = [f"{a}{s}{b}{s}%y" for a, b in (("%d", "%m"), ("%m", "%d")) for s in "/.-"]
NAMED = [
    f.replace("%d", d).replace("%b", b)
    for f in ("%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y")
    for d in ("%d", "%-d")
    for b in ("%b", "%B")
]
TIMES = [
    f"{hour}:%M{seconds}{half}"
    for hours, half in ((("%H", "%-H"), ""), (("%I", "%-I"), " %p"))
    for hour in hours
    for seconds in ("", ":%S", ":%S.%f", *(f":%S.%{k}f" for k in (1, 2, 3, 4, 5, 7, 8, 9)))
]
PIECES = re.compile(
    r"(?P<date>.+?)(?:(?P<sep>[T ])(?P<time>[0-9]{1,2}:.*?)(?P<zone>Z|[+-]\d\d:?\d\d)?)?"
)


class Dates(NamedTuple):
    """Instants as datetime64[ns], the format they were written in, and whether it is a guess."""

    values: Instants
    format: str
    guessed: bool


def read_dates(texts: Sequence[str]) -> Dates | None:
    """Return the instants of texts that are all dates in one format; None if they are not.

    Where day and month could stand either way round in all of them, the day is taken first and
    `guessed` is true.

    Example:
        >>> read_dates(["31/01/2024", "01/02/2024"]).format
        '%d/%m/%Y'
        >>> read_dates(["2024-01-31 07:05:00.250"]).format
        '%Y-%m-%d %H:%M:%S.%3f'
        >>> read_dates(["2024-02-30"]) is None
        True
    """
    if not texts or len(texts[0]) > 40 or not any(c.isdigit() for c in texts[0]):
        return None
    found: Dates | None = None
    for form in _formats(texts[0]):
        values = _parse(texts, form)
        if values is None:
            continue
        if found is None:
            found = Dates(values, form, False)
        elif not np.array_equal(found.values, values):
            return found._replace(guessed=True)
    return found


def write_dates(values: Instants, form: str) -> list[str]:
    """Return instants as text in a format.

    Example:
        >>> write_dates(np.array(["2024-01-05T15:04"], "datetime64[ns]"), "%-d.%-m.%Y %I:%M %p")
        ['5.1.2024 03:04 PM']
    """
    index = pd.DatetimeIndex(values)
    names = TOKEN.findall(form)
    literal = TOKEN.split(form.replace("{", "{{").replace("}", "}}"))
    slots = [DIRECTIVES[name][2] for name in names]
    template = "".join(itertools.chain(*itertools.zip_longest(literal, slots, fillvalue="")))
    if not names:
        return [template.format()] * len(index)
    return list(map(template.format, *(_part(index, name) for name in names)))


def _formats(text: str) -> Iterator[str]:
    """Yield each format that the text may have; day first before month first."""
    pieces = PIECES.fullmatch(text)
    if pieces is None:
        return
    zone = pieces["zone"] or ""
    times = [f for f in TIMES if pieces["time"] and _pattern(f).fullmatch(pieces["time"])]
    if pieces["time"] and not times:
        return
    for date in (*YEAR_FIRST, *DAY_FIRST, *MONTH_FIRST, *TWO_DIGITS, *NAMED):
        if _pattern(date).fullmatch(pieces["date"]):
            yield from (f"{date}{pieces['sep']}{t}{zone}" for t in times)
            if not times:
                yield date


@cache
def _pattern(form: str) -> re.Pattern[str]:
    pieces = [re.escape(piece) for piece in TOKEN.split(form)]
    slots = [f"(?P<{DIRECTIVES[n][0]}>{DIRECTIVES[n][1]})" for n in TOKEN.findall(form)]
    return re.compile("".join(itertools.chain(*itertools.zip_longest(pieces, slots, fillvalue=""))))


def _parse(texts: Sequence[str], form: str) -> Instants | None:
    match = _pattern(form).fullmatch
    rows = []
    for text in texts:
        found = match(text)
        if found is None:
            return None
        rows.append(found.groups())
    names = [DIRECTIVES[name][0] for name in TOKEN.findall(form)]
    parts = dict(zip(names, zip(*rows, strict=True), strict=True))
    return _instants(parts, len(texts))


def _instants(parts: dict[str, tuple[str, ...]], n: int) -> Instants | None:
    whole = {k: np.array(v, np.int64) for k, v in parts.items() if v[0].isdigit()}
    if "year2" in whole:
        whole["year"] = whole["year2"] + np.where(whole["year2"] < 69, 2000, 1900)
    for name, known in (("short", SHORT), ("long", MONTHS)):
        if name in parts:
            whole["month"] = np.array([known.index(m) + 1 for m in parts[name]])
    if "twelve" in whole:
        whole["hour"] = whole["twelve"] % 12 + 12 * (np.array(parts["half"]) == "PM")
    year, month = whole["year"], whole["month"]
    if year.min() < 1678 or year.max() > 2261:
        return None
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (whole.get("day", np.ones(n, np.int64)) - 1)
    if (days.astype("datetime64[M]") != months).any():  # the 30th of February
        return None
    zero = np.zeros(n, np.int64)
    hours, minutes, seconds = (whole.get(k, zero) for k in ("hour", "minute", "second"))
    total = ((hours * 60 + minutes) * 60 + seconds) * 10**9
    if "fraction" in parts:
        total = total + np.array([int(f.ljust(9, "0")) for f in parts["fraction"]], np.int64)
    instants: Instants = days.astype("datetime64[ns]") + total.astype("timedelta64[ns]")
    return instants


def _part(index: Any, name: str) -> list[Any]:
    part = DIRECTIVES[name][0]
    if part == "year2":
        return [year % 100 for year in index.year]
    if part in ("short", "long"):
        months = SHORT if part == "short" else MONTHS
        return [months[month - 1] for month in index.month]
    if part == "twelve":
        return [hour % 12 or 12 for hour in index.hour]
    if part == "half":
        return ["PM" if hour >= 12 else "AM" for hour in index.hour]
    if part == "fraction":
        digits = int(name[1]) if name[1].isdigit() else 6
        nanos = index.microsecond.to_numpy() * 1000 + index.nanosecond.to_numpy()
        return [f"{nano:09d}"[:digits] for nano in nanos.tolist()]
    return list(getattr(index, part).tolist())
