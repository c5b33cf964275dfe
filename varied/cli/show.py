"""`varied sample`, `reconstruct`, `interpolate` and `traverse`: a run at work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from varied.cli import console
from varied.cli.paths import open_run, unused_path
from varied.errors import VariedError

if TYPE_CHECKING:
    from varied.runs import Result, Run

__all__ = ["interpolate", "reconstruct", "sample", "traverse"]

#: Samples from which copies can be told.
LEAST = 20

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's folder, its name below runs/, or last.")
]
Source = Annotated[
    str | None,
    typer.Argument(metavar="SOURCE", help="Other data; the run's own test rows if not given."),
]


def _option(metavar: str, help: str, *names: str, least: int | None = None) -> Any:
    return typer.Option(*names, metavar=metavar, help=help, min=least)


def _out(stem: str) -> Any:
    return _option(
        "FILE",
        f"What to write: {stem}.png, for a table {stem}.csv; .npy keeps the numbers, a name "
        "without ending is a folder.",
    )


def sample(
    run: RunName,
    n: Annotated[
        int | None, _option("N", "How many: 64, or 9 around each item.", "-n", least=1)
    ] = None,
    label: Annotated[
        str | None,
        _option("CLASS", "What to make, where the run is conditional: seven, or three,seven."),
    ] = None,
    around: Annotated[
        str | None, _option("FILE", "Make others like these: a picture, a folder, a table.")
    ] = None,
    scale: Annotated[
        float | None, _option("S", "How far from them; 1 is what the model cannot tell from them.")
    ] = None,
    temperature: Annotated[
        str,
        _option("T", "Below 1 is more typical, above more varied; 0.7,1 is for each level."),
    ] = "1",
    sample_x: Annotated[
        bool | None,
        typer.Option(
            "--sample-x/--mean-x", help="Draw from p(x given z), or take its mean; rows are drawn."
        ),
    ] = None,
    seed: Annotated[int, _option("N", "Which draws.", least=0)] = 0,
    check_copies: Annotated[
        bool,
        typer.Option("--check-copies", help="Also write each beside its nearest training item."),
    ] = False,
    out: Annotated[Path | None, _out("samples")] = None,
) -> None:
    """Make new data."""
    here = open_run(run)
    how: dict[str, Any] = {"label": _context(here, label), "sample_x": sample_x, "seed": seed}
    if around is not None:
        if check_copies or temperature != "1":
            raise VariedError(
                "--around goes without --temperature and --check-copies; --scale is its own."
            )
        made = here.sample(n, around=around, scale=1.0 if scale is None else scale, **how)
        _keep(made, out, "samples", f"what lies around the items of {around}")
        return
    if scale is not None:
        raise VariedError("--scale is for --around; --temperature makes samples more varied.")
    n = 64 if n is None else n
    made = here.sample(n, temperature=_heat(temperature), **how)
    path = _keep(made, out, "samples", f"{n:,} samples of {here.folder}")
    if check_copies:
        _beside(here, made, path, seed)


def _beside(here: Run, made: Result, samples: Path, seed: int) -> None:
    """Write samples beside their nearest training items, and say whether they are copies."""
    with console.status("Looking for copies"):
        found = here.nearest_training(made, seed=seed)
    usual = ".csv" if made.kind == "table" else ".png"
    path = found.save(
        unused_path(samples.with_name(f"{samples.stem}-beside{samples.suffix or usual}"))
    )
    console.say(f"Wrote {path}: each beside the training item that is nearest to it.")
    if found.warning:
        console.warn([found.warning])
    elif len(made) < LEAST:
        console.say(f"Fewer than {LEAST} samples are too few to tell whether they are copies.")
    else:
        console.say("They are no closer to training items than test items are, as far as one sees.")


def _heat(said: str) -> float | list[float]:
    """Return the temperature, or one for each level."""
    try:
        heat = [float(word) for word in said.split(",")]
    except ValueError:
        raise VariedError(
            f"--temperature {said}: give a number such as 0.8, or one for each level, as 0.7,0.9,1."
        ) from None
    return heat if len(heat) > 1 else heat[0]


def _context(run: Run, label: str | None) -> Any:
    """Return the classes or numbers that a person wrote."""
    if label is None:
        return None
    if run.context is None:
        raise VariedError(
            "--label needs a conditional run; train one with --model conditional-vae on labeled data."
        )
    if label in run.context.classes:
        return label
    words = label.split(",")
    if run.context.classes:
        return words
    try:
        return [[float(word) for word in words]]
    except ValueError:
        raise VariedError(
            f"--label {label}: this run's context is numbers, such as --label 30."
        ) from None


def reconstruct(
    run: RunName,
    source: Source = None,
    n: Annotated[int, _option("N", "How many.", "-n", least=1)] = 32,
    out: Annotated[Path | None, _out("reconstructions")] = None,
) -> None:
    """Show data above what the model makes of them."""
    here = open_run(run)
    made = here.reconstruct(source, n=n)
    count = made.array.shape[1] if made.kind != "table" else len(made) // 2
    _keep(made, out, "reconstructions", f"{count} originals and their reconstructions")


def interpolate(
    run: RunName,
    source: Source = None,
    n: Annotated[int, _option("N", "How many paths.", "-n", least=1)] = 6,
    steps: Annotated[
        int | None, _option("N", "Points on each: 10, of a square 8, of a film 24.", least=2)
    ] = None,
    path: Annotated[str, _option("HOW", "linear, spherical, or density.")] = "linear",
    grid: Annotated[
        bool, typer.Option("--grid", help="Fill the square between the first four data.")
    ] = False,
    out: Annotated[
        Path | None,
        _option("FILE", "What to write: interpolation.png, .gif for a film, or as for sample."),
    ] = None,
) -> None:
    """Walk from datum to datum through the latent space."""
    film = out is not None and out.suffix.lower() == ".gif"
    steps = steps or (24 if film else 8 if grid else 10)
    made = open_run(run).interpolate(source, n=n, steps=steps, path=path, grid=grid)
    count = len(made) if made.kind != "table" else len(made) // steps
    what = f"a square of {steps} x {steps}" if grid else f"{count} paths of {steps} points"
    _keep(made, out, "interpolation", what)


def traverse(
    run: RunName,
    source: Source = None,
    dimensions: Annotated[int, _option("N", "How many, largest KL first.", least=1)] = 10,
    steps: Annotated[int, _option("N", "Values of each.", least=2)] = 9,
    out: Annotated[Path | None, _out("traversals")] = None,
) -> None:
    """Show what each latent dimension does."""
    made = open_run(run).traverse(source, dimensions=dimensions, steps=steps)
    count = len(made) if made.kind != "table" else len(made) // steps
    _keep(made, out, "traversals", f"{count} latent dimensions, {steps} values of each")


def _keep(made: Result, out: Path | None, stem: str, what: str) -> Path:
    """Write what was made: a picture, or the rows of a table, where no name is given."""
    usual = Path(f"{stem}.csv" if made.kind == "table" else f"{stem}.png")
    path = made.save(unused_path(out or usual))
    console.say(f"Wrote {path}: {what}.")
    return path
