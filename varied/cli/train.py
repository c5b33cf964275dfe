"""`varied train`: train a model on data."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from varied.cli import console
from varied.cli.flags import SETTINGS, parse_column_types, parse_size, parse_value
from varied.cli.processes import run_in_group
from varied.cli.run_job import OutputMode, prepare_job, run_job
from varied.errors import VariedError

if TYPE_CHECKING:
    from varied.training import Job

MODEL, DATA, PLAN, REST = "Model", "Data", "Training", "Output"
#: Parameters of the command that are not passed to `varied.training.prepare` unchanged.
_OWN = {"source", "model", "spec", "image_size", "out", "dry_run", "measure", "as_json", "quiet"}
_OWN |= {"processes", "engine", "workers"}


def _option(panel: str, metavar: str, help: str, least: int | None = None) -> Any:
    return typer.Option(metavar=metavar, help=help, rich_help_panel=panel, min=least)


def _switch(panel: str, name: str, help: str) -> Any:
    return typer.Option(name, help=help, rich_help_panel=panel)


def train(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder or zip file of images or recordings, a table (.csv, .parquet), a file "
            "of molecules (.smi, .sdf), an .npy, .npz or idx file, or the name of a dataset "
            "(`varied data`).",
        ),
    ],
    model: Annotated[
        str | None,
        _option(MODEL, "NAME", "Name of a model, as listed by `varied models`; vae by default."),
    ] = None,
    spec: Annotated[
        Path | None,
        _option(
            MODEL, "FILE", "File with a complete configuration, such as the spec.toml of a run."
        ),
    ] = None,
    architecture: Annotated[
        str | None, _option(MODEL, "NAME", "Architecture: vae, ladder, m2, m1m2 or vq-vae-2.")
    ] = None,
    net: Annotated[
        str | None, _option(MODEL, "NAME", "Network: mlp, conv, conv1d or resnet.")
    ] = None,
    encoder: Annotated[
        str | None, _option(MODEL, "NAME", "Network of the encoder, if different from --net.")
    ] = None,
    decoder: Annotated[
        str | None, _option(MODEL, "NAME", "Network of the decoder, if different from --net.")
    ] = None,
    likelihood: Annotated[
        str | None,
        _option(MODEL, "NAME", "Likelihood p(x | z); `varied models --parts` lists all parts."),
    ] = None,
    posterior: Annotated[
        str | None, _option(MODEL, "NAME", "Approximate posterior q(z | x).")
    ] = None,
    prior: Annotated[str | None, _option(MODEL, "NAME", "Prior p(z).")] = None,
    objective: Annotated[
        str | None, _option(MODEL, "NAME", "Training objective, such as elbo or iwae.")
    ] = None,
    latent: Annotated[
        str | None, _option(MODEL, "D", "Number of latent dimensions, or a shape such as 32,7,7.")
    ] = None,
    beta: Annotated[
        str | None,
        _option(
            MODEL, "W", "Weight of the KL: a number, or a schedule such as 'linear(0, 1, 2000)'."
        ),
    ] = None,
    free_bits: Annotated[
        str | None,
        _option(MODEL, "NATS", "Free bits: the KL per latent dimension that is not penalized."),
    ] = None,
    width: Annotated[
        str | None, _option(MODEL, "N", "Number of hidden units or channels of the network.")
    ] = None,
    conditional: Annotated[
        bool, _switch(MODEL, "--conditional", "Train a conditional model p(x | label).")
    ] = False,
    conditioning: Annotated[
        str | None,
        _option(MODEL, "METHOD", "How the networks receive the label: concatenate or film."),
    ] = None,
    image_size: Annotated[
        str | None, _option(DATA, "N", "Resize images: 64 for 64x64, or 48x64 for height x width.")
    ] = None,
    binarize: Annotated[
        str | None, _option(DATA, "METHOD", "Binarization of images: none, dynamic, fixed or auto.")
    ] = None,
    labels: Annotated[
        str | None,
        _option(
            DATA,
            "NAME",
            "Labels: a column of a table or an array in an .npz file; or several, such as a,b; or "
            "a pattern of file names, such as '{word}_{speaker}_{index}'.",
        ),
    ] = None,
    column_types: Annotated[
        str | None,
        _option(
            DATA,
            "LIST",
            "Column types (number, count, category or ignore), such as zip=category,a=count.",
        ),
    ] = None,
    n_labels: Annotated[
        int | None,
        _option(DATA, "N", "Number of training labels to use; the others are hidden.", 1),
    ] = None,
    minutes: Annotated[
        float | None,
        _option(PLAN, "M", "Maximum training time in minutes; the default depends on the data."),
    ] = None,
    epochs: Annotated[float | None, _option(PLAN, "E", "Maximum number of epochs.")] = None,
    steps: Annotated[int | None, _option(PLAN, "N", "Maximum number of steps.", 1)] = None,
    batch_size: Annotated[int | None, _option(PLAN, "N", "Batch size.", 1)] = None,
    lr: Annotated[float | None, _option(PLAN, "R", "Learning rate.")] = None,
    seed: Annotated[int | None, _option(PLAN, "N", "Random seed.", 0)] = None,
    precision: Annotated[
        str | None,
        _option(PLAN, "P", "Precision: float32, bfloat16, or auto for the faster of the two."),
    ] = None,
    threads: Annotated[
        int | None,
        _option(PLAN, "N", "Number of CPU threads; 0 selects the number that is fastest.", 0),
    ] = None,
    processes: Annotated[
        int,
        _option(PLAN, "N", "Number of processes that train together on this machine.", 1),
    ] = 1,
    engine: Annotated[str | None, _option(PLAN, "NAME", "Train on a cluster: ray.")] = None,
    workers: Annotated[
        str | None,
        _option(
            PLAN, "N", "Number of workers of --engine ray, or a minimum and a maximum such as 2:8."
        ),
    ] = None,
    deterministic: Annotated[
        bool,
        _switch(
            PLAN,
            "--deterministic",
            "Use float32 and one thread, so that the weights do not depend on the machine's speed.",
        ),
    ] = False,
    compile: Annotated[
        str | None,
        _option(PLAN, "C", "Whether to use torch.compile: yes, no, or auto (if it saves time)."),
    ] = None,
    out: Annotated[
        Path | None, _option(REST, "FOLDER", "Run folder; by default a new folder in runs/.")
    ] = None,
    dry_run: Annotated[
        bool, _switch(REST, "--dry-run", "Print the configuration and exit.")
    ] = False,
    measure: Annotated[
        bool,
        _switch(
            REST,
            "--measure",
            "With --dry-run, also train for two seconds to estimate the time and the memory.",
        ),
    ] = False,
    as_json: Annotated[bool, _switch(REST, "--json", "Print the result as JSON.")] = False,
    quiet: Annotated[bool, _switch(REST, "--quiet", "Print only the run folder.")] = False,
) -> None:
    """Train a model on your data, evaluate it and write a report.

    Defaults are chosen to suit the data. Each setting of a part of the model is also an option,
    such as `--depth 3` or `--n-components 20`; `varied models --parts` lists them. To resume
    interrupted training, run the same command again.
    """
    choices = {k: v for k, v in ctx.params.items() if k not in _OWN and v not in (None, False)}
    numbers = {k: choices.pop(k) for k in ("beta", "free_bits", "width") if k in choices}
    texts = numbers | ctx.meta[SETTINGS]
    choices |= {name: parse_value(text) for name, text in texts.items()}
    choices["image_size"] = parse_size(image_size)
    if column_types:
        choices["column_types"] = parse_column_types(column_types)
    if labels and "{" not in labels and Path(source).is_dir():
        raise VariedError(
            "--labels of a folder must be a pattern of the file names, such as "
            "'{word}_{speaker}_{index}'; by default, the names of the subfolders are the labels."
        )
    mode = OutputMode(as_json=as_json, quiet=quiet)
    is_distributed = processes > 1 or engine is not None or workers is not None
    if is_distributed and not dry_run:
        from varied.process_group import is_worker

        if not is_worker():
            raise typer.Exit(run_in_group(processes, engine, workers))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "dry-run" if dry_run else out
        job = prepare_job(source, _model(model, spec), folder, choices, mode)
        if dry_run:
            _print_plan(job, mode, measure)
            return
        if job.group.rank > 0:
            job.follow()
        else:
            run_job(job, mode)


def _model(name: str | None, spec: Path | None) -> Any:
    if spec is None:
        return name or "vae"
    if name is not None:
        raise VariedError("--model cannot be combined with --spec; use one of them.")
    from varied.atomic_io import read_text
    from varied.spec import Spec

    if not spec.is_file():
        raise VariedError(f"There is no file {spec}; use the spec.toml of a run, or your own.")
    return Spec.from_toml(read_text(spec))


def _print_plan(job: Job, mode: OutputMode, measure: bool) -> None:
    """Print the configuration that would be used for training, and what training would cost."""
    from varied.training.cost import measure_cost

    n_parameters = sum(p.numel() for p in job.model.parameters())
    plan: dict[str, Any] = {"parameters": n_parameters, "sentences": job.sentences}
    cost = measure_cost(job) if measure else None
    if mode.as_json:
        costs = {} if cost is None else cost._asdict()
        console.show_json({"spec": job.spec.to_dict(), **plan, **costs})
        return
    console.heading(f"Would train {n_parameters:,} parameters")
    if cost is not None and cost.minutes is not None:
        console.say(
            f"The estimated training time on this machine is {cost.minutes:.1f} minutes.", 2
        )
    console.show("", *job.spec.to_toml().rstrip("\n").split("\n"))
