"""Generate the page of the claims from their saved outcomes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from benchmarks.claims.base import Claim
from benchmarks.records import markdown_table

INTRODUCTION = """# Common claims about VAEs, tested

Each section tests a claim that is often made about VAEs. It describes the experiment, shows the
results with their standard deviations over seeds, and states whether the claim held with a budget
of one CPU thread and a few minutes per model. `python -m benchmarks.claims` runs all experiments,
and `python -m benchmarks.claims 3` runs only the third; `--quick` runs short versions, to test the
code.
"""
QUICK_NOTE = "\n**A quick run: the results are meaningless.**\n"


def page(
    outcomes: Mapping[str, Any], claims: Mapping[int, Claim], images: str, *, quick: bool = False
) -> str:
    """Return the page as Markdown.

    Arguments:
        outcomes: Saved outcomes by claim number.
        claims: All claims; those without an outcome are marked as not tested.
        images: The folder of images, relative to the page.
        quick: Whether to add a note that this was a quick run.
    """
    rows = [
        [str(number), claim.text, outcomes.get(str(number), {}).get("verdict", "not tested yet")]
        for number, claim in sorted(claims.items())
    ]
    lines = [INTRODUCTION, *[QUICK_NOTE] * quick, *markdown_table(["", "claim", "result"], rows)]
    for number in sorted(map(int, outcomes)):
        lines += _section(claims[number], outcomes[str(number)], images)
    return "\n".join(lines) + "\n"


def _section(claim: Claim, outcome: Mapping[str, Any], images: str) -> list[str]:
    lines = ["", f"## {claim.number}. {claim.text}", ""]
    lines += [f"**The claim {outcome['verdict']}.** {outcome['summary']}"]
    for table in outcome["tables"]:
        lines += ["", *markdown_table(table["header"], table["rows"])]
        lines += ["", table["note"]] if table["note"] else []
    for image in outcome["images"]:
        lines += ["", f"![{image['alt']}]({images}/{image['file']})"]
    experiment = " ".join((inspect.getdoc(claim.test) or "").split())
    return [*lines, "", f"*Experiment ({outcome['minutes']:g} minutes).* {experiment}"]
