"""`varied decompress`: restore a compressed file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from varied.cli import console
from varied.cli.options import RunName, option
from varied.cli.paths import open_run, unused_path


def decompress(
    run: RunName,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file written by `varied compress`.")
    ],
    out: Annotated[
        Path | None,
        option("PATH", "Output: a folder with one file per example, or an .npy file."),
    ] = None,
) -> None:
    """Decompress a file written by `varied compress` with the same run."""
    opened = open_run(run)
    with console.status("Decompressing"):
        restored = opened.decompress(file)
        path = restored.save(unused_path(out or Path(f"data{restored.folder_ending}")))
    console.say(f"Wrote {path}: {len(restored):,} examples.")
