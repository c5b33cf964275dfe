"""Draw samples next to reconstructions: ``python -m benchmarks.image_samples [NAME ...]``.

Each model has default settings and one thread. A path to a folder or an archive of images is also
accepted; its figure is written to the current folder.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import varied
from benchmarks.records import load, save, write_page
from benchmarks.throughput import processor
from varied import plots
from varied.training.sample_tables import sample_tables

RECORD = "image_samples"
IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images" / "samples"
NAMES = ("mnist", "fashion-mnist", "omniglot", "sprites-color", "landscapes", "rings")
#: The number of images of each set, and of images in a row of a figure.
N_IMAGES, N_SHOWN = 8000, 12
INTRO = """# Samples next to reconstructions

The default model of each set of images is trained on one thread; `landscapes` and `rings` are
generated drawings. The mean colors (0-255) and the Fréchet distances to test images are those of
the report of a run; the distance of training images is that of two samples from the data."""


def landscapes(n: int = 2000, side: int = 64, seed: int = 0) -> np.ndarray[Any, Any]:
    """Return color images of a sun above hills, with shape (n, side, side, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    images = np.empty((n, side, side, 3))
    for image in images:
        top, horizon = rng.uniform([60, 90, 150], [130, 160, 230]), [235, 215, 190]
        image[:] = top + y[..., None] * (horizon - top)
        sun = np.hypot(x - rng.uniform(0.1, 0.9), y - rng.uniform(0.1, 0.4))
        image[sun < rng.uniform(0.05, 0.12)] = [250, 225, 120]
        for depth in range(3):
            height = 0.5 + 0.15 * depth + 0.06 * np.sin(2 * np.pi * (x + rng.random()))
            height += 0.03 * np.sin(4 * np.pi * (x + rng.random()))
            image[y > height] = np.array([95, 140, 80]) * (1 - 0.25 * depth) * rng.uniform(0.9, 1.1)
    return images.clip(0, 255).astype(np.uint8)


def rings(n: int = 2000, side: int = 32, seed: int = 0) -> np.ndarray[Any, Any]:
    """Return gray images of one to three rings, with shape (n, side, side)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    images = np.zeros((n, side, side))
    for image in images:
        for _ in range(rng.integers(1, 4)):
            distance = np.hypot(x - rng.uniform(0.3, 0.7), y - rng.uniform(0.3, 0.7))
            line = np.exp(-(((distance - rng.uniform(0.08, 0.28)) / 0.03) ** 2))
            image[:] = np.maximum(image, 255 * line)
    return images.astype(np.uint8)


def measure(source: str, minutes: float, out: Path) -> dict[str, Any]:
    """Train the default model, draw a figure, and return the mean colors and the distances."""
    generators = {"landscapes": landscapes, "rings": rings}
    data = varied.read(generators[source]() if source in generators else source)
    with tempfile.TemporaryDirectory() as folder:
        run = varied.train(
            data.head(N_IMAGES), out=Path(folder) / "run", minutes=minutes, threads=1
        )
        originals, reconstructions = run.reconstruct(n=N_SHOWN).images
        samples = run.sample(2 * N_SHOWN).images
        rows = [("test images", originals), ("reconstructions", reconstructions)]
        rows += [("samples", samples[:N_SHOWN]), ("", samples[N_SHOWN:])]
        plots.side_by_side(rows, out)
        table = next(sample_tables(run))
        evaluation = run.evaluate()
    measured = {name: {"color": color, "frechet": frechet} for name, color, frechet in table.rows}
    return measured | {
        "network": run.spec.net.name,
        "elbo": evaluation.elbo.value,
        "minutes": minutes,
        "processor": processor(),
    }


def page(record: dict[str, Any]) -> list[str]:
    """Return the lines of the page."""
    names = ("test images", "training images", "reconstructions", "samples")
    lines = [INTRO, "", "| set | minutes | images | mean color | Fréchet distance |"]
    lines.append("|---|---|---|---|---|")
    for source, result in record.items():
        for name in names:
            color, distance = result[name]["color"], result[name]["frechet"]
            minutes = f"{result['minutes']:g}"
            lines.append(f"| {source} | {minutes} | {name} | {color} | {distance} |")
    processors = ", ".join(sorted({result["processor"] for result in record.values()}))
    lines += ["", f"Processor: {processors}.", ""]
    lines += [f"![{name}](../../docs/images/samples/{name}.png)" for name in record]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sources", nargs="*", default=NAMES, metavar="NAME")
    parser.add_argument("--minutes", type=float, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    IMAGES.mkdir(parents=True, exist_ok=True)
    for source in args.sources:
        is_named = source in NAMES
        out = IMAGES / f"{source}.png" if is_named else Path(f"{Path(source).stem}.png")
        result = measure(source, args.minutes, out)
        print(source, result, flush=True)
        if is_named:
            save(RECORD, source, result)
    write_page(RECORD, page(load(RECORD)))


if __name__ == "__main__":
    main()
