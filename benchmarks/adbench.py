"""The tables of ADBench, for the benchmarks that run on all of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return an argument parser for the folder of tables and a selection of tables."""
    arguments = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    arguments.add_argument(
        "folder", type=Path, help=".npz files with X and y, where y = 1 is an anomaly"
    )
    arguments.add_argument(
        "--only", nargs="+", default=[], help="tables whose name contains one of these"
    )
    return arguments


def tables(args: argparse.Namespace) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the name of each table, its rows (N, D), and which of them are anomalies (N)."""
    for path in sorted(args.folder.glob("*.npz")):
        name = path.stem.partition("_")[2]
        if not args.only or any(word in name for word in args.only):
            with np.load(path) as table:
                yield name, table["X"], table["y"]
