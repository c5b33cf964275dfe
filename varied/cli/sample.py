"""`varied sample`: generate examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from varied.cli import console
from varied.cli.options import RunName, Seed, option, output, save
from varied.cli.paths import open_run, unused_path
from varied.errors import VariedError, lookup

if TYPE_CHECKING:
    from varied.runs import Result, Run

#: The minimum number of samples for the detection of copies.
MIN_SAMPLES = 20


def sample(
    run: RunName,
    n: Annotated[
        int | None,
        option(
            "N",
            "Number of samples; by default 64, or 9 for each example of --around.",
            "-n",
            least=1,
        ),
    ] = None,
    label: Annotated[
        str | None,
        option(
            "LABEL",
            "Label of the samples of a conditional run, such as seven; a list such as three,seven "
            "generates several classes, and batch=2,age=40 sets covariates by name.",
        ),
    ] = None,
    around: Annotated[
        str | None,
        option(
            "SOURCE",
            "Generate variations of the examples in this file or folder, or of a SMILES string.",
        ),
    ] = None,
    scale: Annotated[
        float | None,
        option(
            "S", "With --around: factor by which posterior standard deviations are multiplied [1]."
        ),
    ] = None,
    temperature: Annotated[
        str,
        option(
            "T",
            "Values below 1 give more typical samples, and values above 1 give more varied ones; a "
            "list such as 0.7,1 has one value for each level of a ladder VAE.",
        ),
    ] = "1",
    sample_x: Annotated[
        bool | None,
        typer.Option(
            "--sample-x/--mean-x",
            help="Sample from p(x | z), or use its mean; by default, only tables and counts are "
            "sampled.",
        ),
    ] = None,
    seed: Seed = 0,
    check_copies: Annotated[
        bool,
        typer.Option(
            "--check-copies", help="Also save each sample with its nearest training example."
        ),
    ] = False,
    out: Annotated[Path | None, output("samples")] = None,
) -> None:
    """Generate new examples."""
    opened = open_run(run)
    options: dict[str, Any] = {
        "label": parse_label(opened, label),
        "sample_x": sample_x,
        "seed": seed,
    }
    if around is not None:
        if check_copies or temperature != "1":
            raise VariedError(
                "--around cannot be combined with --temperature or --check-copies; omit them."
            )
        samples = opened.sample(n, around=around, scale=1.0 if scale is None else scale, **options)
        save(samples, out, "samples", f"variations of {around}")
        return
    if scale is not None:
        raise VariedError("--scale requires --around; use --temperature for more varied samples.")
    n = 64 if n is None else n
    samples = opened.sample(n, temperature=parse_temperature(temperature), **options)
    path = save(samples, out, "samples", f"{n:,} samples of {opened.folder}")
    if check_copies:
        _check_copies(opened, samples, path, seed)


def _check_copies(run: Run, samples: Result, path: Path, seed: int) -> None:
    """Save each sample with its nearest training example, and print whether samples are copies."""
    with console.status("Searching for copies"):
        nearest = run.nearest_training(samples, seed=seed)
    suffix = path.suffix or samples.default_ending
    path = nearest.save(unused_path(path.with_name(f"{path.stem}-nearest{suffix}")))
    console.say(f"Wrote {path}: each sample with its nearest training example.")
    for note in nearest.notes:
        console.say(note)
    if nearest.warning:
        console.warn([nearest.warning])
    elif len(samples) < MIN_SAMPLES:
        console.say(f"At least {MIN_SAMPLES} samples are required to detect copies.")
    else:
        console.say("The samples are no closer to training examples than test examples are.")


def parse_temperature(text: str) -> float | list[float]:
    """Parse a temperature, or a list with one temperature for each level.

    Raises:
        VariedError: If the text is not a number or a list of numbers.
    """
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        raise VariedError(
            f"--temperature {text} is not a number; use a number, such as 0.8, or one number for "
            "each level, such as 0.7,0.9,1."
        ) from None
    return values if len(values) > 1 else values[0]


def parse_label(run: Run, text: str | None) -> Any:
    """Parse a label: classes or numbers, or values of covariates, such as ``batch=2,age=40``.

    Raises:
        VariedError: If the run is not conditional, or a covariate is unknown or not named.
    """
    if text is None:
        return None
    if run.context is None:
        raise VariedError(
            "--label requires a conditional run; train one with --model conditional-vae on data "
            "with labels."
        )
    if text in run.context.classes:
        return text
    words = text.split(",")
    covariates = run.context.by_name
    if "=" not in words[0] or words[0] in run.context.classes:
        if len(covariates) == 1:
            return _single_or_list(words)
        if len(words) == len(covariates):
            return [words]
        raise VariedError(
            f"--label {text} must name the covariates of this run ({', '.join(covariates)}); "
            f"use, for example, --label {next(iter(covariates))}={words[0]}."
        )
    label: dict[str, list[str]] = {}
    name = ""
    for word in words:  # a word without = is a further value of the same covariate
        given, equals, value = word.partition("=")
        if equals:
            name = given.strip()
            lookup(covariates, name, "covariate")
        label.setdefault(name, []).append(value if equals else word)
    for name, values in label.items():  # the name of a class may contain a comma
        if (joined := ",".join(values)) in covariates[name].classes:
            label[name] = [joined]
    return {name: _single_or_list(values) for name, values in label.items()}


def _single_or_list(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values
