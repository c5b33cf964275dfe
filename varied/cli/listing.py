"""`varied models`, `data`, `runs` and `doctor`: what there is."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from varied.cli import console
from varied.cli.paths import all_runs
from varied.errors import VariedError, lookup

if TYPE_CHECKING:
    from varied.zoo import Entry

__all__ = ["data", "doctor", "models", "runs"]

COLUMNS = ("run", "model", "data", "state", "-ELBO", "recon", "KL", "active", "when")
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def models(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show this one whole.")] = None,
    parts: Annotated[
        bool, typer.Option("--parts", help="Show every part of every axis, with its settings.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the models that have a name, or the parts that they are made of."""
    if parts:
        _show_parts(as_json)
        return
    from varied.zoo import ZOO

    if name is not None:
        _show_model(name, lookup(ZOO, name, "model"), as_json)
    elif as_json:
        console.show_json({"models": [_plain(*row) for row in ZOO.items()]})
    else:
        for one, entry in ZOO.items():
            console.say(f"{one}: {entry.title} ({_authors(entry)}, {entry.year})")
            console.say(f"For {entry.use_for}. Reaches: {entry.benchmark}.", 4)
        print()
        console.say(
            "`varied models NAME` shows one whole, `varied explain NAME` is a lesson on it."
        )
        console.say("`varied models --parts` lists the parts that they are made of.")


def _plain(name: str, entry: Entry) -> dict[str, Any]:
    keys = ("title", "reference", "year", "link", "use_for", "benchmark", "conditional")
    return {"name": name} | {k: getattr(entry, k) for k in keys} | {"parts": dict(entry.parts)}


def _authors(entry: Entry) -> str:
    return entry.reference.rpartition("(")[2].rstrip(")")


def _describe(entry: Entry) -> None:
    console.say(entry.title, 2)
    console.say(f"After {entry.reference}, {entry.year}: {entry.link}", 2)
    console.say(f"Suits: {entry.use_for}.", 2)
    console.say(f"Should reach: {entry.benchmark}.", 2)


def _show_model(name: str, entry: Entry, as_json: bool) -> None:
    from varied.spec import AXES, Part

    chosen = {axis: Part.of(entry.parts[axis]) for axis in AXES if axis in entry.parts}
    if as_json:
        console.show_json(_plain(name, entry))
        return
    console.heading(name)
    _describe(entry)
    for axis, part in chosen.items():
        _show_part(axis, part.name, part.settings)
    free = [axis for axis in ("net", "likelihood", "latent") if axis not in chosen]
    print()
    console.say(f"Chosen to suit the data: {', '.join(free)}. All else is by default.")
    console.say(f"Train it: varied train SOURCE --model {name}")


def _show_parts(as_json: bool) -> None:
    from varied.schema import settings, summary
    from varied.spec import AXES

    if as_json:
        plain = {
            axis: {
                name: {
                    "summary": summary(part),
                    "settings": {k: _default(s.default) for k, s in settings(part).items()},
                }
                for name, part in table.items()
            }
            for axis, table in AXES.items()
        }
        console.show_json(plain)
        return
    for axis, table in AXES.items():
        for name in table:
            _show_part(axis, name, {})


def _show_part(axis: str, name: str, given: dict[str, Any]) -> None:
    from varied.schema import settings, summary
    from varied.spec import AXES

    part = AXES[axis][name]
    console.heading(f"--{axis} {name}")
    console.say(_plainly(summary(part)), 2)
    rows = [
        (f"--{s.name.replace('_', '-')}", _spoken(given.get(s.name, s.default)), _plainly(s.help))
        for s in settings(part).values()
    ]
    console.table(("", "", ""), rows, indent=4)


def _plainly(text: str) -> str:
    """Return a docstring's words without its markup."""
    return re.sub(r":\w+:`([^`]*)`|``([^`]*)``", lambda found: found[1] or found[2], text)


def _spoken(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(_default(value))


def _default(value: object) -> Any:
    return (
        value
        if isinstance(value, bool | int | float | str)
        else "none"
        if value is None
        else str(value)
    )


def data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A set, to show it whole.")] = "list",
    as_json: AsJson = False,
) -> None:
    """Show the data that have a name."""
    with console.status("Looking"):
        from varied.data import CATALOG, catalog_rows
    if name.lower() != "list":
        one = lookup(CATALOG, name, "set")
        rows = [("holds", one.holds), ("reference", one.reference), ("license", one.license)]
        console.heading(f"{one.name}: {one.title}")
        console.table(("", ""), [*rows, ("where", one.where())])
        return
    found = catalog_rows()
    if as_json:
        console.show_json({"data": [row._asdict() for row in found]})
        return
    for row in found:
        console.heading(row.name)
        console.say(f"{row.title}: {row.holds}.", 2)
        console.say(f"Where: {row.where}.", 2)
    print()
    console.say(
        "`varied train NAME` takes one; a folder, a zip, .npy, .npz and idx files are data too."
    )


def runs(
    root: Annotated[
        Path | None, typer.Argument(metavar="ROOT", help="Look below this; runs/ and here if not.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the runs there are, oldest first."""
    if root is not None and not root.is_dir():
        raise VariedError(f"There is no folder {root}.")
    found = [_run(folder) for folder in all_runs(root)]
    if as_json:
        console.show_json({"runs": found})
    elif not found:
        console.say(
            f"There are no runs {f'below {root}' if root else 'here'} yet; `varied demo` makes one."
        )
    else:
        _show_runs(found)


def _run(folder: Path) -> dict[str, Any]:
    """Return what a run is, from its text files alone: a damaged one is said to be so."""
    plain: dict[str, Any] = {"run": str(folder), "model": "", "data": "", "evaluation": None}
    try:
        from varied.atomic_io import read_json

        about = read_json(folder / "data.json")
        plain |= {"model": about.get("model", ""), "data": Path(about["source"] or "arrays").stem}
        if (folder / "evaluation.json").exists():
            plain["evaluation"] = read_json(folder / "evaluation.json")
        plain["state"] = _state(folder)
    except (VariedError, KeyError):
        plain["state"] = "damaged"
    stamp = max(path.stat().st_mtime for path in folder.iterdir())
    return plain | {"when": time.strftime("%Y-%m-%d %H:%M", time.localtime(stamp))}


def _state(folder: Path) -> str:
    if (folder / "model.safetensors").exists():
        return "finished"
    saved = sorted((folder / "checkpoints").glob("*.safetensors"))
    return f"step {int(saved[-1].stem):,}" if saved else "not begun"


def _show_runs(found: list[dict[str, Any]]) -> None:
    """Print a line for each run; a narrow window has no room for all columns."""
    narrow = (console.width() or 1000) < 100
    columns = [c for c in COLUMNS if not narrow or c not in ("model", "data", "recon", "KL")]
    rows = [{**run, **_briefly(run["evaluation"])} for run in found]
    console.table(columns, [[row[c] for c in columns] for row in rows], indent=0)


def _briefly(numbers: dict[str, Any] | None) -> dict[str, str]:
    if not numbers:
        return dict.fromkeys(("-ELBO", "recon", "KL", "active"), "-")
    told = {"-ELBO": "elbo", "recon": "reconstruction", "KL": "kl"}
    latent_dim = numbers.get("latent_dim", numbers.get("latent"))  # "latent" in format 1
    active = f"{numbers['active_units']:.0f} of {latent_dim}"
    return {head: _brief(numbers, name) for head, name in told.items()} | {"active": active}


def _brief(numbers: dict[str, Any], name: str) -> str:
    if numbers.get(name) is None:
        return "-"
    return f"{-numbers[name] if name == 'elbo' else numbers[name]:.2f}"


def doctor(as_json: AsJson = False) -> None:
    """Show what machine and versions these are; it holds no secrets, and suits an issue."""
    with console.status("Looking at this machine"):
        from varied.cli.doctor import described

        found = described()
    if as_json:
        console.show_json(found)
        return
    console.heading("varied doctor")
    console.table(("", ""), list(found.items()))
