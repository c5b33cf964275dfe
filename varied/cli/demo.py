"""`varied demo`: train on handwritten digits for a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from varied.cli import console
from varied.cli.options import Seed, option
from varied.cli.run_job import OutputMode, prepare_job, run_job


def demo(
    minutes: Annotated[float, option("M", "Training time in minutes.")] = 1.0,
    out: Annotated[Path, option("FOLDER", "Run folder.")] = Path("demo"),
    seed: Seed = 0,
) -> None:
    """Train a VAE on handwritten digits for a minute; nothing is downloaded."""
    folder = _unfinished_folder(out)
    if folder != out:
        console.say(f"{out} contains a finished demo; writing to {folder} instead.")
    mode = OutputMode()
    choices = {"minutes": minutes, "seed": seed}
    run_job(prepare_job("mnist", "vae", folder, choices, mode), mode)


def _unfinished_folder(out: Path) -> Path:
    """Return the first of demo, demo-2, demo-3, ... that does not contain a finished run."""
    folder, number = out, 1
    while (folder / "report.html").exists():
        number += 1
        folder = out.with_name(f"{out.name}-{number}")
    return folder
