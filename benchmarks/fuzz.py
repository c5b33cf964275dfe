"""Read randomly damaged files of every format: ``python -m benchmarks.fuzz``.

Valid files of each format, and the files of a run, are changed at random: bits are flipped, fields
of headers are set to the largest integers, bytes are deleted, repeated, or replaced by those of
other files. Each file is read in a child process with limits on time and memory. It must be read or
refused with one sentence; other errors, crashes, and readings without an answer are faults.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.mutations import mutate, run_files, seeds
from benchmarks.reading_process import ADDED_BYTES, FAULT, READ, REFUSED, Outcome, read_files
from benchmarks.records import description, load, markdown_table, save, write_page

#: The number of files between two lines of progress, and the time limit for each file in seconds.
_PROGRESS, _TIMEOUT = 1000, 20.0
#: The maximum number of faults that are listed.
_LISTED = 20


def inputs(folder: Path, n: int, seed: int) -> Iterator[tuple[str, Path]]:
    """Write damaged files one by one; yield the format of each and its path.

    A format is a file name, such as "images.npz" or, for the files of a run, "run/codec.json".

    Arguments:
        folder: The folder for the files, each of which is removed when the next one is requested.
        n: The number of files.
        seed: The random seed.
    """
    random = np.random.default_rng(seed)
    originals = dict(seeds()) | {f"run/{name}": data for name, data in run_files().items()}
    names = list(originals)
    # Reading molecules starts a process for each file.
    weights = np.array([0.02 if name.endswith(".smi") else 1.0 for name in names])
    for i in range(n):
        name = names[random.choice(len(names), p=weights / weights.sum())]
        other = originals[names[random.integers(len(names))]]
        contents = mutate(originals[name], random, other)
        path = folder / f"{i}-{Path(name).name}"
        if name.startswith("run/"):
            path = folder / f"{i}"
            path.mkdir()
            for each, data in run_files().items():
                (path / each).write_bytes(data)
            (path / Path(name).name).write_bytes(contents)
        else:
            path.write_bytes(contents)
        yield name, path


def fuzz(n: int, seed: int) -> dict[str, list[Outcome]]:
    """Return the outcomes for damaged files by format."""
    outcomes: dict[str, list[Outcome]] = {}
    formats: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def paths() -> Iterator[Path]:
            for kind, path in inputs(folder, n, seed):
                formats.append(kind)
                yield path
                _remove(path)

        for i, outcome in enumerate(read_files(paths(), folder, _TIMEOUT), 1):
            outcomes.setdefault(formats[-1], []).append(outcome)
            if outcome.result == FAULT:
                print(f"{formats[-1]}: {outcome.message}", flush=True)
            if i % _PROGRESS == 0:
                print(f"{i:,} files", flush=True)
    return outcomes


def _remove(path: Path) -> None:
    for file in path.iterdir() if path.is_dir() else ():
        file.unlink()
    path.rmdir() if path.is_dir() else path.unlink()


def summarize(outcomes: dict[str, list[Outcome]]) -> dict[str, dict[str, float]]:
    """Return the number of files with each result, and the maximum time and memory, by format."""
    return {
        kind: {
            **{
                result: Counter(o.result for o in rows)[result] for result in (READ, REFUSED, FAULT)
            },
            "seconds": max(o.seconds for o in rows),
            "megabytes": max(o.megabytes for o in rows),
        }
        for kind, rows in sorted(outcomes.items())
    }


def write() -> None:
    """Write the page of the benchmark from its record."""
    record = load("fuzz")
    table, total = record["formats"], record["total"]
    rows = [
        [name, *(f"{row[key]:,}" for key in (READ, REFUSED, FAULT)),
         f"{row['seconds']:.2f}", f"{row['megabytes']:.0f}"]
        for name, row in table.items()
    ]  # fmt: skip
    header = ["format", "read", "refused", "faults", "CPU seconds (maximum)", "MiB (maximum)"]
    faults = [f"- {kind}: `{message}`" for kind, message in record["faults"]["list"]]
    limits = (
        f"Each process may reserve {ADDED_BYTES / 2**30:g} GiB, and must answer in {_TIMEOUT:g} s. "
        f"With seed {total['seed']}, {total['files']:,} files were read in {total['seconds']:,} s "
        f"on one core: {total[READ]:,} were read, {total[REFUSED]:,} refused, and "
        f"{total[FAULT]:,} were faults."
    )
    lines = ["# Damaged files", "", description(__doc__), "", limits, ""]
    write_page("fuzz", [*lines, *markdown_table(header, rows), *([""] * bool(faults)), *faults])


def main() -> None:
    """Read damaged files, and save the number of faults."""
    parser = argparse.ArgumentParser(description="Read randomly damaged files of every format.")
    parser.add_argument("--runs", type=int, default=20_000, help="number of files")
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    options = parser.parse_args()
    start = time.perf_counter()
    outcomes = fuzz(options.runs, options.seed)
    formats = summarize(outcomes)
    total = {key: sum(row[key] for row in formats.values()) for key in (READ, REFUSED, FAULT)}
    total |= {"files": options.runs, "seed": options.seed}
    faults = [(k, o.message) for k, rows in outcomes.items() for o in rows if o.result == FAULT]
    save("fuzz", "formats", formats)
    save("fuzz", "total", total | {"seconds": round(time.perf_counter() - start)})
    save("fuzz", "faults", {"list": faults[:_LISTED]})
    write()
    print(f"{total[FAULT]:,} faults in {options.runs:,} files")


if __name__ == "__main__":
    main()
