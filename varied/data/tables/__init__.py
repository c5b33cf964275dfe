"""A person's table: read as it is written, with typed columns, and given back to the letter.

The names are loaded when they are asked for, so that `SUFFIXES` costs no import of pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from varied.data.tables.form import SUFFIXES, Form

if TYPE_CHECKING:
    from varied.data.tables.files import read_table, write_table
    from varied.data.tables.frames import from_frame
    from varied.data.tables.restore import to_frame

__all__ = ["SUFFIXES", "Form", "from_frame", "read_table", "to_frame", "write_table"]

HOMES = {
    "from_frame": "frames",
    "read_table": "files",
    "to_frame": "restore",
    "write_table": "files",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
