"""Digits as bits: ``python -m benchmarks.compression [--runs FOLDER]``.

Runs are trained on 55,000 digits of MNIST, on one thread, and the 10,000 test digits are written
by bits back and read again. `binary` sees each digit in black and white, drawn once with its
brightness as the chance; `gray` sees 256 levels. `codes` is a VQ-VAE of the binary digits: its
codes are kept, and what comes back is its reconstruction. The bound is minus the ELBO of each run
on the same digits by one draw each, in bits a dimension (of codes: what their prior gives). PNG,
gzip -9 and xz -9e (xz -6 for single files) have the same digits, all in one file, and each in a
file of its own; black and white is given to them as bits and as bytes, and the smaller file counts.
Bits of ours are those of the whole file, checksums and what bits back begins with among them; the
run is not counted, as the programs are not. Seconds are of one core.

Runs that are in the folder already are taken as they are, or go on where they stopped. The page is
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

from benchmarks.trained import RESULTS
from varied import compression
from varied.compression.baselines import baseline_sizes
from varied.evaluate import psnr
from varied.runs import Run
from varied.training import prepare

#: What is trained, and for how many passes over the digits.
RUNS: dict[str, dict[str, Any]] = {
    "binary": {"epochs": 12},
    "gray": {
        "epochs": 12,
        "batch_size": 128,
        "likelihood": {"name": "discretized-logistic-mixture", "n_components": 3},
    },
    "codes": {"model": "vq-vae", "epochs": 1, "latent": (16, 4, 4)},
}


def run_of(name: str, folder: Path) -> Run:
    """Return a run, trained where it is not there yet."""
    where = folder / name
    if not (where / "model.safetensors").is_file():
        job = prepare("mnist", threads=1, seed=0, out=where, **RUNS[name])
        for _ in itertools.chain(job.train(), job.fit_prior()):
            pass
        job.deliver()
    return Run(where)


def row(run: Run) -> dict[str, Any]:
    """Return what a run and the usual programs make of the test digits."""
    x, _ = run.as_model_input(run.split("test"))
    begun = time.process_time()
    packed = compression.compress(run.model, x)
    between = time.process_time()
    again, _ = compression.decompress(run.model, packed.data)
    ended = time.process_time()
    array, size = run.codec.decode(x), x.numel() / 8
    found: dict[str, Any] = {
        "pictures": len(x),
        "trained": f"{run.spec.plan.epochs:g} epochs",
        "bytes": len(packed.data),
        "rate": len(packed.data) / size,
        "bound": packed.model_bits / x.numel(),
        "start": packed.initial_bits,
        "write": between - begun,
        "read": ended - between,
        "exact": bool(np.array_equal(run.codec.decode(again), array)),
    }
    if not compression.is_lossless(run.model):
        found["psnr"] = psnr(x, again.clamp(0, 1)).value
    for how, rivals in (("one file", baseline_sizes(array)), ("a file each", one_file_each(array))):
        found |= {f"{name}, {how}": bytes_ / size for name, bytes_ in rivals.items()}
    return found


def one_file_each(x: np.ndarray) -> Counter[str]:
    """Return the total sizes of a file for each image."""
    sizes: Counter[str] = Counter()
    for i in range(len(x)):
        sizes.update(baseline_sizes(x[i : i + 1], xz_preset=6))
    return sizes


def page(rows: dict[str, dict[str, Any]]) -> str:
    """Return the tables."""
    lines = ["# Digits as bits", "", *(__doc__ or "").split("\n\n")[1].splitlines(), ""]
    head = "digits|training|bytes|bits a dimension|bound|over it|write, s|read, s|comes back"
    lines += [f"| {head.replace('|', ' | ')} |", "|" + "---|" * 9]
    for name, one in rows.items():
        back = "every bit" if one["exact"] else f"at {one.get('psnr', 0):.1f} dB"
        cells = (
            name,
            one["trained"],
            f"{one['bytes']:,}",
            f"**{one['rate']:.4f}**",
            f"{one['bound']:.4f}",
            f"{one['rate'] / one['bound'] - 1:.2%}",
            f"{one['write']:.0f}",
            f"{one['read']:.0f}",
            back,
        )
        lines.append("| " + " | ".join(cells) + " |")
    programs = [key for key in next(iter(rows.values())) if key.endswith("file")]
    programs += [key for key in next(iter(rows.values())) if key.endswith("each")]
    lines += ["", "| digits | " + " | ".join(programs) + " |", "|" + "---|" * (len(programs) + 1)]
    for name, one in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{one[key]:.4f}" for key in programs) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    take = argparse.ArgumentParser(description=__doc__)
    take.add_argument("--runs", type=Path, help="where runs are, or are kept")
    take.add_argument("--only", choices=RUNS, action="append", help="some of them")
    said = take.parse_args()
    torch.set_num_threads(1)
    file = RESULTS / "compression.json"
    with tempfile.TemporaryDirectory() as temporary:
        for name in said.only or RUNS:
            found = row(run_of(name, said.runs or Path(temporary)))
            rows = json.loads(file.read_text("utf-8")) if file.exists() else {}
            rows = {key: (rows | {name: found})[key] for key in RUNS if key in rows | {name: found}}
            file.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
            (RESULTS / "compression.md").write_text(page(rows), "utf-8")


if __name__ == "__main__":
    main()
