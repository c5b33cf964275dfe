"""`varied edit` and `style`: an attribute added or taken away, and the style of other data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from varied.cli import console
from varied.cli.paths import open_run, unused_path
from varied.cli.show import RunName, Source
from varied.errors import VariedError

if TYPE_CHECKING:
    from varied.runs.editing import EditResult

__all__ = ["edit", "style"]

#: Effects that are told.
TOLD = 8


def edit(
    run: RunName,
    source: Source = None,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="LEVEL", help="A class, or level of --column."),
    ] = None,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The attribute: a column of the table.")
    ] = None,
    having: Annotated[
        str | None,
        typer.Option(
            "--positive", metavar="DATA", help="Examples: a source, or rows 3,17 or a.png."
        ),
    ] = None,
    lacking: Annotated[
        str | None, typer.Option("--negative", metavar="DATA", help="Examples without it.")
    ] = None,
    strengths: Annotated[
        str, typer.Option(metavar="LIST", help="How far; 1 is from mean to mean of the groups.")
    ] = "-1,-0.5,0,0.5,1,1.5,2",
    control_for: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Attributes that must not come along.")
    ] = None,
    attributes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A table with further columns for each row of the run."),
    ] = None,
    direction: Annotated[str, typer.Option(metavar="HOW", help="means or logistic.")] = "means",
    n: Annotated[int, typer.Option("-n", metavar="N", min=1, help="How many data.")] = 6,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What to write: edits.png, or edits.csv.")
    ] = None,
) -> None:
    """Take an attribute away from data, and add it: by labels, or by a few examples."""
    if (having is None) != (lacking is None):
        raise VariedError("Examples come in two groups: give both --positive and --negative.")
    here = open_run(run)
    with console.status("Editing"):
        found = here.edit(
            source,
            target=target,
            column=column,
            examples=None if having is None else (_examples(having), _examples(lacking)),
            strengths=_numbers(strengths),
            control_for=control_for.split(",") if control_for else (),
            attributes=_table(attributes),
            direction=direction,
            n=n,
        )
        usual = "edits.csv" if found.made.kind == "table" else "edits.png"
        path = found.save(unused_path(out or Path(usual)))
    _tell(found)
    console.say(f"Wrote {path}: {n} data, {len(found.strengths)} strengths.")


def _tell(found: EditResult) -> None:
    having, lacking = found.rows
    console.say(
        f"Strength 1 is from the mean of {lacking:,} without '{found.name}' to that of "
        f"{having:,} with it."
    )
    if found.effects:
        console.say("What it does to held-out data, by a linear probe on the codes:")
        rows = [
            (e.name, f"{e.before:.2f}", f"{e.after:.2f}", f"{e.cosine:.2f}")
            for e in found.effects[:TOLD]
        ]
        console.table(("", "before", "after", "cosine"), rows)
    units = ", ".join(f"z{unit} {shift:+.1f}" for unit, shift in found.units[:5])
    console.say(f"Units that it moves most, in their own spreads: {units}.")
    if found.outside.any():
        console.say(
            f"{found.outside.sum():,} of {found.outside.size:,} are marked outside: "
            f"{found.sparse.sum():,} where data are thin, {found.strays.sum():,} that are not "
            "encoded to where they were put."
        )


def _examples(said: str | None) -> Any:
    """Return a source, or the rows that a person listed, which count from 1."""
    words = [word.strip() for word in (said or "").split(",") if word.strip()]
    if len(words) < 2 and Path(said or "").exists():
        return said
    if "0" in words:
        raise VariedError("There is no row 0: rows count from 1.")
    return [int(word) - 1 if word.isdecimal() else word for word in words]


def _numbers(said: str) -> list[float]:
    try:
        return [float(word) for word in said.split(",")]
    except ValueError:
        raise VariedError(f"--strengths {said}: give numbers such as --strengths=-1,0,1.") from None


def _table(path: Path | None) -> Any:
    if path is None:
        return None
    from varied.data import read

    items = read(path, min_rows=1)
    if items.kind != "table":
        raise VariedError(
            f"--attributes {path} is no table: give a .csv with a row for each datum."
        )
    return items.x


def style(
    run: RunName,
    source: Source = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="CLASS", help="What to write, such as three,seven; all if not given."),
    ] = None,
    content: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="With levels or units: the data that keep the rest."),
    ] = None,
    levels: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Levels of a ladder that are the style; 1 is lowest."),
    ] = None,
    units: Annotated[
        str | None, typer.Option(metavar="LIST", help="Units of the code that are the style.")
    ] = None,
    n: Annotated[int, typer.Option("-n", metavar="N", min=1, help="How many styles.")] = 8,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What to write: style.png, or style.csv.")
    ] = None,
) -> None:
    """Write data in the style of others: as other classes, or by parts of their code."""
    made = open_run(run).style(
        source,
        label=label.split(",") if label else None,
        content=content,
        levels=_whole(levels, "--levels"),
        units=_whole(units, "--units"),
        n=n,
    )
    path = made.save(unused_path(out or Path("style.csv" if made.kind == "table" else "style.png")))
    console.say(f"Wrote {path}: each row in the style of its first.")


def _whole(said: str | None, option: str) -> list[int] | None:
    if said is None:
        return None
    try:
        return [int(word) for word in said.split(",")]
    except ValueError:
        raise VariedError(f"{option} {said}: give whole numbers such as {option} 1,2.") from None
