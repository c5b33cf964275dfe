"""What made digits teach, where labels are few: ``python -m benchmarks.augmentation``.

For each draw of labels, 10 or 20 of each digit, a small convolutional net learns to tell digits
from the labeled ones alone, from these with as many shifted and turned copies as made digits, and
from these with digits that a model made, 500 of each class. The conditional VAE is trained on the
labeled digits alone. M2 is trained on all 60,000 training digits, of which only those have a
label, so it has seen far more; what its own classifier says is beside it. Balanced accuracy is
taken on the 10,000 test digits, which nothing else sees.

Each trial is kept in ``results/augmentation.json`` as it ends, and not run again; all of them make
``results/augmentation.md``. One thread; run it with ``nice -n 5``.
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
from torch import Tensor

from varied import functional
from varied.data import Batches, iter_batches, read
from varied.data.codecs.images import ImageCodec
from varied.data.labels import subsample_labels
from varied.spec import Spec, compose
from varied.training_loop import Step, train

RESULTS = Path(__file__).parent / "results"
SHAPE, CLASSES, PER_CLASS = (1, 28, 28), 10, 500
PLAN = {"threads": 1, "compile": "no", "precision": "bfloat16"}
NET = {"name": "mlp", "width": 256, "depth": 2}
#: The share of each batch of M2 that is drawn from the rows with a label.
SHARE = 0.125

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


def gray(stored: Tensor) -> Tensor:
    return stored.float() / 255


def trained(name: str, codec: ImageCodec, x: Tensor, labels: np.ndarray) -> Any:
    """Train a model on rows, of which those with a label of -1 have none."""
    spec = Spec.parse(**MODELS[name], likelihood="bernoulli", context=CLASSES)
    model, objective = compose(spec, SHAPE, codec.domain)
    c = torch.zeros(len(x), CLASSES)
    known = np.flatnonzero(labels >= 0)
    c[known, labels[known]] = 1.0
    stream = Batches(x, c, size=spec.plan.batch_size, seed=spec.plan.seed, labeled=SHARE)
    for _ in train(Step(model, objective, codec.load), stream, spec.plan):
        pass
    return model


def trial(few: int, draw: int, codec: ImageCodec, data: dict[str, Any]) -> Trial:
    """Draw labels, train all, and return the balanced accuracies."""
    begun = time.process_time()
    labels = subsample_labels(data["y"], few, draw)
    rows = np.flatnonzero(labels >= 0)
    x, y = data["x"][rows], torch.from_numpy(labels[rows])
    wanted = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    models = {
        "conditional VAE": trained("conditional VAE", codec, x, labels[rows]),
        "M2": trained("M2", codec, data["x"], labels),
    }
    made = {}
    for name, model in models.items():
        drawn = functional.sample_classes(model, wanted, CLASSES, seed=draw)
        made[name] = (255 * drawn).round().to(torch.uint8), wanted
    told = functional.gains((x, y), made, (data["test"], data["truth"]), seeds=1)
    said = functional.classify(models["M2"], gray, iter_batches(data["test"], size=500)).argmax(1)
    found = {one.training_data: round(100 * one.accuracy.value, 2) for one in told}
    found["M2's own classifier"] = round(100 * balanced(said, data["truth"]), 2)
    seconds = round(time.process_time() - begun)
    return {"labels": few, "draw": draw, "accuracy": found, "seconds": seconds}


def balanced(said: Tensor, truth: Tensor) -> float:
    return mean(float((said[truth == k] == k).double().mean()) for k in range(CLASSES))


def page(trials: list[Trial]) -> str:
    """Return the page of results."""
    sizes = sorted({t["labels"] for t in trials})
    lines = [
        "# What made digits teach, where labels are few",
        "",
        "Balanced accuracy of a small convolutional net on the 10,000 test digits, in per cent:",
        "the mean over draws of the labels, its standard deviation, and the gain over the labeled",
        "digits alone, draw by draw, with its standard error.",
        "",
        f"| taught by | {' | '.join(f'{n} labels | gain' for n in sizes)} |",
        f"| --- |{' --- | --- |' * len(sizes)}",
    ]
    for name in trials[0]["accuracy"]:
        cells = [name]
        for size in sizes:
            some = [t["accuracy"] for t in trials if t["labels"] == size]
            each = [one[name] for one in some]
            gain = [one[name] - one["real"] for one in some]
            cells += [f"{mean(each):.1f} ± {spread(each):.1f}"]
            error = spread(gain) / len(gain) ** 0.5
            cells += ["" if name == "real" else f"{mean(gain):+.1f} ± {error:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    draws = len({t["draw"] for t in trials})
    seconds = sum(t["seconds"] for t in trials)
    lines += [
        "",
        f"{draws} draws of the labels; {PER_CLASS} digits of each class made, and as many shifted",
        "and turned. The conditional VAE saw the labeled digits alone. M2 saw all 60,000 training",
        "digits as well, without their labels: what it adds is knowledge of these, and its own",
        "classifier, in the last row, has that knowledge without a detour over made digits.",
        "",
        "Settings:",
        "",
        *[f"- {name}: `{json.dumps(values)}`" for name, values in MODELS.items()],
        "",
        f"Machine: {platform.system()} {platform.machine()}, torch {torch.__version__}, one",
        f"thread, {seconds} seconds of the processor in all. Made by",
        "`python -m benchmarks.augmentation`.",
        "",
    ]
    return "\n".join(lines)


def spread(values: list[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def main() -> None:
    asks = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asks.add_argument("--n-draws", type=int, default=3)
    asks.add_argument("--labels", type=int, nargs="+", default=[100, 200])
    asks.add_argument("--results", type=Path, default=RESULTS)
    wanted = asks.parse_args()
    torch.set_num_threads(1)
    items, codec = read("mnist"), ImageCodec(SHAPE, binarize="dynamic")
    assert items.labels is not None
    assert items.test is not None
    training, x = np.setdiff1d(np.arange(len(items)), items.test), codec.encode(items)
    data = {"x": x[training], "y": items.labels[training], "test": x[items.test]}
    data["truth"] = torch.from_numpy(items.labels[items.test].astype(np.int64))
    path = wanted.results / "augmentation.json"
    trials: list[Trial] = json.loads(path.read_text("utf-8")) if path.exists() else []
    for draw in range(wanted.draws):
        for few in wanted.labels:
            if any((t["labels"], t["draw"]) == (few, draw) for t in trials):
                continue
            trials.append(trial(few, draw, codec, data))
            print(json.dumps(trials[-1]), flush=True)
            path.write_text(json.dumps(trials, indent=1) + "\n", "utf-8")
    (wanted.results / "augmentation.md").write_text(page(trials), "utf-8")


if __name__ == "__main__":
    main()
