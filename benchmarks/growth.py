"""Train on more and more images: ``python -m benchmarks.growth``.

`varied train` is run for 1,000 steps on .npy files of 60,000, 600,000 and 6,000,000 images of 28x28
pixels: MNIST images, repeated, with the index of the row in the upper left corner, so that no two
are equal. "Memory" is the peak resident memory of the process, including the report. "In memory"
reads the whole file before training, for comparison; its images per second are those of training
steps, as are the others. All runs use one thread, in an interleaved order.

Results are stored in ``results/growth.json`` and ``results/growth.md``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.records import description, load, markdown_table, save, write_page

NAME = "growth"
SIZES = (60_000, 600_000, 6_000_000)
PLAN: dict[str, Any] = {"steps": 1000, "threads": 1, "precision": "float32", "compile": "no"}
_CHUNK = 60_000


def write_images(path: Path, n: int) -> None:
    """Write n different images of 28x28 pixels to an .npy file."""
    from varied import read

    digits, rng = read("mnist").x[:_CHUNK], np.random.default_rng(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": (n, 28, 28)}
    # Not as a memory map, since the peak memory of a new process includes that of its parent.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, n, _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, n), dtype="<u4")
            block = digits[rng.permutation(_CHUNK)[: len(rows)]].copy()
            block[:, 0, :4] = rows.view(np.uint8).reshape(-1, 4)
            file.write(block.tobytes())


def train(path: Path, folder: Path, in_memory: bool) -> dict[str, Any]:
    """Train on the images of a file in this process, and return the measurements."""
    from varied.data import numpy_files
    from varied.runtime import describe_machine
    from varied.training import prepare

    if in_memory:
        numpy_files.MAX_IN_MEMORY = 2**60
    begin = time.perf_counter()
    job = prepare(path, out=folder, **PLAN)
    prepared = time.perf_counter() - begin
    for event in job.train():
        n_images = event.rows * event.state.step
    speed = n_images / job.state.seconds
    job.finish()
    return {
        "is_on_disk": job.data.is_on_disk,
        "seconds_to_first_step": prepared,
        "images_per_second": speed,
        "memory": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "processor": describe_machine()["processor"],
    }


def run(path: Path, in_memory: bool) -> dict[str, Any]:
    """Train in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--train", str(path), folder, str(int(in_memory))]
        output = subprocess.run(
            [sys.executable, "-m", "benchmarks.growth", *words],
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
    return dict(json.loads(output.splitlines()[-1]))


def page() -> list[str]:
    """Return the lines of the page."""
    record = load(NAME)
    rows = [
        [
            key,
            "disk" if row["is_on_disk"] else "memory",
            f"{row['seconds_to_first_step']:.1f}",
            f"{row['images_per_second']:,.0f}",
            f"{row['memory'] / 1e9:.2f}",
        ]
        for key, row in sorted(record.items(), key=lambda item: item[1]["n"])
    ]
    header = ["images", "rows are on", "s until training", "images/s", "memory, GB"]
    processors = sorted({row["processor"] for row in record.values()})
    return [
        "# More and more images",
        "",
        description(__doc__),
        "",
        f"Processor: {', '.join(processors)}.",
        "",
        *markdown_table(header, rows),
    ]


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--train", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--images", type=int, nargs="+", default=SIZES, help="numbers of images")
    args = parser.parse_args()
    if args.train:
        path, folder, in_memory = args.train
        print(json.dumps(train(Path(path), Path(folder) / "run", in_memory == "1")))
        return
    with tempfile.TemporaryDirectory() as folder:
        for n in args.images:
            path = Path(folder) / f"{n}.npy"
            write_images(path, n)
            for in_memory in (False, True) if n < SIZES[-1] else (False,):
                key = f"{n:,}" + ", in memory" * in_memory
                save(NAME, key, {"n": n, **run(path, in_memory)})
                write_page(NAME, page())
            path.unlink()


if __name__ == "__main__":
    main()
