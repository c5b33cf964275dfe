"""The tables of a folder, for the benchmarks that go over all of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def asks(about: str) -> argparse.ArgumentParser:
    """Return a parser that asks for a folder of tables, and which of them."""
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="with .npz files of X and y, 1 for an anomaly")
    parser.add_argument("--only", nargs="+", default=[], help="tables whose name holds this")
    return parser


def tables(wanted: argparse.Namespace) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the name of each table, its rows (N, D), and which of them are anomalies (N)."""
    for path in sorted(wanted.folder.glob("*.npz")):
        name = path.stem.partition("_")[2]
        if not wanted.only or any(word in name for word in wanted.only):
            with np.load(path) as table:
                yield name, table["X"], table["y"]
