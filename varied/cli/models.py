"""`varied models`: the models of the zoo and the parts that they consist of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from varied.cli import console
from varied.cli.options import AsJson

if TYPE_CHECKING:
    from varied.zoo import Entry


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show the details of this model.")
    ] = None,
    parts: Annotated[
        bool, typer.Option("--parts", help="List every part of every axis with its settings.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the models, or the parts that they consist of."""
    if parts:
        _show_parts(as_json)
        return
    from varied.registry import find
    from varied.zoo import ZOO

    if name is not None:
        _show_model(name, find("model", name), as_json)
    elif as_json:
        console.show_json({"models": [_to_json(*row) for row in ZOO.items()]})
    else:
        _show_zoo(ZOO)


def _show_zoo(zoo: dict[str, Entry]) -> None:
    """Print a table of models for each group."""
    for group in dict.fromkeys(entry.group for entry in zoo.values()):
        console.heading(group)
        rows = [
            (name, entry.title, entry.use_for, entry.benchmark)
            for name, entry in zoo.items()
            if entry.group == group
        ]
        console.table(("model", "", "use for", "measured"), rows)
    console.show()
    console.say(
        "`varied models NAME` shows the parts of a model; `varied explain NAME` explains it."
    )
    console.say("`varied models --parts` lists all parts and their settings.")


def _to_json(name: str, entry: Entry) -> dict[str, Any]:
    keys = ("group", "title", "reference", "year", "link", "use_for", "benchmark", "conditional")
    return {"name": name} | {k: getattr(entry, k) for k in keys} | {"parts": dict(entry.parts)}


def _show_model(name: str, entry: Entry, as_json: bool) -> None:
    from varied.spec import AXES, Part

    if as_json:
        console.show_json(_to_json(name, entry))
        return
    console.heading(name)
    console.say(entry.title, 2)
    console.say(f"Reference: {entry.reference}, {entry.year}, {entry.link}", 2)
    console.say(f"Use for: {entry.use_for}.", 2)
    console.say(f"Benchmark: {entry.benchmark}.", 2)
    chosen = {axis: Part.parse(entry.parts[axis]) for axis in AXES if axis in entry.parts}
    for axis, part in chosen.items():
        _show_part(axis, part.name, part.settings)
    free = [axis for axis in ("net", "likelihood", "latent") if axis not in chosen]
    console.show()
    console.say(f"Chosen to suit the data: {', '.join(free)}. All other parts use their defaults.")
    console.say(f"To train it: varied train SOURCE --model {name}")


def _show_parts(as_json: bool) -> None:
    from varied.registry import load_entry_points
    from varied.schema import settings, summary
    from varied.spec import AXES

    load_entry_points()
    if as_json:
        console.show_json(
            {
                axis: {
                    name: {
                        "summary": summary(part),
                        "settings": {k: _plain(s.default) for k, s in settings(part).items()},
                    }
                    for name, part in table.items()
                }
                for axis, table in AXES.items()
            }
        )
        return
    for axis, table in AXES.items():
        for name in table:
            _show_part(axis, name, {})


def _show_part(axis: str, name: str, given: dict[str, Any]) -> None:
    from varied.schema import settings, summary
    from varied.spec import AXES

    part = AXES[axis][name]
    console.heading(f"--{axis} {name}")
    console.say(_without_markup(summary(part)), 2)
    rows = [
        (
            f"--{s.name.replace('_', '-')}",
            _format(given.get(s.name, s.default)),
            _without_markup(s.description),
        )
        for s in settings(part).values()
    ]
    console.table(("", "", ""), rows, indent=4)


def _without_markup(text: str) -> str:
    """Return the text of a docstring without its markup."""
    return re.sub(r":\w+:`([^`]*)`|``([^`]*)``", lambda match: match[1] or match[2], text)


def _format(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(_plain(value))


def _plain(value: object) -> Any:
    if value is None:
        return "none"
    return value if isinstance(value, bool | int | float | str) else str(value)
