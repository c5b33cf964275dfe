"""`varied classify`: predict the classes of examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from varied.cli import console
from varied.cli.encode import check_ending
from varied.cli.options import RunName, Source, option
from varied.cli.paths import open_run, unused_path


def classify(
    run: RunName,
    source: Source = None,
    out: Annotated[
        Path,
        option("FILE", "Output file, with the predicted class and the probability of each class."),
    ] = Path("classes.csv"),
) -> None:
    """Classify examples with a run of an m1, m2 or m1m2 model."""
    check_ending(out, "classes")
    opened = open_run(run)
    with console.status("Classifying"):
        classes = opened.classes(source)
        path = classes.save(unused_path(out))
    console.say(f"Wrote {path}: the predicted classes of {len(classes):,} examples.")
    if opened.calibration_temperature != 1:
        console.say(
            f"The probabilities are calibrated on the validation rows (temperature "
            f"{opened.calibration_temperature:.2f})."
        )
