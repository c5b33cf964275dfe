"""`varied sample`, `reconstruct`, `interpolate`, `traverse` and `encode`: a run at work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from varied.cli import console
from varied.cli.find import fresh, opened
from varied.errors import VariedError

if TYPE_CHECKING:
    from varied.runs import Result, Run

__all__ = ["classify", "encode", "interpolate", "reconstruct", "sample", "traverse"]

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
    n: Annotated[int, _option("N", "How many.", "-n", least=1)] = 64,
    of: Annotated[
        str | None,
        _option("CLASS", "What to make, where the run is conditional: seven, or three,seven."),
    ] = None,
    temperature: Annotated[
        str,
        _option("T", "Below 1 is more typical, above more varied; 0.7,1 is for each level."),
    ] = "1",
    draw: Annotated[
        bool | None,
        typer.Option(
            "--draw/--mean", help="Draw from p(x given z), or take its mean; rows are drawn."
        ),
    ] = None,
    seed: Annotated[int, _option("N", "Which draws.", least=0)] = 0,
    out: Annotated[Path | None, _out("samples")] = None,
) -> None:
    """Make new data."""
    here = opened(run)
    made = here.sample(
        n, of=_context(here, of), temperature=_heat(temperature), draw=draw, seed=seed
    )
    _keep(made, out, "samples", f"{n:,} samples of {here.folder}")


def _heat(said: str) -> float | list[float]:
    """Return the temperature, or one for each level."""
    try:
        heat = [float(word) for word in said.split(",")]
    except ValueError:
        raise VariedError(
            f"--temperature {said}: give a number such as 0.8, or one for each level, as 0.7,0.9,1."
        ) from None
    return heat if len(heat) > 1 else heat[0]


def _context(run: Run, of: str | None) -> Any:
    """Return the classes or numbers that a person wrote."""
    if of is None:
        return None
    if run.context is None:
        raise VariedError(
            "--of needs a conditional run; train one with --model conditional-vae on labelled data."
        )
    if of in run.context.classes:
        return of
    words = of.split(",")
    if run.context.classes:
        return words
    try:
        return [[float(word) for word in words]]
    except ValueError:
        raise VariedError(f"--of {of}: this run's context is numbers, such as --of 30.") from None


def reconstruct(
    run: RunName,
    source: Source = None,
    n: Annotated[int, _option("N", "How many.", "-n", least=1)] = 32,
    out: Annotated[Path | None, _out("reconstructions")] = None,
) -> None:
    """Show data above what the model makes of them."""
    here = opened(run)
    made = here.reconstruct(source, n=n)
    count = made.array.shape[1] if made.kind != "table" else len(made) // 2
    _keep(made, out, "reconstructions", f"{count} originals and their reconstructions")


def interpolate(
    run: RunName,
    source: Source = None,
    n: Annotated[int, _option("N", "How many paths.", "-n", least=1)] = 6,
    steps: Annotated[int, _option("N", "Points on each.", least=2)] = 10,
    path: Annotated[str, _option("HOW", "linear or spherical.")] = "linear",
    out: Annotated[Path | None, _out("interpolation")] = None,
) -> None:
    """Walk from datum to datum through the latent space."""
    made = opened(run).interpolate(source, n=n, steps=steps, path=path)
    count = len(made) if made.kind != "table" else len(made) // steps
    _keep(made, out, "interpolation", f"{count} paths of {steps} points")


def traverse(
    run: RunName,
    source: Source = None,
    dimensions: Annotated[int, _option("N", "How many, largest KL first.", least=1)] = 10,
    steps: Annotated[int, _option("N", "Values of each.", least=2)] = 9,
    out: Annotated[Path | None, _out("traversals")] = None,
) -> None:
    """Show what each latent dimension does."""
    made = opened(run).traverse(source, dimensions=dimensions, steps=steps)
    count = len(made) if made.kind != "table" else len(made) // steps
    _keep(made, out, "traversals", f"{count} latent dimensions, {steps} values of each")


def _keep(made: Result, out: Path | None, stem: str, what: str) -> None:
    """Write what was made: a picture, or the rows of a table, where no name is given."""
    usual = Path(f"{stem}.csv" if made.kind == "table" else f"{stem}.png")
    path = made.save(fresh(out or usual))
    console.say(f"Wrote {path}: {what}.")


def encode(
    run: RunName,
    source: Source = None,
    out: Annotated[
        Path, _option("FILE", "The file to write: .csv, or .npz with mean, spread, rate and names.")
    ] = Path("codes.csv"),
) -> None:
    """Write the code of each datum: mean, spread and KL."""
    if out.suffix.lower() not in _WRITERS:
        raise VariedError(f"--out {out} is of no known kind; write --out codes.csv or codes.npz.")
    here = opened(run)
    items = here.read(source)
    codes = here.encode(items)
    columns = {"mean": codes.mean.numpy(), "spread": codes.spread.numpy()}
    if codes.rate is not None:
        columns["rate"] = codes.rate.numpy()
    path = fresh(out)
    _WRITERS[out.suffix.lower()](path, columns, items.names)
    n, size = codes.mean.shape
    console.say(f"Wrote {path}: the codes of {n:,} data, {size} dimensions each.")


def classify(
    run: RunName,
    source: Source = None,
    out: Annotated[
        Path, _option("FILE", "The table to write: the class and the probability of each.")
    ] = Path("classes.csv"),
) -> None:
    """Say which class each datum is of, for a run that learned classes (m1, m2, m1m2)."""
    import numpy as np

    if out.suffix.lower() not in _WRITERS:
        raise VariedError(f"--out {out} is of no known kind; write --out classes.csv or .npz.")
    here = opened(run)
    items = here.read(source)
    chances = here.classify(source)
    assert here.context is not None  # a run that learned classes has their names
    names = here.context.classes
    columns = {"class": np.array([names[i] for i in chances.argmax(1).tolist()])}
    columns |= {f"p({name})": chances[:, i].numpy() for i, name in enumerate(names)}
    path = fresh(out)
    _WRITERS[out.suffix.lower()](path, columns, items.names)
    console.say(f"Wrote {path}: the classes of {len(chances):,} data.")


def _write_npz(path: Path, columns: dict[str, Any], names: tuple[str, ...] | None) -> None:
    import numpy as np

    from varied import files

    more: dict[str, Any] = {} if names is None else {"names": np.array(names)}
    files.write(path, lambda file: np.savez(file, **columns, **more))


def _write_csv(path: Path, columns: dict[str, Any], names: tuple[str, ...] | None) -> None:
    import csv
    import io

    import numpy as np

    from varied import files

    heads = [name if a.ndim == 1 else f"{name}_{j}" for name, a in columns.items() for j in _of(a)]
    rows = np.column_stack(list(columns.values())).tolist()
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["name" if names else "row", *heads])
    lines.writerows([name, *row] for name, row in zip(names or range(len(rows)), rows, strict=True))
    files.write(path, text.getvalue())


def _of(column: Any) -> range:
    return range(1 if column.ndim == 1 else column.shape[1])


_WRITERS = {".csv": _write_csv, ".npz": _write_npz}
