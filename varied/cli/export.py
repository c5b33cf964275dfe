"""`varied export`: write the encoder and the decoder of a run as ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from varied.cli import console
from varied.cli.options import RunName, option
from varied.cli.paths import open_run, unused_path


def export(
    run: RunName,
    onnx: Annotated[
        Path,
        option("FOLDER", "Output folder for encoder.onnx, decoder.onnx and interface.json."),
    ] = Path("onnx"),
) -> None:
    """Export the encoder and the decoder of a run to ONNX, for programs without PyTorch."""
    opened = open_run(run)
    with console.status("Exporting, and comparing with PyTorch"):
        exported = opened.export_onnx(unused_path(onnx))
    console.say(f"Wrote {exported.folder}: {', '.join(exported.files)}.")
    console.say(f"The largest difference from PyTorch is {exported.largest_error:.1e}.")
    for note in exported.notes:
        console.say(note)
