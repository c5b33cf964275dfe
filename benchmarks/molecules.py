"""Train VAEs on QM9 and measure the molecules: ``python -m benchmarks.molecules QM9.csv.gz``.

`varied train` is run for five minutes on one thread with beta = 1 and with beta = 0.3, and with
all other settings at their defaults, and with all settings, including the number of epochs, at
their defaults ("default length"). Reconstructions are those of the mean codes of test
molecules, and are exact if they have the same canonical SMILES. 10,000 samples are drawn with the
default prior, a Gaussian mixture with which training replaces the standard normal prior if it is
better, and with priors that are fitted to the codes by `varied fit-prior`. Distances of properties
are Wasserstein-1 distances to the test molecules in standard deviations; those of training
molecules are the reference.

The file contains 50,000 QM9 molecules (Ramakrishnan et al., 2014,
https://doi.org/10.1038/sdata.2014.22) with the column SMILES. Each trial is saved in
``results/molecules.json`` as soon as it ends, and is not repeated; ``results/molecules.md`` shows
all trials.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

import torch

import varied
from benchmarks.records import description, load, markdown_table, save, write_page
from varied import functional
from varied.evaluate import exact_reconstruction, generated_molecules, property_distances
from varied.runtime import describe_machine
from varied.training import prepare

NAME = "molecules"
N_SAMPLES, BATCH = 10_000, 500
PRIORS = ("gmm", "flow")
SHOWN = ("QED", "logP", "heavy atoms")
MODELS: dict[str, dict[str, Any]] = {
    "beta 1": {},
    "beta 0.3": {"beta": 0.3},
    "default length": {"minutes": None},
}


def run_trial(source: str, minutes: float, choices: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Train a model, and return its metrics with each prior."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"minutes": minutes, "threads": 1} | choices
        job = prepare(source, out=f"{folder}/run", **options)
        begin = time.perf_counter()
        for event in job.train():
            epochs = event.epoch
        seconds = time.perf_counter() - begin
        run = job.write_model()
        common = measure_reconstructions(run) | {"seconds": seconds, "epochs": epochs}
        results = {"default": common | measure_samples(run)}
        for prior in PRIORS:
            begin = time.perf_counter()
            run.fit_prior(prior)
            fitting = {"fitting_seconds": time.perf_counter() - begin}
            results[prior] = common | measure_samples(run) | fitting
    return results


def measure_reconstructions(run: varied.Run) -> dict[str, float]:
    """Return the ELBO and the fraction of exact reconstructions of test molecules."""
    evaluation, test = run.evaluate(), run.split("test")
    parts = [
        functional.reconstruct(run.model, run.codec.load(batch.x)) for batch in run.batches(test)
    ]
    exact = exact_reconstruction(test.x, run.codec.decode(torch.cat(parts)))
    assert evaluation.elbo is not None
    assert evaluation.kl is not None
    return {
        "elbo": evaluation.elbo.value,
        "kl": evaluation.kl.value,
        "exact": exact.value,
        "exact_error": exact.error,
    }


def measure_samples(run: varied.Run) -> dict[str, float]:
    """Return the fractions of valid, unique and novel samples, and distances of properties."""
    parts = [functional.sample(run.model, BATCH, seed=seed) for seed in range(N_SAMPLES // BATCH)]
    smiles = run.codec.decode(torch.cat(parts)).tolist()
    training, test = run.split("train").x, run.codec.properties(run.split("test").x)
    result = generated_molecules(smiles, training)
    distances = property_distances(run.codec.properties(smiles), test)
    rows = torch.randperm(len(training), generator=torch.Generator().manual_seed(0))
    reference = run.codec.properties(training[rows[:N_SAMPLES].numpy()])
    return {
        "valid": result.valid.value,
        "unique": result.unique.value,
        "novel": result.novel.value,
        **{f"distance of {name}": distances[name] for name in SHOWN},
        **{
            f"training distance of {name}": value
            for name, value in property_distances(reference, test).items()
            if name in SHOWN
        },
    }


def main() -> None:
    """Run the trials that have not been run, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="the table of QM9 molecules")
    parser.add_argument("--minutes", type=float, default=5.0)
    args = parser.parse_args()
    for name, choices in MODELS.items():
        if f"{name}, default" not in load(NAME):
            for prior, values in run_trial(args.source, args.minutes, choices).items():
                save(NAME, f"{name}, {prior}", values)
            write_page(NAME, page())


def page() -> list[str]:
    """Return the lines of the page."""
    header = ["model", "prior", "-ELBO", "KL", "exact", "valid", "unique", "novel", *SHOWN]
    rows = []
    for key, trial in load(NAME).items():
        columns = ("exact", "valid", "unique", "novel", *(f"distance of {name}" for name in SHOWN))
        values = [f"{trial[column]:.3f}" for column in columns]
        rows.append([*key.split(", "), f"{-trial['elbo']:.2f}", f"{trial['kl']:.2f}", *values])
    reference = ", ".join(f"{name} {trial[f'training distance of {name}']:.3f}" for name in SHOWN)
    lengths = {
        key.split(", ")[0]: f"{t['seconds']:.0f} s ({t['epochs']:.0f} epochs)"
        for key, t in load(NAME).items()
    }
    times = ", ".join(f"{name} in {text}" for name, text in lengths.items())
    notes = f"Training molecules have distances of {reference}. Training took: {times}."
    machine = f"Processor: {describe_machine()['processor']}."
    table = markdown_table(header, rows)
    return ["# Molecules", "", description(__doc__), "", notes, "", machine, "", *table]


if __name__ == "__main__":
    main()
