"""Measure how anomalies among the training rows of `VAEDetector` affect it.

    python -m benchmarks.detection_cluster [FOLDER]

Prints the AUROC if 5% of the training rows are anomalies, which are scattered or form a cluster,
and if they are removed. With the folder of the ADBench tables, also prints the number of halves of
their normal rows in which `varied.evaluate.separate_cluster` returns a cluster.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from varied.errors import DataWarning
from varied.estimators import VAEDetector
from varied.evaluate import separate_cluster

COLUMNS, HALVES = 10, 10


def detect(training: np.ndarray, rows: np.ndarray, is_anomaly: np.ndarray) -> float:
    """Return the AUROC of a detector."""
    detector = VAEDetector(random_state=0, steps=800, samples=10, max_fpr=0.2).fit(training)
    return float(roc_auc_score(is_anomaly, -detector.score_samples(rows)))


def trim(training: np.ndarray, fraction: float = 0.1) -> np.ndarray:
    """Return the rows without those that have the highest scores; each half scores the other."""
    options = {"random_state": 0, "steps": 800, "samples": 10, "max_fpr": 0.2}
    scores = np.empty(len(training))
    for part in (slice(0, None, 2), slice(1, None, 2)):
        other = np.ones(len(training), bool)
        other[part] = False
        scores[part] = -VAEDetector(**options).fit(training[other]).score_samples(training[part])
    return training[scores <= np.quantile(scores, 1 - fraction)]


def measure(kind: str) -> str:
    """Return the results for anomalies that are scattered or form a cluster."""
    random = np.random.default_rng(0)
    factors, center = random.normal(size=(4, COLUMNS)), 4 * random.normal(size=COLUMNS)

    def normal(n: int) -> np.ndarray:
        noise = random.normal(size=(n, COLUMNS)) / 2
        return np.asarray(random.normal(size=(n, 4)) @ factors + noise)

    def anomalous(n: int) -> np.ndarray:
        noise = random.normal(size=(n, COLUMNS))
        return np.asarray(3 * noise if kind == "scattered" else center + 0.2 * noise)

    training = np.concatenate([normal(600), anomalous(32)])
    rows, is_anomaly = np.concatenate([normal(300), anomalous(100)]), np.repeat([0, 1], [300, 100])
    options = {
        "all rows": training,
        "without the separate cluster": training[~separate_cluster(training)],
        "without the highest scores": trim(training),
        "without anomalies": training[:600],
    }
    results = [f"{name} {detect(x, rows, is_anomaly):.3f}" for name, x in options.items()]
    return f"{kind}: AUROC with {', '.join(results)}"


def main() -> None:
    """Print the results."""
    warnings.simplefilter("ignore", DataWarning)
    for kind in ("scattered", "cluster"):
        print(measure(kind), flush=True)
    for path in sorted(Path(sys.argv[1]).glob("*.npz")) if len(sys.argv) > 1 else ():
        with np.load(path) as table:
            x, is_anomaly = table["X"], table["y"] == 1
        normal = x[~is_anomaly]
        halves = (
            np.random.default_rng(seed).permutation(normal)[: len(normal) // 2]
            for seed in range(HALVES)
        )
        n = sum(bool(separate_cluster(half).any()) for half in halves)
        cluster = separate_cluster(x)
        anomalies = f"{is_anomaly[cluster].sum():,} of which are anomalies"
        print(f"{path.stem}: {n} of {HALVES} halves; {cluster.sum():,} of all rows, {anomalies}")


if __name__ == "__main__":
    main()
