"""Numbers as text: which cells are numbers, and how a column of real numbers is written.

A style is a word and what goes with it: `fixed` (the digits that `Form.decimals` says, no more and
no fewer), `point` (the fewest digits that tell the number, at least one after the point), `short`
(the same, whole numbers without a point), `exponent 4` and `general 6` (as C has them, with so
many digits). After it may stand `bare` (.5 for 0.5), `plus` (+1) and `upper` (1E5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

__all__ = ["ENDLESS", "LARGEST", "PADDED", "WHOLE", "is_thousands", "real", "render", "style_of"]

WHOLE = re.compile(r"0|-?[1-9][0-9]*")
PADDED = re.compile(r"[+-]?0[0-9]+")
ENDLESS = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
LARGEST = 2**53  # beyond it a float64 cannot tell one whole number from the next
MODIFIERS = ("bare", "plus", "upper")
SAMPLE = 2000

_REAL = {
    sign: re.compile(
        rf"[+-]?(?:(?:0|[1-9][0-9]*)(?:{re.escape(sign)}[0-9]*)?|{re.escape(sign)}[0-9]+)"
        r"(?:[eE][+-]?[0-9]+)?"
    )
    for sign in ".,"
}
_THOUSANDS = {
    ",": re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?"),
    ".": re.compile(r"[+-]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+(?:,[0-9]*)?"),
}


def real(decimal: str) -> re.Pattern[str]:
    """Return the pattern of a number with that decimal sign."""
    return _REAL[decimal]


def is_thousands(text: str, decimal: str) -> bool:
    """Whether a number has its thousands divided, as in 1,234,567.8.

    Example:
        >>> is_thousands("1,234", "."), is_thousands("0,123", "."), is_thousands("1.234,5", ",")
        (True, False, True)
    """
    return _THOUSANDS["," if decimal == "." else "."].fullmatch(text) is not None


def style_of(texts: Sequence[str], values: Sequence[float]) -> tuple[str, int | None, str]:
    """Return how numbers are written.

    Arguments:
        texts: The numbers as written, with a decimal point.
        values: The same, read.

    Returns:
        The style, the largest number of digits after the point (None with exponents), and a
        number that would be given back otherwise than it was written (empty: there is none).

    Example:
        >>> style_of(["1.50", "2.25"], [1.5, 2.25])
        ('fixed', 2, '')
        >>> style_of(["1.5", "2"], [1.5, 2.0])
        ('short', 1, '')
        >>> style_of(["1.5", "1.50"], [1.5, 1.5])
        ('fixed', 2, '1.5')
    """
    joined = "\n".join(texts)
    exponents = "e" in joined or "E" in joined
    digits = None if exponents else max((len(t.partition(".")[2]) for t in texts), default=0)
    candidates = []
    for style in _candidates(texts, joined, exponents):
        if all(map(str.__eq__, _lazily(values, style, digits), texts)):
            return style, digits, ""
        candidates.append(style)
    scores = {style: sum(_hits(texts, values, style, digits)) for style in candidates}
    best = max(scores, key=lambda style: scores[style])
    pairs = zip(_lazily(values, best, digits), texts, strict=True)
    return best, digits, next(text for given, text in pairs if given != text)


def render(values: Sequence[float], style: str, digits: int | None) -> list[str]:
    """Return numbers as text in a style.

    Example:
        >>> render([0.5, -0.001], "fixed", 2), render([0.5, 3.0], "short bare", 2)
        (['0.50', '0.00'], ['.5', '3'])
    """
    return list(_lazily(values, style, digits))


def _lazily(values: Sequence[float], style: str, digits: int | None) -> Iterator[str]:
    word, *rest = style.split()
    modifiers = set(rest) & set(MODIFIERS)
    given: Iterator[str]
    if word in ("exponent", "general"):
        given = map(f"{{:.{int(rest[0])}{word[0]}}}".format, values)
    else:
        rounded = values if digits is None else (_round(v, digits) for v in values)
        if word == "fixed":
            given = map(f"{{:.{digits or 0}f}}".format, rounded)
        elif word == "short":
            given = (repr(v).removesuffix(".0") for v in rounded)
        else:
            given = map(repr, rounded)
    return (_modified(text, modifiers) for text in given) if modifiers else given


def _round(value: float, digits: int) -> float:
    """Round as Python does, which is exact; what becomes 0 loses its sign, a true -0.0 does not."""
    rounded = round(value, digits)
    return rounded if rounded or not value else 0.0


def _modified(text: str, modifiers: set[str]) -> str:
    if "bare" in modifiers:
        text = re.sub(r"^(-?)0\.", r"\1.", text)
    if "plus" in modifiers and not text.startswith("-"):
        text = f"+{text}"
    return text.upper() if "upper" in modifiers else text


def _hits(
    texts: Sequence[str], values: Sequence[float], style: str, digits: int | None
) -> Iterator[bool]:
    """Say of each of the first numbers whether a style gives it back."""
    return map(str.__eq__, _lazily(values[:SAMPLE], style, digits), texts)


def _candidates(texts: Sequence[str], joined: str, exponents: bool) -> Iterator[str]:
    signs = {"bare": r"^[+-]?\.", "plus": r"^\+", "upper": "E"}
    there = [name for name, sign in signs.items() if re.search(sign, joined, re.MULTILINE)]
    modifiers = "".join(f" {name}" for name in there)
    if not exponents:
        yield f"fixed{modifiers}"
    elif all("e" in t or "E" in t for t in texts):
        after = max(len(m.partition(".")[2]) for m in _mantissas(texts))
        yield f"exponent {min(after, 100)}{modifiers}"
    yield f"point{modifiers}"
    yield f"short{modifiers}"
    figures = max(len(m.replace(".", "").lstrip("0")) for m in _mantissas(texts))
    yield f"general {min(max(figures, 1), 100)}{modifiers}"


def _mantissas(texts: Sequence[str]) -> list[str]:
    return [re.split("[eE]", t)[0].lstrip("+-") for t in texts]
