"""Classes of digits from 100 labels: ``python -m benchmarks.semi [MODEL ...] [--n-draws 5]``.

For each draw of labels, ten of each digit, a model is trained on all 60,000 training digits, of
which only those have a label, and its error is taken on the 10,000 test digits, whose gray levels
it reads. Settings were chosen on draw 0, by digits of the training set whose label was hidden.

Each trial is kept in ``results/semi.json`` as it ends, and ``results/semi.md`` is written anew from
all that were kept; a trial that was kept is not run again. One thread; run it with ``nice -n 5``.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from varied import functional
from varied.data import Batches, iter_batches, read
from varied.data.codecs.images import ImageCodec
from varied.data.context import ContextCodec
from varied.data.labels import subsample_labels
from varied.models.classifier import add_dropout
from varied.nets import NETS
from varied.nets.random_affine import add_random_affine
from varied.spec import Spec, compose
from varied.training_loop import Step, train

RESULTS = Path(__file__).parent / "results"
SHAPE, LABELS = (1, 28, 28), 100
Trial = dict[str, Any]

LAYERS = {"name": "mlp", "width": 256, "depth": 2}
CONV = {"name": "conv", "width": 16, "activation": "silu"}
PLAN = {"threads": 1, "compile": "no", "precision": "bfloat16"}
LONG = PLAN | {"batch_size": 64, "lr": 2e-3, "steps": 8000}
READER = {"classifier": "conv", "dropout": 0.5, "augment": 1.0}
SEMI = {"name": "semi", "alpha": 5.0, "beta": "linear(5, 1, 0.5)"}
M2 = {"objective": SEMI, "net": LAYERS, "latent": 6, "plan": LONG}
JOINT = {"name": "stacked", "joint": True, "above": 8} | READER

#: What each model is, and what the paper says of it, in per cent of errors.
MODELS: dict[str, dict[str, Any]] = {
    "m2": M2 | {"architecture": {"name": "m2"} | READER},
    "m2-still": M2 | {"architecture": {"name": "m2"} | READER | {"augment": 0.0}},
    "m2-mlp": M2 | {"architecture": {"name": "m2", "dropout": 0.5}},
    "m1m2": {
        "architecture": JOINT,
        "objective": SEMI,
        "net": CONV,
        "latent": 24,
        "plan": LONG,
    },
    "m1m2-stop-gradient": {
        "architecture": {"name": "m1m2", "upper_latent": 6, "hidden_units": 256, "depth": 2}
        | READER,
        "objective": {"name": "m1m2", "alpha": 5.0, "beta": 0.02},
        "net": CONV,
        "latent": 32,
        "plan": LONG | {"steps": 14000},
    },
    "m1m2-skip": {
        "architecture": JOINT | {"skip": True},
        "objective": SEMI,
        "net": LAYERS,
        "latent": 24,
        "plan": LONG,
    },
    "m1": {
        "architecture": {"name": "m1m2", "upper_latent": 0, "dropout": 0.5},
        "objective": {"name": "m2", "alpha": 5.0, "beta": 0.25},
        "net": {"name": "mlp", "width": 512, "depth": 2},
        "latent": 32,
        "plan": PLAN | {"batch_size": 128, "lr": 2e-3, "steps": 4000},
    },
}
#: The share of each batch that is drawn from the rows with a label.
SHARE = 0.125

#: Nets that see nothing but the labeled digits: settings, dropout, how far these move, and steps.
PLAIN: dict[str, tuple[str, dict[str, Any], float, float, int]] = {
    "plain-mlp": ("mlp", {"width": 512, "depth": 2}, 0.0, 0.0, 400),
    "plain-conv": ("conv", {}, 0.5, 0.0, 400),
    "plain-conv-moved": ("conv", {}, 0.5, 1.0, 1500),
}
PAPER = {
    "m1": "11.82",
    "m2": "11.97",
    "m2-mlp": "11.97",
    "m1m2": "3.33",
    "m1m2-stop-gradient": "3.33",
}
PAPER |= {"plain-mlp": "25.81", "plain-conv": "22.98"}


class Digits:
    """The digits, with few labels on the training rows."""

    def __init__(self) -> None:
        items = read("mnist")
        assert items.labels is not None
        assert items.test is not None
        training = np.setdiff1d(np.arange(len(items)), items.test)
        self.codec = ImageCodec(SHAPE, binarize="dynamic")
        self.context = ContextCodec(items.classes)
        x = self.codec.encode(items)
        self.train, self.test = x[training], x[items.test]
        self.y, self.truth = items.labels[training], items.labels[items.test]

    def labels(self, draw: int) -> np.ndarray:
        """Return the classes of the training rows, -1 where hidden."""
        return subsample_labels(self.y, LABELS, draw)

    def error(self, told: Tensor) -> float:
        """Return the share of test digits whose most probable class is another, in per cent."""
        return 100 * float((told.argmax(1).numpy() != self.truth).mean())


def gray(stored: Tensor) -> Tensor:
    return stored.float() / 255


def generative(name: str, digits: Digits, draw: int, steps: int) -> tuple[float, dict[str, Any]]:
    """Train a model on all digits, with few labels; return its error and what it told."""
    spec = Spec.parse(**MODELS[name], likelihood="bernoulli", context=len(digits.context.classes))
    if steps:
        plan = MODELS[name]["plan"] | {"steps": steps}
        spec = Spec.parse(**MODELS[name] | {"plan": plan}, likelihood="bernoulli", context=10)
    model, objective = compose(spec, SHAPE, digits.codec.domain)
    c, plan = digits.context.encode(digits.labels(draw)), spec.plan
    stream = Batches(digits.train, c, size=plan.batch_size, seed=plan.seed, labeled=SHARE)
    event = deque(train(Step(model, objective, digits.codec.load), stream, plan), maxlen=1).pop()
    told = functional.classify(model, gray, iter_batches(digits.test, size=500))
    parts = {key: round(float(value), 2) for key, value in event.parts.items()}
    return digits.error(told), {"epochs": round(event.epoch, 1), "last step": parts}


def plain(name: str, digits: Digits, draw: int, steps: int) -> tuple[float, dict[str, Any]]:
    """Train a net on the labeled digits alone."""
    kind, settings, dropout, affine, usual = PLAIN[name]
    few = digits.labels(draw)
    rows = np.flatnonzero(few >= 0)
    x, y = digits.train[rows], torch.from_numpy(few[rows])
    torch.manual_seed(draw)
    net = add_random_affine(
        add_dropout(NETS[kind](SHAPE, (10,), **settings), dropout), SHAPE, affine
    )
    steps = steps or usual
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        some = torch.randperm(len(x))[:50]
        optimizer.zero_grad()
        cross_entropy(net(digits.codec.load(x[some])), y[some]).backward()
        optimizer.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        told = torch.cat([net(gray(part.x)) for part in iter_batches(digits.test, size=500)])
    return digits.error(told), {}


def trial(name: str, digits: Digits, draw: int, steps: int) -> Trial:
    """Run one trial, and time it: the processor's seconds, and those of the clock."""
    work: Callable[..., tuple[float, dict[str, Any]]] = plain if name in PLAIN else generative
    torch.set_num_threads(1)
    start, used = time.perf_counter(), time.process_time()
    error, more = work(name, digits, draw, steps)
    found = {"model": name, "draw": draw, "error": round(error, 2)}
    found |= {"seconds": round(time.process_time() - used)}
    return found | {"clock": round(time.perf_counter() - start), "steps": steps} | more


def table(trials: list[Trial]) -> str:
    lines = [
        "# Classes of digits from 100 labels",
        "",
        "Errors on the 10,000 test digits, in per cent; ten labels of each digit. The mean is over",
        "draws of the labels, with its standard deviation; seconds are the processor's, on one",
        "thread.",
        "",
        "| model | draws | error | each | seconds | paper |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in [*MODELS, *PLAIN]:
        rows = sorted((t for t in trials if t["model"] == name), key=lambda t: t["draw"])
        if rows:
            errors = [t["error"] for t in rows]
            spread = f" ± {stdev(errors):.2f}" if len(errors) > 1 else ""
            each = ", ".join(f"{e:.2f}" for e in errors)
            cells = [name, str(len(rows)), f"{mean(errors):.2f}{spread}", each]
            cells += [f"{mean(t['seconds'] for t in rows):.0f}", PAPER.get(name, "")]
            lines.append(f"| {' | '.join(cells)} |")
    settings = [f"- {name}: `{json.dumps(values)}`" for name, values in MODELS.items()]
    said = [
        "",
        "The paper is Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),",
        "https://arxiv.org/abs/1406.5298; its plain figures are those that it cites for a net",
        "and a convolutional net, and its M1 has a support vector machine upon it. Where affine is",
        "1, and in plain-conv-moved, the classifier sees pictures moved by chance in training, as",
        "the paper's does not; m2-still and plain-conv show what that is worth.",
        "",
        f"Settings ({SHARE:g} of each batch are labeled rows):",
        "",
        *settings,
        "",
        f"Machine: {platform.system()} {platform.machine()}, torch {torch.__version__}, one",
        "thread, beside other programs. Made by `python -m benchmarks.semi`.",
        "",
    ]
    return "\n".join(lines + said)


def main() -> None:
    asks = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    known = [*MODELS, *PLAIN]
    asks.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(known)}")
    asks.add_argument("--n-draws", type=int, default=5)
    asks.add_argument("--steps", type=int, default=0, help="other than those of the settings")
    asks.add_argument("--results", type=Path, default=RESULTS)
    wanted = asks.parse_args()
    path, digits = wanted.results / "semi.json", Digits()
    trials: list[Trial] = json.loads(path.read_text("utf-8")) if path.exists() else []
    for draw in range(wanted.draws):
        for name in wanted.models or known:
            if any((t["model"], t["draw"]) == (name, draw) for t in trials):
                continue
            trials.append(trial(name, digits, draw, wanted.steps))
            print(json.dumps(trials[-1]), flush=True)
            path.write_text(json.dumps(trials, indent=1) + "\n", "utf-8")
            (wanted.results / "semi.md").write_text(table(trials), "utf-8")


if __name__ == "__main__":
    main()
