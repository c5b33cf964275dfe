"""Measure `VAEDetector` on rows with missing values after it was trained on complete rows.

    python -m benchmarks.detection_missing

Prints the false-positive rate and the AUROC on noisy sine waves.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from varied.estimators import VAEDetector

LENGTH, PERIOD, NOISE = 64, 20, 0.1


def waves(n: int, seed: int, noise: float = NOISE) -> np.ndarray:
    """Return sine waves with random phases and amplitudes, with shape (N, 64)."""
    random = np.random.default_rng(seed)
    phase, amplitude = random.uniform(0, 2 * np.pi, (n, 1)), random.uniform(0.8, 1.2, (n, 1))
    waves = amplitude * np.sin(2 * np.pi * np.arange(LENGTH) / PERIOD + phase)
    return np.asarray(waves + noise * random.normal(size=waves.shape))


def hide(x: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return rows in which a fraction of the values is missing at random."""
    is_missing = np.random.default_rng(seed).random(x.shape) < fraction
    return np.where(is_missing, np.nan, x)


def main() -> None:
    """Print a line for each score and fraction of missing values."""
    normal, noisy = waves(200, seed=1), waves(100, seed=2, noise=1.6 * NOISE)
    is_anomaly = np.repeat([0, 1], [len(normal), len(noisy)])
    for method in ("both", "density", "distance"):
        detector = VAEDetector(method=method, random_state=0).fit(waves(600, seed=0))
        for fraction in (0.0, 0.1, 0.3):
            rows = [hide(normal, fraction, seed=3), hide(noisy, fraction, seed=4)]
            scores = -detector.decision_function(np.concatenate(rows))
            fpr, auroc = (scores[is_anomaly == 0] > 0).mean(), roc_auc_score(is_anomaly, scores)
            print(f"{method:9} {fraction:.0%} missing: FPR {fpr:.3f}, AUROC {auroc:.3f}")


if __name__ == "__main__":
    main()
