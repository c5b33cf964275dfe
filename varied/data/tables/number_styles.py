"""Numbers with currencies or thousands separators, and times of day, as columns of numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

_CODES = "USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|KRW"
_CURRENCY = rf"(?:[$€£¥₹₩₽]|(?:{_CODES})\b)"
_TIME = re.compile(r"(?:[01]?[0-9]|2[0-3]):[0-5][0-9](?P<seconds>:[0-5][0-9])?")
#: Pairs of thousands and decimal separators.
_SEPARATORS = ((",", "."), (".", ","), ("'", "."), ("\u00a0", ","), ("\u202f", ","))


@dataclass(frozen=True)
class NumberStyle:
    """The style in which the numbers of a column are written, except the number of decimals.

    Arguments:
        prefix: The text before a number, such as ``"$"``.
        suffix: The text after a number, such as ``" EUR"``.
        thousands: The thousands separator; "" if there is none.
        decimal: The decimal separator.
        time: "%H:%M" or "%H:%M:%S" for times of day, which are read as seconds since midnight; ""
            for other numbers.
    """

    prefix: str = ""
    suffix: str = ""
    thousands: str = ""
    decimal: str = "."
    time: str = ""

    def parse(self, text: str) -> float:
        """Return the number in a text, or NaN if it is not in this style.

        Example:
            >>> NumberStyle(prefix="$", thousands=",").parse("-$1,234.50")
            -1234.5
            >>> NumberStyle(time="%H:%M").parse("07:31")
            27060.0
        """
        if self.time:
            parts = text.split(":") if _TIME.fullmatch(text) else ["nan"]
            return sum(float(n) * unit for n, unit in zip(parts, (3600, 60, 1), strict=False))
        match = _pattern(self.thousands or ",", self.decimal).fullmatch(text)
        if match is None:
            return math.nan
        plain = match["number"].replace(self.thousands or ",", "").replace(self.decimal, ".")
        return float(f"{'-' if '-' in text else ''}{plain}")

    def format(self, value: float, decimals: int | None) -> str:
        """Return a number as text in this style.

        Example:
            >>> NumberStyle(suffix=" EUR", thousands=".", decimal=",").format(-1234.5, 2)
            '-1.234,50 EUR'
            >>> NumberStyle(time="%H:%M").format(27060, None)
            '07:31'
        """
        if self.time:
            minutes, seconds = divmod(round(value), 60)
            hour = f"{minutes // 60:02d}:{minutes % 60:02d}"
            return f"{hour}:{seconds:02d}" if self.time.endswith("%S") else hour
        text = f"{abs(value):,.{decimals or 0}f}".replace(",", "\0").replace(".", self.decimal)
        sign = "-" if value < 0 else ""
        return f"{sign}{self.prefix}{text.replace(chr(0), self.thousands)}{self.suffix}"


def infer_style(texts: Sequence[str], decimal: str) -> NumberStyle | None:
    """Return the style that all texts have, or None if there is none.

    Arguments:
        texts: The distinct cells of a column that are neither plain numbers nor dates.
        decimal: The decimal separator of plain numbers in the table, which is tried first.

    Example:
        >>> infer_style(["$1,234.50", "$3.00"], ".")
        NumberStyle(prefix='$', suffix='', thousands=',', decimal='.', time='')
        >>> infer_style(["12:30", "noon"], ".") is None
        True
    """
    times = [_TIME.fullmatch(text) for text in texts]
    if all(times):
        has_seconds = any(match["seconds"] for match in times if match)
        return NumberStyle(time="%H:%M:%S" if has_seconds else "%H:%M")
    styles = [
        style
        for separators in sorted(_SEPARATORS, key=lambda pair: pair[1] != decimal)
        if (style := _style(texts, *separators)) is not None
    ]
    # In "1.234 EUR", the point separates thousands, since currencies have two decimals.
    return next((s for s in styles if not _has_three_decimals(texts, s)), None)


def _style(texts: Sequence[str], thousands: str, decimal: str) -> NumberStyle | None:
    pattern = _pattern(thousands, decimal)
    matches = [match for text in texts if (match := pattern.fullmatch(text))]
    affixes = {(match["prefix"], match["suffix"]) for match in matches}
    if len(matches) < len(texts) or len(affixes) != 1:
        return None
    ((prefix, suffix),) = affixes
    has_thousands = any(thousands in match["number"] for match in matches)
    if not (prefix or suffix or has_thousands):
        return None
    return NumberStyle(prefix, suffix, thousands if has_thousands else "", decimal)


def _has_three_decimals(texts: Sequence[str], style: NumberStyle) -> bool:
    is_currency = style.prefix or style.suffix
    three = re.compile(rf"{re.escape(style.decimal)}[0-9]{{3}}(?![0-9])")
    return bool(is_currency) and any(three.search(text) for text in texts)


def _pattern(thousands: str, decimal: str) -> re.Pattern[str]:
    group, point = re.escape(thousands), re.escape(decimal)
    number = rf"(?:[1-9][0-9]{{0,2}}(?:{group}[0-9]{{3}})+|0|[1-9][0-9]*)(?:{point}[0-9]+)?"
    return re.compile(
        rf"[+-]?(?P<prefix>(?:{_CURRENCY}\s?)?)[+-]?(?P<number>{number})"
        rf"(?P<suffix>(?:\s?{_CURRENCY})?)"
    )
