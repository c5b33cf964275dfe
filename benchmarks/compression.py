"""Lossless compression of MNIST: ``python -m benchmarks.compression [--runs FOLDER]``.

Runs are trained on 55,000 digits on one thread; the 10,000 test digits are compressed with bits
back and decompressed. `binary` models binary digits, which are sampled once with their brightness
as the probability, and `gray` models 256 levels. `codes` is a VQ-VAE trained on the binary digits
that stores its code indices; decompression returns its reconstructions. The bound is the -ELBO of
the run on the same digits, estimated from one sample each, in bits per dimension (for codes, it is
their negative log-likelihood under the prior). PNG, gzip -9 and xz -9e (xz -6 for single files)
compress the same digits, with all digits in one file and with each digit in a separate file; binary
digits are stored as packed bits or as bytes, whichever compresses better. Our sizes are those of
complete files with checksums and initial bits, but without the run, just as the sizes of the other
programs are not counted. Seconds are measured on one core.

Runs that exist in the folder are used, or resumed. The results are written to
``results/compression.md``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.records import RESULTS, description, load, markdown_table, write_page
from varied import compression
from varied.compression.baselines import baseline_sizes
from varied.evaluate import psnr
from varied.runs import Run
from varied.training import prepare

#: The training arguments of each run.
RUNS: dict[str, dict[str, Any]] = {
    "binary": {"epochs": 12},
    "gray": {
        "epochs": 12,
        "batch_size": 128,
        "likelihood": {"name": "discretized-logistic-mixture", "n_components": 3},
    },
    "codes": {"model": "vq-vae", "epochs": 1, "latent": (16, 4, 4)},
}


def load_or_train(name: str, folder: Path) -> Run:
    path = folder / name
    if not (path / "model.safetensors").is_file():
        job = prepare("mnist", threads=1, seed=0, out=path, **RUNS[name])
        for _ in itertools.chain(job.train(), job.fit_prior()):
            pass
        job.write_model()
    return Run(path)


def measure(run: Run) -> dict[str, Any]:
    """Return the results of a run and of general-purpose programs on the test digits."""
    x, _ = run.model_input(run.split("test"))
    begin = time.process_time()
    packed = compression.compress(run.model, x)
    middle = time.process_time()
    restored, _ = compression.decompress(run.model, packed.data)
    end = time.process_time()
    array, size = run.codec.decode(x), x.numel() / 8
    result: dict[str, Any] = {
        "images": len(x),
        "training": f"{run.spec.plan.epochs:g} epochs",
        "bytes": len(packed.data),
        "rate": len(packed.data) / size,
        "bound": packed.model_bits / x.numel(),
        "start": packed.initial_bits,
        "write": middle - begin,
        "read": end - middle,
        "exact": bool(np.array_equal(run.codec.decode(restored), array)),
    }
    if not compression.is_lossless(run.model):
        result["psnr"] = psnr(x, restored.clamp(0, 1)).value
    one_file_each = Counter[str]()
    for image in array:
        one_file_each.update(baseline_sizes(image[None], xz_preset=6))
    for files, sizes in (("one file", baseline_sizes(array)), ("a file each", one_file_each)):
        result |= {f"{name}, {files}": n_bytes / size for name, n_bytes in sizes.items()}
    return result


def page(results: dict[str, dict[str, Any]]) -> list[str]:
    header = "digits|training|bytes|bits per dimension|bound|excess|write, s|read, s|restored"
    rows = [
        [
            name,
            row["training"],
            f"{row['bytes']:,}",
            f"**{row['rate']:.4f}**",
            f"{row['bound']:.4f}",
            f"{row['rate'] / row['bound'] - 1:.2%}",
            f"{row['write']:.0f}",
            f"{row['read']:.0f}",
            "every bit" if row["exact"] else f"at {row.get('psnr', 0):.1f} dB",
        ]
        for name, row in results.items()
    ]
    keys = next(iter(results.values()))
    programs = [key for end in ("one file", "a file each") for key in keys if key.endswith(end)]
    baselines = [[name, *(f"{row[key]:.4f}" for key in programs)] for name, row in results.items()]
    return [
        "# Lossless compression of MNIST",
        "",
        description(__doc__),
        "",
        *markdown_table(header.split("|"), rows),
        "",
        *markdown_table(["digits", *programs], baselines),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=Path, help="the folder of existing and new runs")
    parser.add_argument(
        "--only", choices=RUNS, action="append", help="train and measure only these runs"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        for name in args.only or RUNS:
            results = load("compression")
            results[name] = measure(load_or_train(name, args.runs or Path(temporary)))
            results = {key: results[key] for key in RUNS if key in results}
            (RESULTS / "compression.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
            write_page("compression", page(results))


if __name__ == "__main__":
    main()
