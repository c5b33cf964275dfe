"""`varied compress`: compress data losslessly, or store the codes of a VQ-VAE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from varied.cli import console
from varied.cli.options import RunName, Source, option
from varied.cli.paths import open_run, unused_path

if TYPE_CHECKING:
    from varied.runs.compression import CompressedData


def compress(
    run: RunName,
    source: Source = None,
    out: Annotated[
        Path, option("FILE", "Output file; it can be decompressed only with this run.")
    ] = Path("data.varied"),
) -> None:
    """Compress data losslessly with a run, or store the codes of a VQ-VAE."""
    opened = open_run(run)
    with console.status("Compressing and verifying"):
        compressed = opened.compress(source)
        path = compressed.save(unused_path(out))
    console.say(f"Wrote {path}: {len(compressed):,} examples in {len(compressed.data):,} bytes.")
    for sentence in summary(compressed):
        console.say(sentence)
    console.say(
        f"Next: varied decompress {run} {path}. Keep the run: it is required "
        "to decompress the file."
    )


def summary(compressed: CompressedData) -> list[str]:
    """Return sentences that compare a compressed file with the ELBO and with other formats."""
    overhead = compressed.rate / compressed.bound - 1
    reference = "negative ELBO" if compressed.lossless else "negative log-likelihood of the codes"
    others = ", ".join(f"{name} {rate:.4f}" for name, rate in compressed.others.items())
    sentences = [
        f"{compressed.rate:.4f} bits per dimension; the {reference} is {compressed.bound:.4f} "
        f"({100 * overhead:+.2f}%).",
        f"Other formats for the same data, in bits per dimension: {others}.",
    ]
    if compressed.binarized:
        sentences.append("The run binarizes its images, so the binary images were compressed.")
    if not compressed.lossless:
        psnr = "" if compressed.psnr is None else f", with a PSNR of {compressed.psnr:.1f} dB"
        sentences.append(
            f"Decompression returns reconstructions from {compressed.bits:.0f} bits per "
            f"example{psnr}."
        )
    return sentences
