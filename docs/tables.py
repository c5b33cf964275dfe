"""Write the tables of the pages from the tables of the code: ``python docs/tables.py``."""

from __future__ import annotations

import re
from pathlib import Path

from varied.zoo import ZOO

README = Path(__file__).parent.parent / "README.md"


def zoo() -> str:
    """Return the zoo as a Markdown table."""
    rows = (
        f"| `{name}` | {one.title} | [{one.reference}, {one.year}]({one.link}) | {one.suits} |\n"
        for name, one in ZOO.items()
    )
    return "| name | is | after | suits |\n|---|---|---|---|\n" + "".join(rows)


def filled(text: str) -> str:
    """Return a page with its tables renewed."""
    return re.sub(
        r"(<!-- zoo -->\n).*?(<!-- /zoo -->)", lambda m: m[1] + zoo() + m[2], text, flags=re.S
    )


if __name__ == "__main__":
    README.write_text(filled(README.read_text("utf-8")), "utf-8")
