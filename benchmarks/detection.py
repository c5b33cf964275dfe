"""Anomalies in tables: ``python -m benchmarks.detection FOLDER``, a folder of ADBench tables.

Half of the normal rows are for training; the other half and all anomalies are for the test; at
most 12,000 rows, two seeds, the same settings for every table: those that a person gets by default.
AUROC of -log p(x), beside the distance to the fifth nearest training row, as PyOD's KNN has it by
default, and an isolation forest; both on columns that are standardised by the training rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from benchmarks.trained import RESULTS, keep
from varied import VAEDetector
from varied.evaluate import auroc

MOST, SEEDS, NEIGHBOURS = 12_000, 2, 5
SCORES = ("VAEDetector", "nearest neighbours", "isolation forest")


def halves(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return training rows, test rows and which of these are anomalies."""
    dice = np.random.default_rng(seed)
    kept = dice.permutation(len(x))[:MOST]
    x, y = x[kept].astype(np.float64), y[kept]
    normal, strange = np.flatnonzero(y == 0), np.flatnonzero(y == 1)
    half = len(normal) // 2
    scale = StandardScaler().fit(x[normal[:half]])
    rows = np.concatenate([normal[half:], strange])
    return scale.transform(x[normal[:half]]), scale.transform(x[rows]), y[rows]


def scored(x: np.ndarray, y: np.ndarray, seed: int) -> dict[str, float]:
    """Return the AUROC of each score, and the seconds of ours."""
    train, test, truth = halves(x, y, seed)
    begun = time.perf_counter()
    ours = VAEDetector(random_state=seed).fit(train)
    strange = -ours.score_samples(test)
    seconds = time.perf_counter() - begun
    far = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(train).kneighbors(test)[0][:, -1]
    forest = -IsolationForest(random_state=seed).fit(train).score_samples(test)
    found = {
        name: auroc(score, truth)
        for name, score in zip(SCORES, (strange, far, forest), strict=True)
    }
    return found | {"seconds": seconds}


def page(held: dict[str, Any]) -> str:
    """Return the page of all that were kept."""
    lines = ["# Anomalies in tables", "", (__doc__ or "").split("\n\n")[1].replace("\n", " "), ""]
    lines += [f"| table | {' | '.join(SCORES)} | seconds |", f"|{'---|' * (len(SCORES) + 2)}"]
    for name, found in sorted(held.items()):
        cells = [f"{found[score]:.3f}" for score in SCORES]
        lines.append(f"| {name} | {' | '.join(cells)} | {found['seconds']:.0f} |")
    means = [f"{mean(found[score] for found in held.values()):.3f}" for score in SCORES]
    lines += [f"| **mean of {len(held)}** | {' | '.join(means)} | |", ""]
    return "\n".join(lines)


def main() -> None:
    asks = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asks.add_argument("folder", type=Path, help="with .npz files of X and y, 1 for an anomaly")
    asks.add_argument("--only", nargs="+", default=[], help="tables whose name holds this")
    wanted = asks.parse_args()
    for path in sorted(wanted.folder.glob("*.npz")):
        name = path.stem.partition("_")[2]
        if wanted.only and not any(word in name for word in wanted.only):
            continue
        with np.load(path) as table:
            trials = [scored(table["X"], table["y"], seed) for seed in range(SEEDS)]
        keep("detection", name, {key: mean(trial[key] for trial in trials) for key in trials[0]})
        print(name, {key: round(mean(t[key] for t in trials), 3) for key in trials[0]}, flush=True)
    held = json.loads((RESULTS / "detection.json").read_text("utf-8"))
    (RESULTS / "detection.md").write_text(page(held), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
