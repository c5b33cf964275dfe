"""How a table was written: what is needed, beside its values, to give it back to the letter."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from varied.errors import VariedError, suggest

__all__ = ["SUFFIXES", "TableDialect", "suffix", "truncate"]

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".feather", ".csv.gz", ".tsv.gz", ".txt.gz")

CHOICES: dict[str, tuple[str, ...]] = {
    "delimiter": (",", ";", "\t", "|"),
    "encoding": ("utf-8", "utf-16-le", "utf-16-be", "cp1252"),
    "decimal": (".", ","),
    "quoting": ("minimal", "all", "text", "none"),
    "newline": ("\n", "\r\n", "\r"),
    "kind": ("pandas", "polars", "pyarrow"),
}


@dataclass(frozen=True)
class TableDialect:
    r"""How a table was written; plain values only.

    Arguments:
        delimiter: What stands between two cells: a comma, a semicolon, a tab or a bar.
        encoding: `"utf-8"`, `"utf-16-le"`, `"utf-16-be"` or `"cp1252"`.
        decimal: The decimal sign, a point or a comma.
        missing: What stands in a cell whose value is missing: the token most used.
        quoting: Which cells stand in quotes: `"minimal"` (those that need them), `"all"`, `"text"`
            (the header and all text), or `"none"` (a quote is a letter like any other).
        newline: How a row ends: `"\n"`, `"\r\n"` or `"\r"`.
        bom: Whether a byte order mark opens the file.
        ended: Whether the last row ends as the others do.
        space: Whether a space follows every delimiter.
        header: Whether the first row names the columns.
        unnamed: Columns whose name was empty, and was made up.
        tokens: The missing token of each column that has another one than `missing`.
        dates: The format of each column of dates, as `strftime` has them; besides, `%-d`, `%-m`,
            `%-H` and `%-I` are without a leading zero, and `%3f` is a fraction of three digits.
        decimals: The digits after the decimal sign, the largest number of them, for each
            column of real numbers that is not written with exponents.
        styles: How each column of real numbers is written, see `varied.data.tables.number_format`.
        levels: The declared levels of a column of categories, in their order.
        ordered: The columns whose levels have an order that means something.
        kind: The kind of frame: `"pandas"`, `"polars"` or `"pyarrow"`.
        dtypes: The type of each column in that frame.
        names: The columns of the frame whose name is a whole number.

    Example:
        >>> TableDialect(delimiter=";", decimal=",").to_json()["decimal"]
        ','
        >>> TableDialect.from_json({"delimiter": "|"}).delimiter
        '|'
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    missing: str = ""
    quoting: str = "minimal"
    newline: str = "\n"
    bom: bool = False
    ended: bool = True
    space: bool = False
    header: bool = True
    unnamed: tuple[str, ...] = ()
    tokens: dict[str, str] = field(default_factory=dict)
    dates: dict[str, str] = field(default_factory=dict)
    decimals: dict[str, int] = field(default_factory=dict)
    styles: dict[str, str] = field(default_factory=dict)
    levels: dict[str, list[str]] = field(default_factory=dict)
    ordered: tuple[str, ...] = ()
    kind: str = "pandas"
    dtypes: dict[str, str] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                known = ", ".join(repr(c) for c in choices)
                raise VariedError(
                    f"A table's {name} cannot be {getattr(self, name)!r}: choose from {known}."
                )

    def token(self, column: str) -> str:
        """Return what stands for a missing value in a column."""
        return self.tokens.get(column, self.missing)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, which `from_json` takes."""
        values = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TableDialect:
        """Return the form of those plain values.

        Raises:
            VariedError: If a key is unknown, or its value is of another kind.
        """
        plain = cls().to_json()
        for name, value in values.items():
            if name not in plain:
                raise VariedError(f"A table's form has no '{name}': {suggest(name, plain)}")
            if type(value) is not type(plain[name]) or not _fits(name, value):
                raise VariedError(f"A table's form cannot have {name} = {value!r}; restore it.")
        given: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**given)


def suffix(name: str) -> str:
    """Return the ending of a table's file name, empty where it is none of `SUFFIXES`.

    Example:
        >>> suffix("Adult.CSV.gz"), suffix("photo.png")
        ('.csv.gz', '')
    """
    return next((s for s in SUFFIXES if name.lower().endswith(s)), "")


def truncate(text: object, most: int = 40) -> str:
    r"""Return a name or a cell as a message tells it: on one line, and not long.

    Example:
        >>> truncate("two\nlines"), truncate("x" * 50, 10)
        ('two\\nlines', 'xxxxxxx...')
    """
    line = str(text)
    line = line if line.isprintable() else repr(line)[1:-1]
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _fits(name: str, value: Any) -> bool:
    """Whether what lies inside a list or mapping is of the right kind."""
    if isinstance(value, dict):
        inner = {"decimals": int, "names": int, "levels": list}.get(name, str)
        lists = [v for v in value.values() if isinstance(v, list)]
        texts = all(isinstance(text, str) for found in lists for text in found)
        return texts and all(type(v) is inner for v in value.values())
    return not isinstance(value, list) or all(isinstance(v, str) for v in value)
