"""`varied classify`: the class probabilities of examples."""

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
        Path, option("FILE", "File for the predicted class and the class probabilities.")
    ] = Path("classes.csv"),
) -> None:
    """Classify examples with a run of a model with classes (m1, m2, m1m2)."""
    check_ending(out, "classes")
    opened = open_run(run)
    with console.status("Classifying"):
        classes = opened.classes(source)
        path = classes.save(unused_path(out))
    console.say(f"Wrote {path}: the predicted classes of {len(classes):,} examples.")
    if opened.calibration_temperature != 1:
        console.say(
            f"Probabilities are calibrated on validation rows (temperature "
            f"{opened.calibration_temperature:.2f})."
        )
