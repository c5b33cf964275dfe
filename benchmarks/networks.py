"""Compare networks by the number of images: ``python -m benchmarks.networks``.

`varied train` is run with each network on random subsets of MNIST, Fashion-MNIST, Omniglot and
color sprites, with early stopping and all other settings at their defaults. Each run may take 60
seconds of CPU time, or as many as the table says, which is converted to a number of steps with the
measured time of a step. -ELBO, in nats, is measured on 1,000 other images. All runs use one thread
and one seed.

Each trial is saved in ``results/networks.json`` as soon as it ends, and is not repeated;
``results/networks.md`` shows all trials.
"""

from __future__ import annotations

import argparse
import itertools
import re
import statistics
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks.records import description, load, markdown_table, save, write_page
from varied import read
from varied.runtime import describe_machine
from varied.training import prepare

NAME = "networks"
DATASETS = ("mnist", "fashion-mnist", "omniglot", "sprites-color")
ROWS, NETS = (500, 2000, 8000, 60000), ("mlp", "conv", "resnet")
PLAN: dict[str, Any] = {"threads": 1, "precision": "float32", "compile": "no", "patience": 20}
_SECONDS, _MAX_TEST = 60.0, 1000
#: The numbers of steps that are timed, and the seconds after which slow steps are timed no longer.
_MIN_TIMED, _MAX_TIMED, _TIMING_SECONDS = 6, 60, 15.0


def run_trial(dataset: str, n: int, seconds: float = _SECONDS, **choices: Any) -> dict[str, Any]:
    """Train on a random subset for some CPU time, and return the results on other images."""
    with tempfile.TemporaryDirectory() as folder:
        x = _shuffled_images(dataset)[:n]
        seconds_per_step = _seconds_per_step(x, out=f"{folder}/timing", **PLAN | choices)
    return run_steps(dataset, n, int(seconds / seconds_per_step), **choices)


def run_steps(dataset: str, n: int, steps: int, **choices: Any) -> dict[str, Any]:
    """Train on a random subset for some steps, and return the results on other images."""
    x = _shuffled_images(dataset)
    with tempfile.TemporaryDirectory() as folder:
        job = prepare(x[:n], out=f"{folder}/run", steps=steps, **PLAN | choices)
        begin = time.process_time()
        for event in job.train():
            epochs = event.epoch
        spent = time.process_time() - begin
        elbo = job.write_model().evaluate(read(x[-_MAX_TEST:])).elbo
    assert elbo is not None
    result = {"elbo": elbo.value, "error": elbo.error, "epochs": epochs, "seconds": spent}
    return result | {"processor": describe_machine()["processor"]}


def _shuffled_images(dataset: str) -> np.ndarray:
    x = read(dataset).x
    shuffled: np.ndarray = x[np.random.default_rng(123).permutation(len(x))]
    return shuffled


def _seconds_per_step(x: np.ndarray, **options: Any) -> float:
    """Return the lower quartile of the CPU time of a training step.

    Other programs slow down some steps, since they share the cache.
    """
    times: list[float] = []
    for _ in prepare(x, steps=_MAX_TIMED, **options).train():
        times.append(time.process_time())
        if len(times) >= _MIN_TIMED and times[-1] - times[0] > _TIMING_SECONDS:
            break
    seconds = [after - before for before, after in itertools.pairwise(times)]
    return statistics.quantiles(seconds, n=4)[0]


def main() -> None:
    """Run the trials that have not been run, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", nargs="*", default=DATASETS, choices=DATASETS)
    parser.add_argument("--rows", nargs="*", type=int, default=ROWS)
    parser.add_argument("--nets", nargs="*", default=NETS, choices=NETS)
    parser.add_argument("--seconds", type=float, default=_SECONDS)
    args = parser.parse_args()
    for dataset, n, net in itertools.product(args.datasets, args.rows, args.nets):
        length = "" if args.seconds == _SECONDS else f", {args.seconds:g} s"
        key = f"{dataset}, {n:,} images{length}: {net}"
        if key not in load(NAME) and n + _MAX_TEST <= len(read(dataset)):
            save(NAME, key, run_trial(dataset, n, args.seconds, net=net))
            write_page(NAME, page(NAME, "Networks", __doc__, "network"))


def page(name: str, title: str, doc: str | None, setting: str) -> list[str]:
    """Return the lines of the page of a benchmark whose trials differ in a setting."""
    rows = []
    trials = dict(sorted(load(name).items(), key=lambda item: _natural_order(item[0])))
    for key, trial in trials.items():
        elbo = f"{-trial['elbo']:.1f} ± {trial['error']:.1f}"
        rows.append([*key.split(": "), elbo, f"{trial['epochs']:.0f}", f"{trial['seconds']:.0f}"])
    header = ["images", setting, "-ELBO", "epochs", "seconds"]
    processors = ", ".join(sorted({trial["processor"] for trial in trials.values()}))
    table = markdown_table(header, rows)
    return [f"# {title}", "", description(doc), "", f"Processor: {processors}.", "", *table]


def _natural_order(key: str) -> list[str | int]:
    """Return the parts of a key, with numbers instead of digits."""
    parts = re.split(r"(\d[\d,]*)", key)
    return [int(part.replace(",", "")) if part[:1].isdigit() else part for part in parts]


if __name__ == "__main__":
    main()
