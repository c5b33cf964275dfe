"""Compare training lengths on a few images: ``python -m benchmarks.training_length``.

`varied train` is run on a random subset of MNIST or Omniglot with its default length, with early
stopping, and for a given number of epochs without early stopping. -ELBO is measured on 2,000 other
images. All runs use one thread and one seed.

Each trial is saved in ``results/training_length.json`` as soon as it ends, and is not repeated;
``results/training_length.md`` shows all trials.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import numpy as np

from benchmarks.records import description, load, markdown_table, save, write_page
from varied import read
from varied.training import prepare

NAME = "training_length"
DATASETS = [
    ("mnist", 500),
    ("mnist", 2000),
    ("mnist", 8000),
    ("omniglot", 2000),
    ("omniglot", 10_000),
]
LENGTHS: dict[str, dict[str, Any]] = {
    "default": {},
    "200 epochs": {"epochs": 200},
    "600 epochs": {"epochs": 600},
}
PLAN: dict[str, Any] = {"threads": 1, "precision": "float32", "compile": "no"}
_MAX_TEST = 2000


def run_trial(dataset: str, n: int, options: dict[str, Any]) -> dict[str, float]:
    """Train on a random subset, and return the results on other images."""
    x = read(dataset).x
    x = x[np.random.default_rng(123).permutation(len(x))]
    with tempfile.TemporaryDirectory() as folder:
        job = prepare(x[:n], out=f"{folder}/run", **PLAN, **options)
        for event in job.train():
            epochs = event.epoch
        elbo = job.write_model().evaluate(read(x[-_MAX_TEST:])).elbo
    assert elbo is not None
    seconds = job.state.seconds
    return {"elbo": elbo.value, "error": elbo.error, "epochs": epochs, "seconds": seconds}


def main() -> None:
    """Run the trials that have not been run, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", nargs="*", help="such as mnist-500; by default, all")
    names = parser.parse_args().datasets
    for dataset, n in DATASETS:
        for length, options in LENGTHS.items():
            key = f"{dataset}-{n}: {length}"
            if key not in load(NAME) and (not names or f"{dataset}-{n}" in names):
                save(NAME, key, run_trial(dataset, n, options))
                write_page(NAME, _page())


def _page() -> list[str]:
    rows = []
    for key, trial in load(NAME).items():
        elbo = f"{-trial['elbo']:.2f} ± {trial['error']:.2f}"
        cells = (elbo, f"{trial['epochs']:.0f}", f"{trial['seconds']:.0f}")
        rows.append([*key.split(": "), *cells])
    header = ["images", "length", "-ELBO", "epochs", "seconds"]
    return ["# Training lengths", "", description(__doc__), "", *markdown_table(header, rows)]


if __name__ == "__main__":
    main()
