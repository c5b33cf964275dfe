"""Compare the defaults with a search: ``python -m benchmarks.search [DATASET ...]``.

On each set of images, `varied train` is run with default settings on 8,000 random images, and then
with random models and settings for an hour, including evaluation. Each training may take two
minutes of CPU time, which is converted to a number of steps with the measured time of a step, and
ends early if the validation loss does not improve. -ELBO is measured on 1,000 other images, in nats
per image and in bits per dimension; since the best trial is chosen by this value, it has an
advantage. All trainings use one thread. The wall-clock time of the first seven trials on sprites is
their mean, since only the total was measured.

Each trial is saved in ``results/search.json`` as soon as it ends, and is not repeated;
``results/search.md`` shows the default and the best trials.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.networks import run_trial
from benchmarks.records import description, load, markdown_table, save, write_page
from varied import VariedError

NAME = "search"
#: The number of dimensions of an image of each set.
DATASETS = {"omniglot": 784, "fashion-mnist": 784, "sprites-color": 12288, "mnist": 784}
ROWS, _SECONDS, _SEARCH_SECONDS = 8000, 120.0, 3600.0
MODELS = ("vae", "vae", "ladder-vae", "vamp-vae", "flow-prior-vae", "iaf-vae")
#: The number of the best trials that the page shows.
_N_SHOWN = 5


def choices(seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield random models and settings."""
    rng = np.random.default_rng(seed)
    while True:
        model = str(rng.choice(MODELS))
        trial: dict[str, Any] = {"model": model}
        if model != "ladder-vae":
            trial["net"] = str(rng.choice(["mlp", "conv", "conv", "resnet"]))
            width = 256 if trial["net"] == "mlp" else 8
            trial["net.width"] = int(width * rng.choice([1, 2, 4]))
            trial["latent"] = int(rng.choice([16, 32, 64, 128]))
        trial["batch_size"] = int(rng.choice([32, 64, 128, 256]))
        trial["lr"] = float(f"{10 ** rng.uniform(-3.5, -2.2):.1e}")
        yield trial


def search(dataset: str) -> None:
    """Run the default and the trials that have not been run."""
    spent = 0.0
    for index, trial in enumerate(choices()):
        for key, setting in ((f"{dataset}: default", {}), (f"{dataset}: {index}", trial)):
            if key not in load(NAME):
                save(NAME, key, _run(dataset, setting))
                write_page(NAME, _page())
        spent += load(NAME)[f"{dataset}: {index}"]["wall"]
        if spent > _SEARCH_SECONDS:
            break


def _run(dataset: str, setting: dict[str, Any]) -> dict[str, Any]:
    begin = time.perf_counter()
    try:
        result: dict[str, Any] = run_trial(dataset, ROWS, _SECONDS, **setting)
    except VariedError as error:  # such as a non-finite loss
        result = {"failure": str(error)}
    return result | {"wall": time.perf_counter() - begin, "choices": setting}


def _page() -> list[str]:
    lines = ["# Defaults and search", "", description(__doc__), ""]
    trials = load(NAME)
    for dataset, dimension in DATASETS.items():
        default = trials.get(f"{dataset}: default")
        others = [
            trial
            for key, trial in trials.items()
            if key.startswith(f"{dataset}: ") and trial["choices"] and "elbo" in trial
        ]
        if default is None or not others:
            continue
        best = sorted(others, key=lambda trial: -trial["elbo"])[:_N_SHOWN]
        minutes = sum(trial["wall"] for trial in others) / 60
        processors = ", ".join(sorted({trial["processor"] for trial in [default, *others]}))
        length = f"{len(others)} trials, {minutes:.0f} minutes. Processor: {processors}."
        lines += [f"## {dataset}", "", length, ""]
        rows = []
        for trial in [default, *best]:
            bits = -trial["elbo"] / dimension / math.log(2)
            text = ", ".join(f"{name}={value}" for name, value in trial["choices"].items())
            elbo = f"{-trial['elbo']:.1f} ± {trial['error']:.1f}"
            rows.append([text or "default", elbo, f"{bits:.3f}", f"{trial['epochs']:.0f}"])
        lines += [*markdown_table(["settings", "-ELBO", "bits/dim", "epochs"], rows), ""]
    return lines


def main() -> None:
    """Search on each set, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="*", default=list(DATASETS), choices=DATASETS)
    for dataset in parser.parse_args().datasets:
        search(dataset)


if __name__ == "__main__":
    main()
