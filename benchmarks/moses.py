"""Train on drug-sized MOSES molecules: ``python -m benchmarks.moses FOLDER``.

The folder contains 150,000 training and 20,000 test molecules of the MOSES benchmark. Models are
trained with the default settings for different lengths on one thread, and a prior is fitted to
their codes. The metrics compare samples with equally many test
molecules; the row "training molecules" contains those of random training molecules instead of
samples. The published MOSES VAE was trained on 1.6 million molecules and evaluated with 30,000
samples; its FCD is not comparable, since the distance depends on the number of molecules.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import varied
from benchmarks.molecules import measure_reconstructions
from benchmarks.records import description, load, markdown_table, save, write_page
from varied import functional
from varied.data import RawData
from varied.evaluate import generated_molecules, property_distances
from varied.evaluate.molecule_sets import MoleculeSet, compare_molecules, unique_fraction
from varied.runtime import describe_machine
from varied.seeding import permutation
from varied.training import prepare

NAME = "moses"
BATCH = 500
PRIORS = ("flow-matching",)
SHOWN = ("QED", "logP", "heavy atoms")
MODELS: dict[str, dict[str, Any]] = {"4,000 steps": {"steps": 4000}, "8 epochs": {"epochs": 8}}
#: The published metrics of the MOSES VAE (Polykovskiy et al., 2020).
PUBLISHED = {
    "kl": "near 0",
    "valid": ".977",
    "unique": ".998",
    "novel": ".695",
    "FCD": ".099",
}
COLUMNS = (
    "kl",
    "exact",
    "valid",
    "unique at 1,000",
    "unique",
    "novel",
    "FCD",
    "SNN",
    "fragment similarity",
    "scaffold similarity",
    "internal diversity",
    "without alerts",
    *(f"distance of {name}" for name in SHOWN),
)


def read_moses(folder: Path) -> RawData:
    """Return the training molecules, followed by the test molecules."""
    train, test = (
        varied.read(folder / f"moses_{name}.csv.gz") for name in ("train_150k", "test_20k")
    )
    x = np.concatenate([train.x, test.x])
    rows = np.arange(len(train.x), len(x))
    return RawData(x, train.kind, names=tuple(x.tolist()), test=rows)


def run_trial(data: RawData, n: int, choices: dict[str, Any]) -> dict[str, Any]:
    """Train a model, and return its metrics with each prior."""
    with tempfile.TemporaryDirectory() as folder:
        job = prepare(data, out=f"{folder}/run", threads=1, **choices)
        begin = time.process_time()
        for event in job.train():
            epochs = event.epoch
        seconds = time.process_time() - begin
        run = job.write_model()
        training, test = run.split("train").x, run.split("test").x
        test = test[permutation(len(test), 0, "moses")[:n].numpy()].tolist()
        rows = permutation(len(training), 0, "moses")[:n].numpy()
        real, known = MoleculeSet(test), training.tolist()
        common = measure_reconstructions(run) | {"seconds": seconds, "epochs": epochs, "n": n}
        results = {"training molecules": measure(training[rows].tolist(), known, real)}
        results["default"] = common | measure(draw(run, n), known, real)
        for prior in PRIORS:
            begin = time.process_time()
            run.fit_prior(prior)
            fitting = {"fitting_seconds": time.process_time() - begin}
            results[prior] = common | measure(draw(run, n), known, real) | fitting
    return results


def draw(run: varied.Run, n: int) -> list[str]:
    """Return samples from the prior."""
    sample_x = run.codec.decodes_by_sampling
    parts = [
        functional.sample(run.model, BATCH, sample_x=sample_x, seed=seed)
        for seed in range(n // BATCH)
    ]
    smiles: list[str] = run.codec.decode(torch.cat(parts)).tolist()
    return smiles


def measure(smiles: list[str], training: list[str], real: MoleculeSet) -> dict[str, float]:
    """Return the metrics of generated molecules."""
    from varied.data.molecules import properties

    result = generated_molecules(smiles, training)
    distances = property_distances(properties(smiles), properties(real.smiles))
    return {
        "valid": result.valid.value,
        "unique at 1,000": unique_fraction(smiles, 1000).value,
        "unique": result.unique.value,
        "novel": result.novel.value,
        **compare_molecules(MoleculeSet(smiles), real),
        **{f"distance of {name}": distances[name] for name in SHOWN},
    }


def page() -> list[str]:
    """Return the lines of the page."""
    rows = [
        [key, *(f"{trial[column]:.3f}" if column in trial else "" for column in COLUMNS)]
        for key, trial in load(NAME).items()
    ]
    rows.append(["VAE of MOSES (published)", *(PUBLISHED.get(column, "") for column in COLUMNS)])
    trials = [trial for trial in load(NAME).values() if "seconds" in trial]
    notes = f"{trials[0]['n']:,} samples. " + "; ".join(
        f"{t['seconds']:.0f} s of CPU time for {t['epochs']:.1f} epochs" for t in trials[::2]
    )
    machine = f"Processor: {describe_machine()['processor']}."
    table = markdown_table(["model", *COLUMNS], rows)
    return ["# MOSES", "", description(__doc__), "", notes, "", machine, "", *table]


def main() -> None:
    """Run the trials that have not been run, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="the folder of the molecules")
    parser.add_argument("-n", type=int, default=5000, help="the number of samples")
    args = parser.parse_args()
    data = None
    for name, choices in MODELS.items():
        if f"{name}, default" not in load(NAME):
            data = read_moses(args.folder) if data is None else data
            for prior, values in run_trial(data, args.n, choices).items():
                key = prior if prior == "training molecules" else f"{name}, {prior}"
                save(NAME, key, values)
            write_page(NAME, page())


if __name__ == "__main__":
    main()
