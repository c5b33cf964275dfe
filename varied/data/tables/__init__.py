"""Reading CSV, Parquet and Feather files and DataFrames into typed pandas columns."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from varied.data.tables.dialect import SUFFIXES, TableDialect
from varied.data.tables.formulas import raw_csv
from varied.data.tables.free_names import describe_renaming, free_names

if TYPE_CHECKING:
    from varied.data.tables.files import read_table, write_table
    from varied.data.tables.frames import from_frame, to_frame

__all__ = [
    "SUFFIXES",
    "TableDialect",
    "describe_renaming",
    "free_names",
    "from_frame",
    "raw_csv",
    "read_table",
    "to_frame",
    "write_table",
]


_MODULES = {
    "read_table": "files",
    "write_table": "files",
    "from_frame": "frames",
    "to_frame": "frames",
}


def __getattr__(name: str) -> Any:
    # The functions are loaded on first use, since importing pandas takes a third of a second.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
