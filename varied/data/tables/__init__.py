"""A person's table: read as it is written, with typed columns, and given back to the letter.

The names are loaded when they are asked for, so that `SUFFIXES` costs no import of pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from varied.data.tables.dialect import SUFFIXES, TableDialect

if TYPE_CHECKING:
    from varied.data.tables.files import read_table, write_table
    from varied.data.tables.frame_reader import from_frame
    from varied.data.tables.frame_writer import to_frame

__all__ = ["SUFFIXES", "TableDialect", "from_frame", "read_table", "to_frame", "write_table"]

HOMES = {
    "from_frame": "frame_reader",
    "read_table": "files",
    "to_frame": "frame_writer",
    "write_table": "files",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
