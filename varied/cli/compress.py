"""`varied compress` and `decompress`: data as small as a run can tell them, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from varied.cli import console
from varied.cli.paths import open_run, unused_path
from varied.cli.show import RunName, Source

if TYPE_CHECKING:
    from varied.runs.compression import CompressedData

__all__ = ["compress", "decompress"]


def compress(
    run: RunName,
    source: Source = None,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The file to write; only this run can read it.")
    ] = Path("data.varied"),
) -> None:
    """Write data as small as the run can tell them: all of them, or the codes of a VQ-VAE."""
    here = open_run(run)
    with console.status("Writing, and reading back"):
        found = here.compress(source)
        path = found.save(unused_path(out))
    console.say(f"Wrote {path}: {len(found):,} data in {len(found.data):,} bytes.")
    for sentence in told(found):
        console.say(sentence)
    console.say(f"Next: varied decompress {run} {path}; keep the run, which alone can read it.")


def told(found: CompressedData) -> list[str]:
    """Return what a person should know of a file, a sentence each."""
    over = found.rate / found.bound - 1
    known = "the run's bound" if found.lossless else "by its prior, the codes need"
    said = [f"{found.rate:.4f} bits a dimension; {known} {found.bound:.4f}: {over:+.2%}."]
    others = ", ".join(f"{name} {rate:.4f}" for name, rate in found.others.items())
    said.append(f"The same data in one file, in bits a dimension: {others}.")
    if found.binarized:
        kept = "is kept" if found.lossless else "is meant by the same data"
        said.append(f"The run sees its pictures in black and white, and that is what {kept}.")
    if not found.lossless:
        near = "" if found.psnr is None else f", at {found.psnr:.1f} dB of PSNR"
        said.append(f"What comes back is what the run makes of {found.bits:.0f} bits{near}.")
    return said


def decompress(
    run: RunName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `varied compress` wrote.")],
    out: Annotated[
        Path,
        typer.Option(metavar="NAME", help="A folder for pictures, one file each; .npy for all."),
    ] = Path("data"),
) -> None:
    """Read back what `varied compress` wrote, by the run that wrote it."""
    here = open_run(run)
    with console.status("Reading"):
        made = here.decompress(file)
        if made.kind != "image" and not out.suffix:
            out = out.with_suffix(".npy")
        path = made.save(unused_path(out))
    console.say(f"Wrote {path}: {len(made):,} data, as the run sees them.")
