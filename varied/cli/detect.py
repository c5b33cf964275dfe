"""`varied detect`: anomaly scores and their reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from varied.cli import console
from varied.cli.options import RunName, Source, option
from varied.cli.paths import open_run, unused_path


def detect(
    run: RunName,
    source: Source = None,
    method: Annotated[
        str, option("METHOD", "Score: density (-log p), distance (to training rows) or both.")
    ] = "both",
    max_fpr: Annotated[
        float, option("RATE", "Largest false-positive rate of the threshold.")
    ] = 0.05,
    samples: Annotated[int, option("K", "Importance samples per example.", least=1)] = 100,
    out: Annotated[
        Path, option("FILE", "Table of scores; a .png shows the most anomalous images instead.")
    ] = Path("detected.csv"),
) -> None:
    """Detect anomalies, and explain each score."""
    opened = open_run(run)
    with console.status("Scoring"):
        report = opened.detect(source, method=method, samples=samples, max_fpr=max_fpr)
        path = report.save(unused_path(out))
    for note in report.notes:
        console.say(note)
    threshold = report.threshold
    if threshold is None:
        console.say(
            "There are too few validation rows for a threshold with a guaranteed false-positive "
            "rate; use the p-values."
        )
    else:
        console.say(
            f"{report.is_anomaly.sum():,} of {len(report.score):,} are anomalous: score > "
            f"{threshold.value:.3g} (false-positive rate <= {threshold.bound:.1%} at "
            f"{threshold.confidence:.0%} confidence, from {threshold.n:,} held-out rows)."
        )
    is_image = path.suffix.lower() == ".png"
    content = (
        "images, each above a map of its reasons" if is_image else "scores, p-values and reasons"
    )
    console.say(f"Wrote {path}: {content}, most anomalous first.")
