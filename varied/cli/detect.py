"""`varied detect`: detect anomalies and explain their scores."""

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
        float, option("RATE", "Maximum false-positive rate of the threshold.")
    ] = 0.05,
    samples: Annotated[
        int | None,
        option(
            "K",
            "Number of importance samples per example; by default 5 for tables, 100 otherwise.",
            least=1,
        ),
    ] = None,
    out: Annotated[
        Path, option("FILE", "Output: a table of scores, or a .png of the most anomalous images.")
    ] = Path("detected.csv"),
) -> None:
    """Detect anomalies and explain their scores."""
    opened = open_run(run)
    with console.status("Scoring"):
        report = opened.detect(source, method=method, samples=samples, max_fpr=max_fpr)
        path = report.save(unused_path(out))
    for note in report.notes:
        console.say(note)
    threshold = report.threshold
    if threshold is None:
        console.say(
            "There are too few validation rows for a threshold that guarantees the false-positive "
            "rate; use the p-values instead."
        )
    else:
        console.say(
            f"{report.is_anomaly.sum():,} of {len(report.score):,} examples are anomalous: score > "
            f"{threshold.value:.3g} (false-positive rate <= {100 * threshold.bound:.1f}% at "
            f"{100 * threshold.confidence:.0f}% confidence, from {threshold.n:,} held-out rows)."
        )
    is_image = path.suffix.lower() == ".png"
    content = (
        "images, each above a map of the reasons for its score"
        if is_image
        else "scores, p-values and reasons"
    )
    console.say(f"Wrote {path}: {content}, most anomalous first.")
