"""Parsing dates in an unknown format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

_TIME = re.compile(
    r"(?P<date>.+?)(?:(?P<separator>[T ])\d\d?:\d\d(?P<seconds>:\d\d)?(?P<fraction>\.\d{1,9})?"
    r"(?P<half> [AP]M)?(?P<zone>Z|[+-]\d\d:?\d\d)?)?"
)
_YEAR_FIRST = ["%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y-%m"]
_DAY_FIRST = ["%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%d/%m/%y", "%d.%m.%y", "%d-%m-%y"]
_MONTH_FIRST = ["%m/%d/%Y", "%m-%d-%Y", "%m/%d/%y", "%m.%d.%y", "%m-%d-%y"]
_NAMED = ["%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y"]
_FORMATS = [*_YEAR_FIRST, *_DAY_FIRST, *_MONTH_FIRST, *_NAMED]
_FORMATS += [date_format.replace("%b", "%B") for date_format in _NAMED]


class Dates(NamedTuple):
    """Dates, their `strftime` format, and whether the order of day and month is ambiguous."""

    values: npt.NDArray[np.datetime64]
    format: str
    is_ambiguous: bool


def parse_dates(texts: Sequence[str]) -> Dates | None:
    """Parse strings as dates with a common format; return None if there is no such format.

    If the order of day and month is ambiguous, the day is assumed to come first. A UTC offset that
    is the same in all strings becomes part of the format.

    Example:
        >>> parse_dates(["31/01/2024", "01/02/2024"]).format
        '%d/%m/%Y'
        >>> parse_dates(["2024-01-31 07:05:00.250"]).format
        '%Y-%m-%d %H:%M:%S.%f'
        >>> parse_dates(["2024-02-30"]) is None
        True
    """
    match = _TIME.fullmatch(texts[0])
    # pandas would also read "now" and "today" as dates.
    if match is None or len(texts[0]) > 40 or not all(re.search("[0-9]", text) for text in texts):
        return None
    time = _time_format(match)
    parsed = [(date + time, _parse(texts, date + time)) for date in _FORMATS]
    parsed = [(date_format, values) for date_format, values in parsed if values is not None]
    if not parsed:
        return None
    date_format, dates = parsed[0]
    return Dates(dates, date_format, any((values != dates).any() for _, values in parsed))


def parse_most_dates(texts: Sequence[str], date_format: str = "") -> npt.NDArray[np.datetime64]:
    """Parse strings as dates in the format that most of them have; the others become NaT.

    Arguments:
        texts: The strings.
        date_format: The format that is preferred among equally frequent ones.

    Example:
        >>> parse_most_dates(["31/01/2024", "unknown"]).tolist()[1] is None
        True
    """
    matches = [match for match in map(_TIME.fullmatch, texts) if match is not None]
    times = dict.fromkeys(map(_time_format, matches))
    formats = [date_format] * bool(date_format) + [d + time for time in times for d in _FORMATS]
    best = np.full(len(texts), "NaT", dtype="datetime64[ns]")
    for each in formats:
        series = pd.Series(texts, dtype=object)
        dates = pd.to_datetime(series, format=each, errors="coerce", utc=True)
        values = dates.dt.tz_localize(None).to_numpy("datetime64[ns]")
        if np.isnat(values).sum() < np.isnat(best).sum():
            best = values
    return best


def _time_format(match: re.Match[str]) -> str:
    if match["separator"] is None:
        return ""
    hours, half = ("%I", " %p") if match["half"] else ("%H", "")
    seconds = ":%S" if match["seconds"] else ""
    fraction = ".%f" if match["fraction"] else ""
    return f"{match['separator']}{hours}:%M{seconds}{fraction}{half}{match['zone'] or ''}"


def _parse(texts: Sequence[str], date_format: str) -> Any:
    try:
        dates = pd.to_datetime(pd.Series(texts, dtype=object), format=date_format)
        return dates.astype("datetime64[ns]").to_numpy()
    except ValueError:  # a different format, or a year that does not fit into 64-bit nanoseconds
        return None
