"""Write the tables of the pages from the tables of the code: ``python docs/tables.py``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from varied.zoo import ZOO, Entry

PAGE = Path(__file__).parent / "models.md"


def zoo() -> str:
    """Return the zoo as a Markdown table."""
    rows = (
        f"| `{name}` | {one.title} | [{one.reference}, {one.year}]({one.link}) | {_axes(one)} "
        f"| {one.use_for} | {one.benchmark} |\n"
        for name, one in ZOO.items()
    )
    head = "| name | is | after | sets | suits | reaches |\n" + "|---" * 6 + "|\n"
    return head + "".join(rows)


def _axes(one: Entry) -> str:
    """Return the axes that a row sets, with their settings."""
    said = [f"{axis} {_part(value)}" for axis, value in one.parts.items()]
    return "; ".join([*said, *["a context"] * one.conditional]) or "nothing"


def _part(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    settings = [f"{k} = {v}" for k, v in value.items() if k != "name"]
    return f"{value['name']} ({', '.join(settings)})"


def filled(text: str) -> str:
    """Return a page with its tables renewed."""
    return re.sub(
        r"(<!-- zoo -->\n).*?(<!-- /zoo -->)", lambda m: m[1] + zoo() + m[2], text, flags=re.S
    )


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
