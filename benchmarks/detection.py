"""Anomaly detection on tables: ``python -m benchmarks.detection FOLDER``, a folder of ADBench.

Half of the normal rows are used for training, and the other half and all anomalies are used for
testing, with at most 12,000 rows, two seeds, and the default settings for all tables. The table
shows the AUROC of `VAEDetector`, of its two parts (density and distance), of PyOD's KNN and VAE
detectors (3.6.7, default settings, in a separate environment) and of scikit-learn's isolation
forest. Columns are standardized with the statistics of the training rows. Seconds are the time to
fit `VAEDetector` and score the test rows on one thread. For ECG5000, the training data are the
normal heartbeats among the official 500 training rows, and the 4,500 test rows are scored.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import IsolationForest
from sklearn.preprocessing import StandardScaler

from benchmarks.adbench import parser, tables
from benchmarks.peers.environments import ROOT, python_of
from benchmarks.records import description, load, markdown_table, save, write_page
from varied import VAEDetector
from varied.evaluate import auroc

ECG = "ECG5000"
MAX_ROWS, SEEDS = 12_000, 2
SCORES = ("VAEDetector", "density", "distance", "PyOD KNN", "PyOD VAE", "isolation forest")
Data = tuple[np.ndarray, np.ndarray, np.ndarray]


def split_table(x: np.ndarray, y: np.ndarray, seed: int) -> Data:
    """Return training rows, test rows, and which of the test rows are anomalies."""
    rows = np.random.default_rng(seed).permutation(len(x))[:MAX_ROWS]
    x, y = x[rows].astype(np.float64), y[rows]
    normal, anomalous = np.flatnonzero(y == 0), np.flatnonzero(y == 1)
    half = len(normal) // 2
    scaler = StandardScaler().fit(x[normal[:half]])
    test = np.concatenate([normal[half:], anomalous])
    return scaler.transform(x[normal[:half]]), scaler.transform(x[test]), y[test]


def load_ecg(path: Path) -> Data:
    """Return normal training rows, test rows, and which of the test rows are not normal."""
    with np.load(path) as table:
        return table["x_train"][table["y_train"] == 1], table["x_test"], table["y_test"] != 1


def measure(train: np.ndarray, test: np.ndarray, y: np.ndarray, seed: int) -> dict[str, float]:
    """Return the AUROC of each detector, and the seconds of `VAEDetector`."""
    begin = time.perf_counter()
    detector = VAEDetector(random_state=seed).fit(train)
    scores = {"VAEDetector": -detector.score_samples(test)}
    seconds = time.perf_counter() - begin
    for method in ("density", "distance"):
        detector = VAEDetector(method=method, random_state=seed).fit(train)
        scores[method] = -detector.score_samples(test)
    forest = IsolationForest(random_state=seed).fit(train)
    scores["isolation forest"] = -forest.score_samples(test)
    scores |= pyod_scores(train, test)
    return {name: auroc(scores[name], y) for name in SCORES} | {"seconds": seconds}


def pyod_scores(train: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
    """Return the anomaly scores of PyOD's detectors."""
    python = python_of("pyod", "pyod==3.6.7", "torch", "tqdm")
    with TemporaryDirectory() as folder:
        trial, scores = (Path(folder) / name for name in ("trial.npz", "scores.npz"))
        np.savez(trial, train=train, test=test)
        command: list[str | Path] = [python, "-m", "benchmarks.peers.pyod", trial, scores]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        with np.load(scores) as arrays:
            return dict(arrays)


def page(results: dict[str, Any]) -> list[str]:
    ecg = {ECG: results.pop(ECG)} if ECG in results else {}
    means = {key: mean(row[key] for row in results.values()) for key in (*SCORES, "seconds")}
    rows = dict(sorted(results.items())) | {f"**mean of {len(results)}**": means} | ecg
    body = [
        [name, *(f"{row[score]:.3f}" for score in SCORES), f"{row['seconds']:.1f}"]
        for name, row in rows.items()
    ]
    table = markdown_table(["table", *SCORES, "seconds"], body)
    return ["# Anomaly detection on tables", "", description(__doc__), "", *table]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--ecg", type=Path, help="the .npz file of ECG5000")
    args = arguments.parse_args()
    torch.set_num_threads(1)
    for name, x, y in tables(args):
        record(name, [split_table(x, y, seed) for seed in range(SEEDS)])
    if args.ecg:
        record(ECG, [load_ecg(args.ecg)] * SEEDS)
    write_page("detection", page(load("detection")))


def record(name: str, data: list[Data]) -> None:
    """Save the means over the seeds."""
    trials = [measure(*arrays, seed) for seed, arrays in enumerate(data)]
    means = {key: mean(trial[key] for trial in trials) for key in trials[0]}
    save("detection", name, means)
    print(name, {key: round(value, 3) for key, value in means.items()}, flush=True)


if __name__ == "__main__":
    main()
