"""Generate the model table of docs/models.md from the zoo: ``python docs/tables.py``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from varied.zoo import ZOO, Entry

PAGE = Path(__file__).parent / "models.md"


def zoo_table() -> str:
    """Return the zoo as a Markdown table."""
    rows = (
        f"| `{name}` | {entry.title} | [{entry.reference}, {entry.year}]({entry.link}) "
        f"| {_parts(entry)} | {entry.use_for} | {entry.benchmark} |\n"
        for name, entry in ZOO.items()
    )
    header = "| name | model | reference | parts | use for | result |\n" + "|---" * 6 + "|\n"
    return header + "".join(rows)


def _parts(entry: Entry) -> str:
    parts = [f"{axis} {_with_settings(part)}" for axis, part in entry.parts.items()]
    return "; ".join([*parts, *["a context"] * entry.conditional]) or "defaults"


def _with_settings(part: Any) -> str:
    if not isinstance(part, dict):
        return str(part)
    settings = [f"{k} = {v}" for k, v in part.items() if k != "name"]
    return f"{part['name']} ({', '.join(settings)})"


def with_tables(text: str) -> str:
    """Return the page with its table updated."""
    return re.sub(
        r"(<!-- zoo -->\n).*?(<!-- /zoo -->)", lambda m: m[1] + zoo_table() + m[2], text, flags=re.S
    )


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text("utf-8")), "utf-8")
