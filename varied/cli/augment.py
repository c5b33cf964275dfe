"""`varied augment`: generate labeled examples for training other models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from varied.cli import console
from varied.cli.options import RunName, Seed, option, save
from varied.cli.paths import open_run
from varied.errors import VariedError

if TYPE_CHECKING:
    from varied.evaluate import Estimate
    from varied.functional import Gain

#: The maximum number of classes whose counts are printed.
MAX_CLASSES = 6


def augment(
    run: RunName,
    per_class: Annotated[
        int | None,
        option(
            "N",
            "Number of examples to generate for each class; with --balance, the total number of "
            "real and generated examples of each class.",
            least=1,
        ),
    ] = None,
    balance: Annotated[
        bool,
        typer.Option(
            "--balance",
            help="Generate only as many examples as each class needs to reach --per-class or, by "
            "default, the size of the largest class.",
        ),
    ] = False,
    temperature: Annotated[
        float,
        option(
            "T",
            "Values below 1 give more typical examples, and values above 1 give more varied ones.",
        ),
    ] = 1.0,
    seed: Seed = 0,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report",
            help="Whether to measure the gain in accuracy by training classifiers.",
        ),
    ] = True,
    out: Annotated[
        Path | None,
        option("PATH", "Output: a folder with one subfolder per class, or a .csv or .npz file."),
    ] = None,
) -> None:
    """Generate labeled examples and measure how much they help a classifier."""
    if per_class is None and not balance:
        raise VariedError(
            "Specify how many examples to generate; use --per-class 500 or --balance."
        )
    opened = open_run(run)
    with console.status("Generating"):
        data = opened.augment(per_class, balance=balance, temperature=temperature, seed=seed)
    save(data, out, "augmented", f"{len(data):,} new examples, {_counts(data.names)}")
    if report:
        with console.status("Training classifiers to measure the gain"):
            gains = data.gains()
        _report(gains)


def _counts(names: list[str]) -> str:
    """Return the number of examples per class, in words."""
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    if len(counts) > 1 and len(set(counts.values())) == 1:
        return f"{counts[names[0]]:,} in each of {len(counts)} classes"
    words = [f"{count:,} {name}" for name, count in counts.items()]
    return ", ".join(words[:MAX_CLASSES]) + ("" if len(words) <= MAX_CLASSES else " and others")


def _report(gains: list[Gain]) -> None:
    """Print the accuracy of each classifier on each training set."""
    console.heading(f"Balanced accuracy on {gains[0].accuracy.n:,} test examples")
    rows = [
        (
            gain.classifier,
            gain.training_data,
            f"{gain.rows:,}",
            _percent(gain.accuracy),
            "" if gain.training_data == "real" else _percent(gain.gain, signed=True),
        )
        for gain in gains
    ]
    console.table(("classifier", "trained on", "examples", "accuracy", "gain"), rows)
    console.say(_verdict(gains))


def _percent(fraction: Estimate, *, signed: bool = False) -> str:
    from varied.evaluate.formatting import format_estimate

    return format_estimate(100 * fraction.value, 100 * fraction.error, "%", signed=signed)


def _verdict(gains: list[Gain]) -> str:
    """Return a sentence that says whether generated examples help more than plain augmentation."""
    table = {(gain.classifier, gain.training_data): gain for gain in gains}
    best = max(gains, key=lambda gain: gain.accuracy.value).classifier
    generated, plain = (table[best, f"real + {name}"].gain for name in ("generated", "plain"))
    if generated.value <= 2 * generated.error:
        result = "generated examples give no significant gain"
    elif generated.value > plain.value + 2 * (generated.error**2 + plain.error**2) ** 0.5:
        result = "generated examples help more than plain augmentation"
    else:
        result = "generated examples do not help significantly more than plain augmentation"
    return f"For the best classifier ({best}), {result}."
