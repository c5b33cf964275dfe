"""`varied train` and `varied demo`: from a person's data to a run with numbers and pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from varied.cli import console
from varied.cli.flags import SETTINGS, columns_of, in_flags, plain, size_of
from varied.cli.metrics_table import show_numbers
from varied.cli.progress import progress_stream, watched
from varied.errors import VariedError

if TYPE_CHECKING:
    from varied.data import RawData
    from varied.runs import Run
    from varied.training import Job

__all__ = ["OutputMode", "demo", "train", "trained"]

MODEL, DATA, PLAN, REST = "Model", "Data", "Training", "This command"
#: Unreadable files that are named; the rest are counted.
NAMED = 10
#: The options of `train` that say how to run, and not what to train.
_OWN = ("source", "model", "spec", "image_size", "out", "dry_run", "as_json", "quiet")


def _word(panel: str, metavar: str, help: str) -> Any:
    return typer.Option(metavar=metavar, help=help, rich_help_panel=panel)


def train(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder or zip of pictures, a table (.csv, .parquet), an .npy, .npz or idx "
            "file, or a named set (`varied data`).",
        ),
    ],
    model: Annotated[
        str | None, _word(MODEL, "NAME", "A name of `varied models`; vae if not given.")
    ] = None,
    spec: Annotated[
        Path | None,
        _word(MODEL, "FILE", "A whole model as a TOML file, such as a run's spec.toml."),
    ] = None,
    architecture: Annotated[
        str | None, _word(MODEL, "NAME", "How latents hang together; flat if not given.")
    ] = None,
    net: Annotated[str | None, _word(MODEL, "NAME", "The network: mlp, conv, resnet.")] = None,
    likelihood: Annotated[
        str | None, _word(MODEL, "NAME", "p(x given z): `varied models --parts` lists them.")
    ] = None,
    posterior: Annotated[str | None, _word(MODEL, "NAME", "q(z given x).")] = None,
    prior: Annotated[str | None, _word(MODEL, "NAME", "p(z).")] = None,
    objective: Annotated[str | None, _word(MODEL, "NAME", "What is minimized.")] = None,
    latent: Annotated[
        str | None, _word(MODEL, "D", "Latent dimensions, or a shape such as 32,7,7.")
    ] = None,
    beta: Annotated[
        str | None,
        _word(MODEL, "W", "The weight of the KL: 4, or a schedule such as 'linear(0, 1, 2000)'."),
    ] = None,
    free_bits: Annotated[
        str | None, _word(MODEL, "NATS", "Nats that each latent unit has for free.")
    ] = None,
    width: Annotated[str | None, _word(MODEL, "N", "The width of the network.")] = None,
    conditional: Annotated[
        bool,
        typer.Option("--conditional", help="Learn p(x given label).", rich_help_panel=MODEL),
    ] = False,
    conditioning: Annotated[
        str | None,
        _word(MODEL, "HOW", "How nets read the label: concatenate, or film in each layer."),
    ] = None,
    image_size: Annotated[
        str | None, _word(DATA, "N", "Resize pictures to 64, or to 48x64 (height x width).")
    ] = None,
    binarize: Annotated[
        str | None, _word(DATA, "HOW", "Make pictures black and white: none, dynamic, fixed, auto.")
    ] = None,
    labels: Annotated[
        str | None,
        _word(DATA, "NAME", "The labels: a column of a table, or a name in an .npz file."),
    ] = None,
    column_types: Annotated[
        str | None,
        _word(
            DATA,
            "HOW",
            "What columns of a table are: zip=category,id=ignore; number is the third.",
        ),
    ] = None,
    n_labels: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Hide all but N training labels.", rich_help_panel=DATA
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        _word(
            PLAN,
            "M",
            "Train so many minutes; 10 if no length is given, fewer for tables.",
        ),
    ] = None,
    epochs: Annotated[float | None, _word(PLAN, "E", "Or so many passes over the data.")] = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Or so many batches.", rich_help_panel=PLAN),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Rows in a batch.", rich_help_panel=PLAN),
    ] = None,
    lr: Annotated[float | None, _word(PLAN, "R", "The learning rate.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="All chance follows from it.", rich_help_panel=PLAN),
    ] = None,
    precision: Annotated[
        str | None, _word(PLAN, "P", "auto (the faster, as measured), float32 or bfloat16.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Processor threads; 0 measures.", rich_help_panel=PLAN
        ),
    ] = None,
    compile: Annotated[str | None, _word(PLAN, "C", "auto (where it repays), yes or no.")] = None,
    out: Annotated[
        Path | None, _word(REST, "FOLDER", "The run's folder; a new one below runs/ if not given.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show what would be trained, and stop.", rich_help_panel=REST
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=REST)
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", help="Print the run's folder alone.", rich_help_panel=REST),
    ] = False,
) -> None:
    """Train a model on your data, measure it, and draw its pictures.

    What you do not choose is chosen to suit the data. Any setting of any part is a flag too:
    `--components 5`, `--net.depth 3`, `--likelihood.scale heteroscedastic`; `varied models --parts` lists
    them. Ctrl-C saves, and the same command continues.
    """
    choices = {
        k: v for k, v in ctx.params.items() if k not in _OWN and v is not None and v is not False
    }
    settings = {k: plain(v) for k, v in ctx.meta[SETTINGS].items()}
    settings |= {k: plain(choices.pop(k)) for k in ("beta", "free_bits", "width") if k in choices}
    given = {"image_size": size_of(image_size), **choices, **settings}
    if column_types:
        given["column_types"] = columns_of(column_types)
    told = OutputMode(as_json=as_json, quiet=quiet)
    if labels and Path(source).is_dir():
        raise VariedError("--labels names a column or an array; folders name their own labels.")
    with _in_flags(ctx.params), tempfile.TemporaryDirectory() as nowhere:
        place = Path(nowhere) / "dry_run" if dry_run else out
        job = _prepared(source, _model(model, spec), place, given, told)
        if dry_run:
            _show_plan(job, told)
            return
        trained(job, told)


def demo(
    minutes: Annotated[float, typer.Option(metavar="M", help="Train so many minutes.")] = 1.0,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The run's folder.")] = Path("demo"),
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="All chance follows from it.")] = 0,
) -> None:
    """Train on handwritten digits for a minute, and show what came of it; nothing is fetched."""
    told = OutputMode()
    folder = _free(out)
    if folder != out:
        console.say(f"{out} holds a finished demo, so this one goes to {folder}.")
    with _in_flags({}):
        trained(_prepared("mnist", "vae", folder, {"minutes": minutes, "seed": seed}, told), told)


def _free(out: Path) -> Path:
    """Return the first of demo, demo-2, demo-3 ... that holds no finished run."""
    tried, number = out, 1
    while (tried / "report.html").exists():
        number += 1
        tried = out.with_name(f"{out.name}-{number}")
    return tried


class OutputMode:
    """To whom a command speaks: a person, a person who wants quiet, or a program."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json, self.quiet = as_json, quiet
        self.person = not (as_json or quiet)


@contextmanager
def _in_flags(flags: Mapping[str, Any]) -> Iterator[None]:
    """Say in flags what the library says in settings."""
    try:
        yield
    except VariedError as error:
        raise VariedError(in_flags(str(error), flags)) from error


def _model(name: str | None, spec: Path | None) -> Any:
    if spec is None:
        return name or "vae"
    if name is not None:
        raise VariedError("Give --model or --spec, not both.")
    from varied.spec import Spec

    if not spec.is_file():
        raise VariedError(f"There is no file {spec}; give the spec.toml of a run, or your own.")
    return Spec.from_toml(spec.read_text(encoding="utf-8"))


def _prepared(
    source: str, model: Any, out: Path | None, given: dict[str, Any], told: OutputMode
) -> Job:
    with console.status(f"Reading {source}", quiet=told.quiet):
        from varied.training import prepare

        job = prepare(source, model, out=out, **given)
    if told.person:
        console.heading(source)
        for sentence in job.sentences:
            console.say(sentence, 2)
        _problems(job.items)
    return job


def _problems(items: RawData) -> None:
    for problem in items.problems[:NAMED]:
        console.say(f"Left out {problem.name}: {problem.reason}.", 2)
    rest = len(items.problems) - NAMED
    if rest > 0:
        console.say(f"And {rest:,} more that could not be read.", 2)


def _show_plan(job: Job, told: OutputMode) -> None:
    parameters = sum(p.numel() for p in job.model.parameters())
    if told.as_json:
        plan = {"spec": job.spec.plain, "parameters": parameters, "sentences": job.sentences}
        console.show_json(plan)
        return
    console.heading(f"Would train {parameters:,} parameters")
    print(f"\n{job.spec.to_toml()}", end="")


def trained(job: Job, told: OutputMode) -> None:
    """Train, measure, draw and say what came of it."""
    from varied.prior_fitting import prior_plan
    from varied.training import Interrupted

    if told.person:
        console.say(f"The run goes to {job.store.folder}.", 2)
        print(flush=True)
    said = len(job.notices)
    try:
        stream = progress_stream(quiet=told.quiet, as_json=told.as_json)
        watched(job.train(), job.spec.plan, stream)
        if job.later:
            if told.person:
                console.say("Now the prior is fitted to the codes of the training rows.", 2)
            watched(job.fit_prior(), prior_plan(job.spec), stream)
        with console.status("Measuring and drawing", quiet=told.quiet):
            run = job.finish()
    except Interrupted:
        raise _stopped(job, f"Saved at step {job.state.step:,}", told) from None
    except KeyboardInterrupt:
        raise _stopped(job, "Stopped at once", told) from None
    for notice in job.notices[said:] if told.person else ():
        console.say(notice)
    _show(run, job, told)


def _stopped(job: Job, what: str, told: OutputMode) -> typer.Exit:
    """Say how to go on."""
    sentence = f"{what}; continue with the same command: {console.command_line()}"
    typer.echo(f"\n{sentence}" if told.person else sentence, err=not told.person)
    return typer.Exit(130)


def _show(run: Run, job: Job, told: OutputMode) -> None:
    from varied.atomic_io import read_json

    found = read_json(run.store / "evaluation.json")
    files = sorted(p.name for p in run.folder.iterdir() if p.is_file() and p.name[0] != ".")
    if told.as_json:
        problems = [[problem.name, problem.reason] for problem in job.items.problems]
        state = {"step": job.state.step, "seconds": job.state.seconds, "problems": problems}
        console.show_json({"run": str(run.folder), **state, "evaluation": found, "files": files})
    elif told.quiet:
        print(run.folder)
    else:
        title = f"On {found['n']:,} test rows, after {_length(job.state.seconds)} of training"
        show_numbers(found, title)
        _show_files(run.folder, files)
        console.warn(found["warnings"])
        print()
        console.say(f"Next: varied sample {run.folder}, or varied evaluate {run.folder}.")


def _length(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} minutes"


def _show_files(folder: Path, files: list[str]) -> None:
    console.heading(f"In {folder}")
    kinds = {
        "report": [name for name in reversed(files) if name.endswith((".html", ".md"))],
        "pictures": [name for name in files if name.endswith(".png")],
        "animations": [name for name in files if name.endswith(".gif")],
        "model": [name for name in files if name.endswith((".safetensors", ".toml"))],
        "records": [name for name in files if name.endswith((".json", ".jsonl"))],
    }
    console.table(("", ""), [(kind, ", ".join(names)) for kind, names in kinds.items() if names])
