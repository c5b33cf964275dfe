"""Anomalies in tables: ``python -m benchmarks.detection FOLDER``, a folder of ADBench tables.

Half of the normal rows are for training; the other half and all anomalies are for the test; at
most 12,000 rows, two seeds, the same settings for every table: those that a person gets by default.
AUROC of `VAEDetector` and of its two parts alone, the density and the distance, beside PyOD's KNN
and VAE (3.6.7, their defaults, in an environment of its own) and scikit-learn's isolation forest;
all on columns that are standardized by the training rows. The seconds are those of a fit and all
scores of `VAEDetector` on one thread. Heart beats (ECG5000) are learned from the normal ones among
their official 500 training rows, and told apart among the 4,500 test rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import IsolationForest
from sklearn.preprocessing import StandardScaler

from benchmarks.peers.environments import ROOT, python_of
from benchmarks.tables import asks, tables
from benchmarks.trained import RESULTS, keep
from varied import VAEDetector
from varied.evaluate import auroc

BEATS = "ECG5000"
MOST, SEEDS = 12_000, 2
SCORES = ("VAEDetector", "density", "distance", "PyOD KNN", "PyOD VAE", "isolation forest")


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


def beats(table: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return normal training rows, test rows and which of these are not normal."""
    return table["x_train"][table["y_train"] == 1], table["x_test"], table["y_test"] != 1


def scored(train: np.ndarray, test: np.ndarray, truth: np.ndarray, seed: int) -> dict[str, float]:
    """Return the AUROC of each score, and the seconds of ours."""
    begun = time.perf_counter()
    ours = VAEDetector(random_state=seed).fit(train)
    whole = -ours.score_samples(test)
    seconds = time.perf_counter() - begun
    alone = {
        by: -VAEDetector(method=by, random_state=seed).fit(train).score_samples(test)
        for by in SCORES[1:3]
    }
    forest = -IsolationForest(random_state=seed).fit(train).score_samples(test)
    found = {"VAEDetector": whole, "isolation forest": forest} | alone | peers(train, test)
    return {name: auroc(found[name], truth) for name in SCORES} | {"seconds": seconds}


def peers(train: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of PyOD's detectors."""
    python = python_of("pyod", "pyod==3.6.7", "torch", "tqdm")
    with TemporaryDirectory() as folder:
        trial, scores = (Path(folder) / name for name in ("trial.npz", "scores.npz"))
        np.savez(trial, train=train, test=test)
        command = [python, "-m", "benchmarks.peers.pyod", trial, scores]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        with np.load(scores) as found:
            return dict(found)


def page(held: dict[str, Any]) -> str:
    """Return the page of all that were kept."""
    lines = ["# Anomalies in tables", "", (__doc__ or "").split("\n\n")[1].replace("\n", " "), ""]
    lines += [f"| table | {' | '.join(SCORES)} | seconds |", f"|{'---|' * (len(SCORES) + 2)}"]
    beats = held.pop(BEATS, None)
    for name, found in sorted(held.items()):
        lines.append(row(name, found))
    means = {key: mean(found[key] for found in held.values()) for key in (*SCORES, "seconds")}
    lines += [row(f"**mean of {len(held)}**", means)]
    lines += [row(BEATS, beats), ""] if beats else [""]
    return "\n".join(lines)


def row(name: str, found: dict[str, float]) -> str:
    """Return a line of the table."""
    cells = [f"{found[score]:.3f}" for score in SCORES]
    return f"| {name} | {' | '.join(cells)} | {found['seconds']:.1f} |"


def main() -> None:
    parser = asks(__doc__ or "")
    parser.add_argument("--beats", type=Path, help="the .npz of ECG5000")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    for name, x, y in tables(wanted):
        trials = [halves(x, y, seed) for seed in range(SEEDS)]
        told(name, [scored(*trial, seed) for seed, trial in enumerate(trials)])
    if wanted.beats:
        with np.load(wanted.beats) as table:
            trial = beats(table)
        told(BEATS, [scored(*trial, seed) for seed in range(SEEDS)])
    held = json.loads((RESULTS / "detection.json").read_text("utf-8"))
    (RESULTS / "detection.md").write_text(page(held), "utf-8")


def told(name: str, trials: list[dict[str, float]]) -> None:
    """Keep the means over the seeds."""
    found = {key: mean(trial[key] for trial in trials) for key in trials[0]}
    keep("detection", name, found)
    print(name, {key: round(value, 3) for key, value in found.items()}, flush=True)


if __name__ == "__main__":
    sys.exit(main())
