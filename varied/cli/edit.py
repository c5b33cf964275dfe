"""`varied edit`: change an attribute of examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from varied.cli import console
from varied.cli.options import (
    Attributes,
    RunName,
    Source,
    option,
    output,
    parse_examples,
    parse_numbers,
    read_attributes,
    save,
)
from varied.cli.paths import open_run
from varied.errors import VariedError

if TYPE_CHECKING:
    from varied.runs.editing import EditResult

#: The maximum numbers of effects and of latent units that are printed.
MAX_EFFECTS, MAX_UNITS = 8, 5


def edit(
    run: RunName,
    source: Source = None,
    target: Annotated[
        str | None, option("LEVEL", "Attribute to edit: a class, or a level of --column.")
    ] = None,
    column: Annotated[str | None, option("NAME", "Column of the table.")] = None,
    positive: Annotated[
        str | None, option("SOURCE", "Examples with the attribute: a path, or rows such as 3,17.")
    ] = None,
    negative: Annotated[str | None, option("SOURCE", "Examples without the attribute.")] = None,
    strengths: Annotated[
        str,
        option("LIST", "Strengths; 1 adds the difference between the mean codes of both groups."),
    ] = "-1,-0.5,0,0.5,1,1.5,2",
    control_for: Annotated[
        str | None, option("NAMES", "Attributes to hold constant, such as age,sex.")
    ] = None,
    attributes: Attributes = None,
    direction: Annotated[
        str, option("METHOD", "Method that estimates the direction: means or logistic.")
    ] = "means",
    n: Annotated[int, option("N", "Number of examples.", "-n", least=1)] = 6,
    out: Annotated[Path | None, output("edits")] = None,
) -> None:
    """Add or remove an attribute that is defined by labels or by a few examples."""
    if (positive is None) != (negative is None):
        raise VariedError("Examples of both groups are required; use --positive and --negative.")
    opened = open_run(run)
    with console.status("Editing"):
        result = opened.edit(
            source,
            target=target,
            column=column,
            examples=None
            if positive is None
            else (parse_examples(positive), parse_examples(negative)),
            strengths=parse_numbers(strengths, "--strengths", "-1,0,1"),
            control_for=control_for.split(",") if control_for else (),
            attributes=read_attributes(attributes),
            direction=direction,
            n=n,
        )
    _report(result)
    save(result, out, "edits", f"{n} examples at {len(result.strengths)} strengths")


def _report(result: EditResult) -> None:
    with_it, without = result.rows
    console.say(
        f"Strength 1 moves from the mean code of {without:,} rows without '{result.name}' to the "
        f"mean code of {with_it:,} rows with it."
    )
    if result.effects:
        console.say(
            "Effects of strength 1 on held-out rows, measured by linear probes on the codes:"
        )
        rows = [
            (e.name, f"{e.before:.2f}", f"{e.after:.2f}", f"{e.cosine:.2f}")
            for e in result.effects[:MAX_EFFECTS]
        ]
        console.table(("", "before", "after", "cosine"), rows)
    units = ", ".join(f"z{unit} {shift:+.1f}" for unit, shift in result.units[:MAX_UNITS])
    console.say(f"The latent units that change most, in standard deviations: {units}.")
    if result.outside.any():
        console.say(
            f"{result.outside.sum():,} of {result.outside.size:,} edits are marked as outside the "
            f"data: {result.sparse.sum():,} are in regions with few training codes, and the output "
            f"of {result.inconsistent.sum():,} is not encoded back to the edited code."
        )
