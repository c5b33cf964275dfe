"""Classify MNIST with 100 labels: ``python -m benchmarks.semi_supervised_mnist [MODEL ...]``.

For each draw of labels, ten per class, a model is trained on all 60,000 training digits, of which
only these are labeled; its error is measured on the 10,000 test digits, given their gray levels.
Settings were chosen on draw 0 with training digits whose labels were hidden.

Each trial is saved in ``results/semi_supervised_mnist.json`` as soon as it ends, and is not
repeated; ``results/semi_supervised_mnist.md`` shows all trials. All trials use one thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.labeled_digits import CLASSES, LABELED_FRACTION, SHAPE, Digits, to_gray
from benchmarks.records import RESULTS, markdown_table, mean_std
from varied.data import iter_batches
from varied.models.classifier import add_dropout
from varied.nets import NETS
from varied.nets.random_affine import add_random_affine

NAME, LABELS = "semi_supervised_mnist", 100
Trial = dict[str, Any]

MLP = {"name": "mlp", "width": 256, "depth": 2}
CONV = {"name": "conv", "width": 16, "dense_width": 256, "activation": "silu"}
PLAN: dict[str, Any] = {"threads": 1, "compile": "no", "precision": "bfloat16"}
LONG = PLAN | {"batch_size": 64, "lr": 2e-3, "steps": 8000}
CLASSIFIER = {"classifier": "conv", "dropout": 0.5, "augment": 1.0}
OBJECTIVE = {"name": "m2", "alpha": 5.0, "beta": "linear(5, 1, 0.5)"}
M2 = {"objective": OBJECTIVE, "net": MLP, "latent": 6, "plan": LONG}
M1M2 = {"name": "m1m2", "joint": True, "upper_latent": 8} | CLASSIFIER

MODELS: dict[str, dict[str, Any]] = {
    "m2": M2 | {"architecture": {"name": "m2"} | CLASSIFIER},
    "m2, not augmented": M2 | {"architecture": {"name": "m2"} | CLASSIFIER | {"augment": 0.0}},
    "m2, mlp": M2 | {"architecture": {"name": "m2", "dropout": 0.5}},
    "m1m2": {
        "architecture": M1M2,
        "objective": OBJECTIVE,
        "net": CONV,
        "latent": 24,
        "plan": LONG,
    },
    "m1m2-stop-gradient": {
        "architecture": {"name": "m1m2", "upper_latent": 6, "hidden_units": 256, "depth": 2}
        | CLASSIFIER,
        "objective": {"name": "m1m2", "alpha": 5.0, "beta": 0.02},
        "net": CONV,
        "latent": 32,
        "plan": LONG | {"steps": 14000},
    },
    "m1m2-skip": {
        "architecture": M1M2 | {"skip": True},
        "objective": OBJECTIVE,
        "net": MLP,
        "latent": 24,
        "plan": LONG,
    },
    "m1": {
        "architecture": {"name": "m1m2", "upper_latent": 0, "dropout": 0.5},
        "objective": OBJECTIVE | {"beta": 0.25},
        "net": {"name": "mlp", "width": 512, "depth": 2},
        "latent": 32,
        "plan": PLAN | {"batch_size": 128, "lr": 2e-3, "steps": 4000},
    },
}
#: Networks trained on the labeled digits alone: net, settings, dropout, augmentation and steps.
SUPERVISED: dict[str, tuple[str, dict[str, Any], float, float, int]] = {
    "supervised mlp": ("mlp", {"width": 512, "depth": 2}, 0.0, 0.0, 400),
    "supervised conv": ("conv", {}, 0.5, 0.0, 400),
    "supervised conv, augmented": ("conv", {}, 0.5, 1.0, 1500),
}
#: Errors reported in the paper, in percent.
PAPER = {
    "m1": "11.82",
    "m2": "11.97",
    "m2, mlp": "11.97",
    "m1m2": "3.33",
    "m1m2-stop-gradient": "3.33",
    "supervised mlp": "25.81",
    "supervised conv": "22.98",
}


def error_percent(scores: Tensor, digits: Digits) -> float:
    """Return the error on the test digits, in percent."""
    return 100 * float((scores.argmax(1).numpy() != digits.test_y).mean())


def train_generative(
    name: str, digits: Digits, draw: int, steps: int
) -> tuple[float, dict[str, Any]]:
    """Train a model on all digits, few of them labeled; return its error and last losses."""
    settings = MODELS[name]
    if steps:
        settings = settings | {"plan": settings["plan"] | {"steps": steps}}
    model, event = digits.train(settings, digits.train_x, digits.labels(LABELS, draw))
    terms = {key: round(float(value), 2) for key, value in event.parts.items()}
    error = error_percent(digits.classify(model), digits)
    return error, {"epochs": round(event.epoch, 1), "last step": terms}


def train_supervised(
    name: str, digits: Digits, draw: int, steps: int
) -> tuple[float, dict[str, Any]]:
    """Train a network on the labeled digits alone; return its error and no losses."""
    kind, settings, dropout, augment, default_steps = SUPERVISED[name]
    labels = digits.labels(LABELS, draw)
    rows = np.flatnonzero(labels >= 0)
    x, y = digits.train_x[rows], torch.from_numpy(labels[rows])
    torch.manual_seed(draw)
    net = add_dropout(NETS[kind](SHAPE, (CLASSES,), **settings), dropout)
    net = add_random_affine(net, SHAPE, augment)
    steps = steps or default_steps
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        batch = torch.randperm(len(x))[:50]
        optimizer.zero_grad()
        cross_entropy(net(digits.codec.load(x[batch])), y[batch]).backward()
        optimizer.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        logits = [net(to_gray(batch.x)) for batch in iter_batches(digits.test_x, size=500)]
    return error_percent(torch.cat(logits), digits), {}


def run_trial(name: str, digits: Digits, draw: int, steps: int) -> Trial:
    """Run one trial, and measure CPU time and wall time."""
    method: Callable[..., tuple[float, dict[str, Any]]]
    method = train_supervised if name in SUPERVISED else train_generative
    torch.set_num_threads(1)
    wall, cpu = time.perf_counter(), time.process_time()
    error, more = method(name, digits, draw, steps)
    trial = {"model": name, "draw": draw, "error": round(error, 2)}
    trial |= {"seconds": round(time.process_time() - cpu)}
    return trial | {"wall_seconds": round(time.perf_counter() - wall), "steps": steps} | more


def page(trials: list[Trial]) -> str:
    rows = []
    for name in [*MODELS, *SUPERVISED]:
        draws = sorted((t for t in trials if t["model"] == name), key=lambda t: t["draw"])
        if draws:
            errors = [t["error"] for t in draws]
            by_draw = ", ".join(f"{e:.2f}" for e in errors)
            seconds = f"{mean(t['seconds'] for t in draws):.0f}"
            paper = PAPER.get(name, "")
            rows.append([name, str(len(draws)), mean_std(errors), by_draw, seconds, paper])
    lines = [
        "# Classification of MNIST with 100 labels",
        "",
        "The table shows the error on the 10,000 test digits in percent, with ten labels per",
        "class: the mean and standard deviation over random selections of the labels. Seconds are",
        "CPU time on one thread.",
        "",
        *markdown_table(["model", "draws", "error", "by draw", "seconds", "paper"], rows),
        "",
        "The paper is Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),",
        "https://arxiv.org/abs/1406.5298. Its supervised errors are those that it cites for a",
        "fully connected and a convolutional network; its M1 uses a support vector machine. If",
        "`augment` is 1, and for the supervised network with augmentation, the inputs of the",
        "classifier are randomly transformed during training, unlike in the paper; the rows",
        "without augmentation show the effect.",
        "",
        f"Settings ({LABELED_FRACTION:g} of each batch are labeled rows):",
        "",
        *[f"- {name}: `{json.dumps(values)}`" for name, values in MODELS.items()],
        "",
        f"Machine: {platform.system()} {platform.machine()}, torch {torch.__version__}, one",
        "thread of a shared machine. Generated by `python -m benchmarks.semi_supervised_mnist`.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = [*MODELS, *SUPERVISED]
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"any of {'; '.join(names)}")
    parser.add_argument("--n-draws", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="override the number of steps")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    path, digits = args.results / f"{NAME}.json", Digits()
    trials: list[Trial] = json.loads(path.read_text("utf-8")) if path.exists() else []
    for draw in range(args.n_draws):
        for name in args.models or names:
            if any((t["model"], t["draw"]) == (name, draw) for t in trials):
                continue
            trials.append(run_trial(name, digits, draw, args.steps))
            print(json.dumps(trials[-1]), flush=True)
            path.write_text(json.dumps(trials, indent=1) + "\n", "utf-8")
            (args.results / f"{NAME}.md").write_text(page(trials), "utf-8")


if __name__ == "__main__":
    main()
