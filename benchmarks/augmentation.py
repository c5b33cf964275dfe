"""Augment few labeled digits with generated ones: ``python -m benchmarks.augmentation``.

For each draw of labels (10 or 20 per class), a small convolutional network is trained on the
labeled digits alone, on these with 500 shifted and rotated digits per class, and on these with 500
generated digits per class. The conditional VAE is trained on the labeled digits
alone. M2 is trained on all 60,000 training digits, with these labels, so it has seen far more data;
its own classifier is included. Balanced accuracy is measured on the 10,000 test digits, which are
used for nothing else.

Each trial is saved in ``results/augmentation.json`` as soon as it ends, and is not repeated;
``results/augmentation.md`` shows all trials. All trials use one thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score

from benchmarks.labeled_digits import CLASSES, Digits
from benchmarks.records import RESULTS, markdown_table
from varied import functional

PER_CLASS = 500
PLAN: dict[str, Any] = {"threads": 1, "compile": "no", "precision": "bfloat16"}
NET = {"name": "mlp", "width": 256, "depth": 2}

MODELS: dict[str, dict[str, Any]] = {
    "conditional VAE": {
        "net": NET,
        "latent": 8,
        "plan": PLAN | {"batch_size": 64, "lr": 2e-3, "steps": 1000},
    },
    "M2": {
        "architecture": {"name": "m2", "classifier": "conv", "dropout": 0.5},
        "objective": {"name": "m2", "alpha": 5.0, "beta": "linear(5, 1, 0.5)"},
        "net": NET,
        "latent": 6,
        "plan": PLAN | {"batch_size": 64, "lr": 2e-3, "steps": 1500},
    },
}
Trial = dict[str, Any]


def run_trial(n_labels: int, draw: int, digits: Digits) -> Trial:
    """Draw labels, train all models and classifiers, and return the balanced accuracies."""
    begin = time.process_time()
    labels = digits.labels(n_labels, draw)
    rows = np.flatnonzero(labels >= 0)
    x, y = digits.train_x[rows], torch.from_numpy(labels[rows])
    models = {
        "conditional VAE": digits.train(MODELS["conditional VAE"], x, labels[rows])[0],
        "M2": digits.train(MODELS["M2"], digits.train_x, labels)[0],
    }
    targets = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    generated = {}
    for name, model in models.items():
        samples = functional.sample_classes(model, targets, CLASSES, seed=draw)
        generated[name] = (255 * samples).round().to(torch.uint8), targets
    test = digits.test_x, torch.from_numpy(digits.test_y)
    gains = functional.gains((x, y), generated, test, seeds=1)
    accuracy = {gain.training_data: round(100 * gain.accuracy.value, 2) for gain in gains}
    predicted = digits.classify(models["M2"]).argmax(1).numpy()
    m2_accuracy = balanced_accuracy_score(digits.test_y, predicted)
    accuracy["M2's own classifier"] = round(100 * float(m2_accuracy), 2)
    seconds = round(time.process_time() - begin)
    return {"labels": n_labels, "draw": draw, "accuracy": accuracy, "seconds": seconds}


def page(trials: list[Trial]) -> str:
    sizes = sorted({t["labels"] for t in trials})
    header = ["trained on", *(text for n in sizes for text in (f"{n} labels", "gain"))]
    rows = []
    for name in trials[0]["accuracy"]:
        cells = [name]
        for size in sizes:
            scores = [t["accuracy"] for t in trials if t["labels"] == size]
            gain = [score[name] - score["real"] for score in scores]
            accuracy = [score[name] for score in scores]
            cells.append(f"{mean(accuracy):.1f} ± {std(accuracy):.1f}")
            error = std(gain) / len(gain) ** 0.5
            cells.append("" if name == "real" else f"{mean(gain):+.1f} ± {error:.1f}")
        rows.append(cells)
    draws = len({t["draw"] for t in trials})
    seconds = sum(t["seconds"] for t in trials)
    lines = [
        "# Augmentation of few labeled digits",
        "",
        "Balanced accuracy of a small convolutional network on the 10,000 test digits, in percent:",
        "mean and standard deviation over draws of the labels, and gain over the labeled digits",
        "alone, paired by draw, with its standard error.",
        "",
        *markdown_table(header, rows),
        "",
        f"There are {draws} random selections of the labels, with {PER_CLASS} generated digits per",
        "class and the same number of shifted and rotated digits. The conditional VAE was trained",
        "only on the labeled digits. M2 was trained on all 60,000 training digits, most of them",
        "without labels: its digits can only convey what it learned from these, which its own",
        "classifier (last row) uses directly.",
        "",
        "Settings:",
        "",
        *[f"- {name}: `{json.dumps(values)}`" for name, values in MODELS.items()],
        "",
        f"Machine: {platform.system()} {platform.machine()}, torch {torch.__version__}, one",
        f"thread, {seconds} seconds of CPU time in total. Generated by",
        "`python -m benchmarks.augmentation`.",
        "",
    ]
    return "\n".join(lines)


def std(values: list[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--n-draws", type=int, default=3)
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 200])
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    digits = Digits()
    path = args.results / "augmentation.json"
    trials: list[Trial] = json.loads(path.read_text("utf-8")) if path.exists() else []
    for draw in range(args.n_draws):
        for n_labels in args.labels:
            if any((t["labels"], t["draw"]) == (n_labels, draw) for t in trials):
                continue
            trials.append(run_trial(n_labels, draw, digits))
            print(json.dumps(trials[-1]), flush=True)
            path.write_text(json.dumps(trials, indent=1) + "\n", "utf-8")
    (args.results / "augmentation.md").write_text(page(trials), "utf-8")


if __name__ == "__main__":
    main()
