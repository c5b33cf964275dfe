"""Protection against text in CSV files that a spreadsheet would execute as a formula.

A text from an unknown source, such as ``=HYPERLINK("http://...")``, is executed if a CSV file is
opened in a spreadsheet (CSV injection). Writing an apostrophe before it prevents this, and reading
removes the apostrophe.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: A number with a sign, perhaps with separators, an exponent, a percent sign or a currency.
_NUMBER = (
    r"\s*[+-]\s?(?:[A-Z]{3}\s|[$€£¥₹₩₽]\s?)?"
    r"(?:[.,]?[0-9][0-9.,'\u00a0\u202f]*(?:e[+-]?[0-9]+)?|inf(?:inity)?|nan)"
    r"\s?(?:%|[A-Z]{3}|[$€£¥₹₩₽])?\s*\Z"
)
#: A formula after any number of apostrophes. Spreadsheets skip leading spaces and control
#: characters; a sign that no letter or digit follows, such as "--", calls nothing.
_FORMULA = re.compile(
    rf"'*(?!{_NUMBER})(?:[\t\r\n]|[\s\x00-\x1f\u200b\ufeff]*[=+@＝＋－＠-])(?=.*\w)",
    re.DOTALL | re.IGNORECASE,
)
_is_raw = ContextVar("_is_raw", default=False)


@contextmanager
def raw_csv() -> Iterator[None]:
    """Write formulas to CSV files unchanged; restore the previous setting on exit.

    Such files are for programs; a spreadsheet executes the formulas.
    """
    token = _is_raw.set(True)
    try:
        yield
    finally:
        _is_raw.reset(token)


def escape_formula(text: str) -> str:
    """Return a cell with an apostrophe before a formula, except within `raw_csv`.

    Text that consists of apostrophes and a formula gets another apostrophe, so that
    `unescape_formula` restores every text.

    Example:
        >>> escape_formula("=1+1"), escape_formula("-5"), escape_formula("--")
        ("'=1+1", '-5', '--')
        >>> with raw_csv():
        ...     escape_formula("=1+1")
        '=1+1'
    """
    return f"'{text}" if _FORMULA.match(text) and not _is_raw.get() else text


def unescape_formula(text: str) -> str:
    """Return a cell without the apostrophe that `escape_formula` adds.

    Example:
        >>> unescape_formula("'=1+1"), unescape_formula("'quoted'")
        ('=1+1', "'quoted'")
    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
