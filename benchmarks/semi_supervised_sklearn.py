"""Semi-supervised estimators on MNIST with 100 labels: ``python -m
benchmarks.semi_supervised_sklearn``.

10,000 binary training digits, ten per class with a label; error on the 10,000 test digits in
percent. `VAEClassifier` is M2 with a weight of 5 on the labels (alpha), a KL weight that falls from
5 to 1, and dropout in its classifier; with a calibration fraction of 0.2 it holds out a fifth of
the labels to calibrate its probabilities. Label spreading uses the seven nearest neighbors;
self-training adds the confident predictions of a support vector machine or a logistic regression to
the labels. SVM and logistic are these classifiers on the labeled rows alone.
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import mean
from typing import Any

import numpy as np
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from benchmarks.records import description, load, markdown_table, mean_std, save, write_page
from varied import VAEClassifier
from varied.data import read
from varied.data.labels import subsample_labels

NAME = "semi_supervised_sklearn"
ROWS, LABELS, STEPS = 10_000, 100, 6000


def vae_classifier(seed: int, steps: int, calibration_fraction: float = 0.0) -> VAEClassifier:
    return VAEClassifier(
        latent=6,
        dropout=0.5,
        net={"name": "mlp", "width": 256},
        likelihood="bernoulli",
        objective={"name": "m2", "alpha": 5.0, "beta": "linear(5, 1, 0.5)"},
        batch_size=64,
        lr=2e-3,
        steps=steps,
        calibration_fraction=calibration_fraction,
        random_state=seed,
    )


def supervised() -> dict[str, Any]:
    return {
        "SVM": CalibratedClassifierCV(SVC(), ensemble=False),
        "logistic": LogisticRegression(max_iter=1000),
    }


def semi_supervised(seed: int, steps: int) -> dict[str, Any]:
    self_training = {
        f"self-training, {name}": SelfTrainingClassifier(classifier)
        for name, classifier in supervised().items()
    }
    return {
        "VAEClassifier": vae_classifier(seed, steps),
        "VAEClassifier, calibrated": vae_classifier(seed, steps, calibration_fraction=0.2),
        "label spreading": LabelSpreading(kernel="knn", n_neighbors=7),
    } | self_training


def run_trial(seed: int, steps: int) -> dict[str, dict[str, float]]:
    """Return error, log loss and seconds of each classifier."""
    data = read("mnist")
    assert data.test is not None
    x = (data.x.reshape(len(data), -1) > 127).astype(np.float32)
    train = np.setdiff1d(np.arange(len(x)), data.test)
    rows = np.random.default_rng(seed).permutation(train)[:ROWS]
    y = subsample_labels(data.class_indices[rows], LABELS, seed=seed)
    test = x[data.test], data.class_indices[data.test]
    results = {
        name: measure(classifier, x[rows], y, *test)
        for name, classifier in semi_supervised(seed, steps).items()
    }
    labeled = y >= 0
    return results | {
        name: measure(classifier, x[rows][labeled], y[labeled], *test)
        for name, classifier in supervised().items()
    }


def measure(classifier: Any, x: Any, y: Any, test_x: Any, test_y: Any) -> dict[str, float]:
    begin = time.perf_counter()
    classifier.fit(x, y)
    parts = [classifier.predict_proba(part) for part in np.array_split(test_x, 10)]
    p = np.nan_to_num(np.concatenate(parts), nan=0.1)
    classes = classifier.classes_
    error = 100 * float((classes[p.argmax(1)] != test_y).mean())
    loss = float(log_loss(test_y, p.clip(1e-6), labels=classes))
    return {"error": error, "log_loss": loss, "seconds": time.perf_counter() - begin}


def page(results: dict[str, Any]) -> list[str]:
    rows = []
    for name in next(iter(results.values())):
        trials = [trial[name] for trial in results.values()]
        errors = [trial["error"] for trial in trials]
        loss, seconds = (mean(trial[key] for trial in trials) for key in ("log_loss", "seconds"))
        cells = [name, mean_std(errors), f"{loss:.3f}", f"{seconds:.0f}", str(len(errors))]
        rows.append((mean(errors), cells))
    header = ["classifier", "error, %", "log loss, nats", "seconds", "seeds"]
    table = markdown_table(header, [cells for _, cells in sorted(rows)])
    return ["# Semi-supervised estimators on MNIST", "", description(__doc__), "", *table]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for seed in args.seeds:
        results = run_trial(seed, args.steps)
        save(NAME, str(seed), results)
        print(seed, json.dumps(results), flush=True)
    write_page(NAME, page(load(NAME)))


if __name__ == "__main__":
    main()
