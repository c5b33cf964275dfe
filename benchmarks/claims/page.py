"""The page of the claims, from what was kept of them."""

from __future__ import annotations

from typing import Any

INTRO = """# What is said of VAEs, put to the test

Each claim is one that texts on VAEs make. Below it stand the experiment, its figures with their
spread over seeds, and whether it held at this budget: one thread of a processor, minutes for each
model. `python -m benchmarks.claims` runs all of them again, `--quick` a small form of each, and
`python -m benchmarks.claims 3` the third alone.
"""
QUICK = "\n**A quick run: the shape of the page, and no figure to trust.**\n"


def page(held: dict[str, Any], said: dict[int, str], pictures: str, *, quick: bool = False) -> str:
    """Return the page as Markdown.

    Arguments:
        held: What came of each claim, by its number.
        said: All claims; those of which nothing came yet are named as such.
        pictures: Their folder, as the page sees it.
        quick: Whether to say that it was a quick run.
    """
    order = sorted(held, key=int)
    lines = [INTRO, *[QUICK] * quick, "| | is said | here |", "|---|---|---|"]
    for number, text in sorted(said.items()):
        came = held.get(str(number), {}).get("verdict", "not tested in full yet")
        lines.append(f"| {number} | {text} | {came} |")
    for number in order:
        lines += _part(number, held[number], pictures)
    return "\n".join(lines) + "\n"


def _part(number: str, one: dict[str, Any], pictures: str) -> list[str]:
    lines = ["", f"## {number}. {one['said']}", "", f"**It {one['verdict']}.** {one['why']}"]
    for table in one["tables"]:
        lines += ["", _row(table["header"]), "|" + "---|" * len(table["header"])]
        lines += [_row(row) for row in table["rows"]]
        lines += ["", table["note"]] if table["note"] else []
    for picture in one["pictures"]:
        lines += ["", f"![{picture['alt']}]({pictures}/{picture['file']})"]
    told = " ".join(one["experiment"].split())
    return [*lines, "", f"*The experiment ({one['minutes']:g} minutes).* {told}"]


def _row(cells: Any) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
