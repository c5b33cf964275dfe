"""Run the benchmark: ``python -m benchmarks.unfamiliar [TASK] [--only TABLE ...]``."""

from __future__ import annotations

import argparse

import torch

from benchmarks.records import load, save, write_page
from benchmarks.throughput import processor
from benchmarks.unfamiliar import (  # noqa: F401 (the modules of tables add their tables)
    detection,
    generators,
    imputation,
    packages,
    page,
    synthesis,
    tuned,
)
from benchmarks.unfamiliar.tables import SOURCES, UnavailableError, load_table

RECORD = "unfamiliar"
TASKS = {"detection": detection, "imputation": imputation, "synthesis": synthesis}


def run(task: str, name: str, rows: int, seeds: int) -> None:
    """Measure a table with each seed, unless its result is in the record."""
    keys = {f"{task}/{name}/{seed}": seed for seed in range(seeds)}
    missing = keys.keys() - load(RECORD).keys()
    try:
        table = load_table(name) if missing else None
    except (ImportError, UnavailableError) as error:
        print(f"{name} is skipped: {error}", flush=True)
        return
    for key in sorted(missing):
        result = TASKS[task].measure(table, rows, keys[key]) | {"processor": processor()}
        save(RECORD, key, result)
        print(key, result, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("task", nargs="?", choices=TASKS, help="all tasks by default")
    parser.add_argument("--only", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--rows", type=int, default=1200, help="maximum number of rows of a table")
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for task in [args.task] if args.task else TASKS:
        names = synthesis.TABLES if task == "synthesis" else SOURCES
        for name in (name for name in args.only if name in names):
            run(task, name, args.rows, args.seeds)
    write_page(RECORD, page.write(load(RECORD)))


if __name__ == "__main__":
    main()
