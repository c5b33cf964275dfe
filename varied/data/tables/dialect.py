"""The dialect of a table: everything required to write rows in the same format."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from varied.data.tables.number_styles import NumberStyle
from varied.errors import VariedError
from varied.stored_values import read_fields

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".feather", ".csv.gz", ".tsv.gz", ".txt.gz")

_CHOICES = {
    "delimiter": (",", ";", "\t", "|"),
    "encoding": ("utf-8", "utf-8-sig", "utf-16", "cp1252"),
    "decimal": (".", ","),
    "library": ("pandas", "polars", "pyarrow"),
}


@dataclass(frozen=True)
class TableDialect:
    """The format of a table file or DataFrame, in plain Python values.

    Arguments:
        delimiter: The delimiter between cells: a comma, semicolon, tab or vertical bar.
        encoding: ``"utf-8"``, ``"utf-8-sig"`` (with a byte order mark), ``"utf-16"`` or
            ``"cp1252"``.
        decimal: The decimal separator: a point or a comma.
        header: Whether the first row contains the column names.
        missing: For each column, the string that represents a missing value; empty by default.
        dates: For each column of dates, the `strftime` format.
        decimals: For each column of numbers, the number of digits after the decimal separator.
        library: The library of the DataFrame: ``"pandas"``, ``"polars"`` or ``"pyarrow"``.
        dtypes: For each column, the pandas dtype; for categories and objects, the type of the
            values follows in brackets.
        schema: The column types of a polars or pyarrow DataFrame, or of the Arrow columns of a
            pandas DataFrame, in base64: an Arrow schema or, for polars, an empty Arrow file.
        levels: For each column with a categorical dtype, the levels in order.
        ordered: The pandas columns whose categories are ordered.
        names: A mapping from column names to the original integer names in a pandas DataFrame.
        styles: For each column of numbers with a currency or thousands separators, and for each
            column of times of day, its style.

    Example:
        >>> TableDialect(delimiter=";", decimal=",").to_json()["decimal"]
        ','
        >>> TableDialect.from_json({"delimiter": "|"}).delimiter
        '|'
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    header: bool = True
    missing: dict[str, str] = field(default_factory=dict)
    dates: dict[str, str] = field(default_factory=dict)
    decimals: dict[str, int] = field(default_factory=dict)
    library: str = "pandas"
    dtypes: dict[str, str] = field(default_factory=dict)
    schema: str = ""
    levels: dict[str, list[str]] = field(default_factory=dict)
    ordered: tuple[str, ...] = ()
    names: dict[str, int] = field(default_factory=dict)
    styles: dict[str, NumberStyle] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                options = ", ".join(map(repr, choices))
                raise VariedError(
                    f"A table dialect cannot have {name} = {getattr(self, name)!r}; "
                    f"choose from {options}."
                )

    def without_columns(self) -> TableDialect:
        """Return the dialect for a table with other columns, without settings for columns."""
        types = ("missing", "dates", "decimals", "dtypes", "levels", "names", "styles")
        settings: dict[str, Any] = {name: {} for name in types}
        return dataclasses.replace(self, schema="", ordered=(), **settings)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable description of the dialect, to be read by `from_json`."""
        return dataclasses.asdict(self) | {"ordered": list(self.ordered)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TableDialect:
        """Return the dialect that `to_json` describes.

        Raises:
            VariedError: If a value is not valid; the message says where.
        """
        return read_fields(cls, values)


def table_suffix(name: str) -> str:
    """Return the suffix of a file name if it is one of `SUFFIXES`, or an empty string.

    Example:
        >>> table_suffix("Adult.CSV.gz"), table_suffix("photo.png")
        ('.csv.gz', '')
    """
    return next((s for s in SUFFIXES if name.lower().endswith(s)), "")


def truncate(text: object, length: int = 40) -> str:
    r"""Shorten a name or a cell to one short line for a message.

    Example:
        >>> truncate("two\nlines"), truncate("x" * 50, 10)
        ('two\\nlines', 'xxxxxxx...')
    """
    line = str(text)
    line = line if line.isprintable() else repr(line)[1:-1]
    return line if len(line) <= length else f"{line[: length - 3]}..."
