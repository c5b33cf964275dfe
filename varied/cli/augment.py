"""`varied augment`: new labeled data, and what they teach."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from varied.cli import console
from varied.cli.paths import open_run, unused_path
from varied.cli.show import RunName
from varied.errors import VariedError

if TYPE_CHECKING:
    from varied.evaluate import Estimate
    from varied.functional import Gain

__all__ = ["augment"]

#: Classes whose numbers are told.
NAMED = 6


def augment(
    run: RunName,
    per_class: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="How many of each class; with --balance, how many there are to be in the end.",
        ),
    ] = None,
    balance: Annotated[
        bool,
        typer.Option("--balance", help="Fill each class up, to the largest if no number is given."),
    ] = False,
    temperature: Annotated[
        float, typer.Option(metavar="T", help="Below 1 is more typical, above more varied.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Which draws.")] = 0,
    report: Annotated[
        bool,
        typer.Option("--report/--no-report", help="Train classifiers, to see what is gained."),
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="augmented, with a folder of pictures for each class; for a table augmented.csv; "
            "for arrays .npz.",
        ),
    ] = None,
) -> None:
    """Make new labeled data of a run that knows classes, and say what they teach."""
    if per_class is None and not balance:
        raise VariedError("Say how many to make: --per-class 500, or --balance.")
    here = open_run(run)
    with console.status("Making"):
        made = here.augment(per_class, balance=balance, temperature=temperature, seed=seed)
        usual = {"table": "augmented.csv", "array": "augmented.npz", "picture": "augmented"}
        path = made.save(unused_path(out or Path(usual[made.items.kind])))
    console.say(f"Wrote {path}: {len(made):,} new data, {_counted(made.names)}.")
    if report:
        with console.status("Training classifiers, to see what is gained"):
            found = made.gains()
        _show(found)


def _counted(names: list[str]) -> str:
    """Return how many of each class there are, in words."""
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    if len(counts) > 1 and len(set(counts.values())) == 1:
        return f"{counts[names[0]]:,} of each of {len(counts)} classes"
    told = [f"{count:,} {name}" for name, count in counts.items()]
    return ", ".join(told[:NAMED]) + ("" if len(told) <= NAMED else " and others")


def _show(gains: list[Gain]) -> None:
    """Show what each learner learned from what."""
    console.heading(f"Balanced accuracy on {gains[0].accuracy.n:,} test items")
    rows = []
    for one in gains:
        gained = "" if one.taught == "real" else _percent(one.gain, signed=True)
        told = _percent(one.accuracy)
        rows.append((one.learner, one.taught, f"{one.rows:,}", told, gained))
    console.table(("learner", "taught by", "items", "accuracy", "gain"), rows)
    console.say(_verdict(gains))


def _percent(fraction: Estimate, *, signed: bool = False) -> str:
    from varied.evaluate.formatting import format_estimate

    return format_estimate(100 * fraction.value, 100 * fraction.error, "%", signed=signed)


def _verdict(gains: list[Gain]) -> str:
    """Say whether made data add to real ones, and more than plain augmentation does."""
    table = {(one.learner, one.taught): one for one in gains}
    best = max(gains, key=lambda one: one.accuracy.value).learner
    made, plain = (table[best, f"real + {name}"].gain for name in ("made", "plain"))
    if made.value <= 2 * made.error:
        return f"For the {best}, which is best, the made data are no sure gain over real ones."
    if made.value > plain.value + 2 * (made.error**2 + plain.error**2) ** 0.5:
        return f"For the {best}, which is best, the made data add more than plain augmentation."
    return f"For the {best}, which is best, plain augmentation does as well as the made data."
