"""Conditional VAEs with and without a prior that reads the context: ``python -m
benchmarks.conditional_prior``.

Each model is `conditional-vae` with its defaults, except for the prior and the number of steps,
trained on MNIST with one thread. The context is the class of a digit, its left half, or three of
its quadrants, and the model generates the digit, its right half, or the lower left quadrant. -ELBO
and KL are those of test digits, in nats per digit.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import torch

from benchmarks.records import description, load, markdown_table, mean_std, save, write_page
from varied.composition import compose
from varied.data import Batches, RawData, iter_batches, read, split
from varied.evaluate import evaluate
from varied.training.defaults import resolve
from varied.training_loop import train
from varied.training_step import Step

NAME, STEPS = "conditional_prior", 1500
PRIORS = ("standard-normal", "conditional-normal")
CONTEXTS = ("class", "left half", "three quadrants")


def incomplete_digits(context: str) -> RawData:
    """Return MNIST, with the observed pixels or the class as labels and the others as data."""
    digits = read("mnist")
    if context == "class":
        return digits
    is_missing = np.zeros((28, 28), bool)
    is_missing[14 * (context == "three quadrants") :, :14] = True
    if context == "left half":
        is_missing = ~is_missing
    x = np.asarray(digits.x)
    shape = (len(x), is_missing.any(1).sum(), is_missing.any(0).sum())
    return read(x[:, is_missing].reshape(shape), labels=x[:, ~is_missing] / np.float32(255))


def run_trial(context: str, prior: str, seed: int, steps: int) -> dict[str, float]:
    """Train a model, and evaluate it on the test digits."""
    data = incomplete_digits(context)
    rows = split(data, seed=0)
    training, test = data.take(rows.train), data.take(rows.test)
    plan = {"steps": steps, "seed": seed, "threads": 1, "precision": "float32", "compile": "no"}
    config = resolve(training, "conditional-vae", {"prior": prior, **plan})
    assert config.context is not None, "the data have labels"
    model, objective = compose(config.spec, config.codec.shape, config.codec.domain)
    batches, held_out = (
        (config.codec.encode(part), config.context.encode_labels(part.covariates))
        for part in (training, test)
    )
    size = config.spec.plan.batch_size
    step = Step(model, objective, config.codec.load)
    for _ in train(step, Batches(*batches, size=size, seed=seed), config.spec.plan):
        pass
    result = evaluate(model, config.codec.load, iter_batches(*held_out, size=500))
    assert result.elbo is not None, "the posterior has a density"
    assert result.kl is not None, "the posterior has a density"
    return {
        "nelbo": -result.elbo.value,
        "kl": result.kl.value,
        "active_units": result.active_units.value,
    }


def page(record: dict[str, Any]) -> list[str]:
    """Return the lines of the page."""
    columns = {"nelbo": 2, "kl": 2, "active_units": 0}
    body = []
    for context in CONTEXTS:
        for prior in PRIORS:
            trials = [v for k, v in record.items() if k.startswith(f"{context}, {prior}, ")]
            if trials:
                cells = [mean_std([t[key] for t in trials], n) for key, n in columns.items()]
                body.append([context, f"`{prior}`", str(len(trials)), *cells])
    header = ["context", "prior", "seeds", "-ELBO", "KL", "active units"]
    title = f"# Priors of conditional models, {STEPS:,} steps"
    return [title, "", description(__doc__), "", *markdown_table(header, body)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--contexts", nargs="+", default=CONTEXTS, choices=CONTEXTS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--dry-run", action="store_true", help="print the results only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for context in args.contexts:
        for seed in args.seeds:
            for prior in PRIORS:
                key = f"{context}, {prior}, {seed}"
                if args.dry_run or key not in load(NAME):
                    trial = run_trial(context, prior, seed, args.steps)
                    print(key, json.dumps(trial), flush=True)
                    if not args.dry_run:
                        save(NAME, key, trial)
                        write_page(NAME, page(load(NAME)))


if __name__ == "__main__":
    main()
