"""A hundred labels: ``python -m benchmarks.few_labels``, `VAEClassifier` beside scikit-learn's own.

10,000 training digits, black and white, of which ten of each class have a label; the error on the
10,000 test digits, in per cent. `VAEClassifier` is M2 with a normalizing factor on the labels
(alpha 5), a KL that falls from 5 to 1, and dropout in its classifier; with
`calibration_fraction=0.2` it holds out a fifth of the labels to calibrate its probabilities. Label
spreading has the seven nearest neighbors, self-training takes a support vector machine's or a
logistic regression's own sure guesses for labels. SVM and logistic are those classifiers by the
labeled rows alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from benchmarks.trained import RESULTS, keep
from varied import VAEClassifier
from varied.data import read
from varied.data.labels import subsample_labels

ROWS, LABELS, STEPS = 10_000, 100, 6000

CALIBRATED = "VAEClassifier, calibrate=0.2"


def ours(seed: int, steps: int, calibrate: float = 0.0) -> VAEClassifier:
    return VAEClassifier(
        latent=6,
        dropout=0.5,
        net={"name": "mlp", "width": 256},
        likelihood="bernoulli",
        objective={"name": "m2", "alpha": 5.0, "beta": "linear(5, 1, 0.5)"},
        batch_size=64,
        lr=2e-3,
        steps=steps,
        calibration_fraction=calibrate,
        random_state=seed,
    )


def alone() -> dict[str, Any]:
    """Return classifiers that learn from labeled rows only."""
    return {
        "SVM": CalibratedClassifierCV(SVC(), ensemble=False),
        "logistic": LogisticRegression(max_iter=1000),
    }


def rivals() -> dict[str, Any]:
    """Return scikit-learn's semi-supervised classifiers."""
    spreading = {"label spreading": LabelSpreading(kernel="knn", n_neighbors=7)}
    taught = {
        f"self-training, {name}": SelfTrainingClassifier(one) for name, one in alone().items()
    }
    return spreading | taught


def trial(seed: int, steps: int) -> dict[str, dict[str, float]]:
    """Return error, log loss and seconds of each classifier."""
    items = read("mnist")
    assert items.labels is not None
    x = (items.x.reshape(len(items.x), -1) > 127).astype(np.float32)
    test = items.test
    train = np.setdiff1d(np.arange(len(x)), test)
    chosen = np.random.default_rng(seed).permutation(train)[:ROWS]
    y = subsample_labels(items.labels[chosen], LABELS, seed=seed)
    known = y >= 0
    found = {}
    own = {"VAEClassifier": ours(seed, steps), CALIBRATED: ours(seed, steps, 0.2)}
    for name, one in {**own, **rivals()}.items():
        found[name] = judged(one, x[chosen], y, x[test], items.labels[test])
    for name, one in alone().items():
        found[name] = judged(one, x[chosen][known], y[known], x[test], items.labels[test])
    return found


def judged(one: Any, x: Any, y: Any, test: Any, truth: Any) -> dict[str, float]:
    begun = time.perf_counter()
    one.fit(x, y)
    chances = np.concatenate([one.predict_proba(part) for part in np.array_split(test, 10)])
    error = 100 * float((one.classes_[chances.argmax(1)] != truth).mean())
    loss = float(log_loss(truth, np.nan_to_num(chances, nan=0.1).clip(1e-6), labels=one.classes_))
    return {"error": error, "log_loss": loss, "seconds": time.perf_counter() - begun}


def page(held: dict[str, Any]) -> str:
    """Return the page of all that were kept."""
    lines = ["# A hundred labels", "", (__doc__ or "").split("\n\n")[1].replace("\n", " "), ""]
    lines += ["| | error, % | log loss, nats | seconds | seeds |", "|---|---|---|---|---|"]
    names = next(iter(held.values()))
    for name in sorted(names, key=lambda name: mean(one[name]["error"] for one in held.values())):
        each = [found[name] for found in held.values()]
        errors = [one["error"] for one in each]
        spread = f" ± {stdev(errors):.2f}" if len(errors) > 1 else ""
        loss, seconds = (mean(one[key] for one in each) for key in ("log_loss", "seconds"))
        lines.append(
            f"| {name} | {mean(errors):.2f}{spread} | {loss:.3f} | {seconds:.0f} | {len(errors)} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    asks = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asks.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asks.add_argument("--steps", type=int, default=STEPS)
    wanted = asks.parse_args()
    torch.set_num_threads(1)
    for seed in wanted.seeds:
        found = trial(seed, wanted.steps)
        keep("n_labels", str(seed), found)
        print(seed, json.dumps(found), flush=True)
    held = json.loads((RESULTS / "n_labels.json").read_text("utf-8"))
    (RESULTS / "n_labels.md").write_text(page(held), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
