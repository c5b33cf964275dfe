"""Train each model of the zoo on MNIST with `varied train`'s defaults: ``python -m
benchmarks.zoo``.

Each model trains for the same time on one thread with a dedicated core, or for the number of epochs
that fit into this time (half as many for a prior that is fitted after training). There are two
exceptions: m2 and the three m1m2 models, whose classifier is convolutional, train for two minutes;
and the two deepest models, whose steps take a hundred times as long, train for eight minutes on a
shared machine. All settings are the defaults. Metrics are computed on the first test rows, in nats,
and log p(x) is estimated by importance sampling. The Fréchet distance compares 5,000 samples (means
of p(x given z)) with 5,000 test digits, in the feature space of a digit classifier; training digits
have a distance of about 3. Only the results of the group "Basics", without resnet-vae, are from a
version that replaces a standard normal prior with a Gaussian mixture after training if that raises
the ELBO (`--ex-post- prior`), which lowers -ELBO by about one nat. `benchmarks/results/zoo.json`
contains the metrics, `benchmarks/results/zoo/` contains a row of samples for each model, and
`benchmarks/results/zoo.md` shows both.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.records import (
    RESULTS,
    description,
    load,
    markdown_table,
    metrics_table,
    save,
    write_page,
)
from benchmarks.training import Dataset, TrainedModel, digit_features
from varied.evaluate import frechet
from varied.evaluate.suites.context import EvalContext
from varied.plots import grid
from varied.runs import Run
from varied.runs.evaluation import classification_error
from varied.spec import Part
from varied.training import prepare
from varied.zoo import GROUPS, ZOO

IMAGES = RESULTS / "zoo"
ROWS, SAMPLES, LABELS, COLUMNS = 1000, 100, 100, 16
SEMI_SUPERVISED = ("m2", "m1m2")


def train_and_measure(name: str, length: dict[str, float], threads: int) -> dict[str, Any]:
    """Train a model, save a row of samples, and return its metrics."""
    options: dict[str, Any] = {**length, "threads": threads, "compile": "no"}
    if Part.parse(ZOO[name].parts.get("architecture", "vae")).name in SEMI_SUPERVISED:
        options["n_labels"] = LABELS
    with TemporaryDirectory() as folder:
        job = prepare("mnist", name, out=Path(folder) / "run", **options)
        *_, event = job.train()
        for _ in job.fit_prior():
            pass
        run = job.write_model()
        metrics = metrics_of(run, event.state.seconds, event.epoch)
        save_samples(run, IMAGES / f"{name}.png")
    return metrics


def metrics_of(run: Run, seconds: float, epochs: float) -> dict[str, Any]:
    data = run.split("test").head(ROWS)
    dataset = Dataset(data, run.codec, {"test": run.encode_data(data)})
    trained = TrainedModel(run.spec, run.model, dataset, seconds, epochs)
    # The density of a flow-matching prior needs an integral per sample: too slow for a hundred.
    is_slow = run.spec.prior.name == "flow-matching"
    metrics = trained.metrics(samples=0 if is_slow else SAMPLES)
    if (error := classification_error(run)) is not None:
        metrics["error"] = error.value
    context = EvalContext(run, digit_features())
    return metrics | {"frechet": frechet(context.sample_features, context.test_features)}


def save_samples(run: Run, path: Path) -> None:
    """Save sixteen samples in one row, without rescaling; sorted by class, if any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.hstack(list(run.sample(COLUMNS, seed=1).images))).save(path)


def page() -> None:
    """Write the page from all saved results, with an image of samples for each group."""
    results = load("zoo")
    lines = ["# The model zoo on MNIST", "", description(__doc__), ""]
    for group in GROUPS.values():
        models = [name for name, entry in ZOO.items() if entry.group == group]
        rows = {name: results[name] for name in models if name in results}
        if not rows:
            continue
        image = f"zoo/{group.lower().replace(' ', '-')}.png"
        strips = [_load_strip(IMAGES / f"{name}.png") for name in rows]
        grid(np.concatenate(strips), RESULTS / image, columns=COLUMNS, row_titles=list(rows))
        lines += [f"## {group}", "", *metrics_table(rows), "", f"![Samples]({image})", ""]
    write_page("zoo", [*lines, *recordings(), "", *molecules()])


def recordings() -> list[str]:
    """Return the section about models of recordings, from the results of `benchmarks.speech`."""
    trials = [trial for trial in load("speech").values() if "-ELBO" in trial]
    samples = [trial["samples"] for trial in trials]
    columns = {
        "-ELBO": [f"{trial['-ELBO']:.0f}" for trial in trials],
        "KL": [f"{trial['KL']:.0f}" for trial in trials],
        "digit": [f"{sample['digit']:.1%}" for sample in samples],
        "speaker": [f"{sample['speaker']:.1%}" for sample in samples],
        "digit (PocketSphinx)": [f"{sample['PocketSphinx']:.1%}" for sample in samples],
        "Fréchet distance": [f"{sample['Fréchet']:.1f}" for sample in samples],
    }
    rows = [["conditional-vae", *cells] for cells in zip(*columns.values(), strict=True)]
    return [
        "## Recordings",
        "",
        "Samples of spoken digits with given labels, for each seed; see [speech](speech.md).",
        "",
        *markdown_table(["model", *columns], rows),
    ]


def molecules() -> list[str]:
    """Return the section about models of molecules, from the results of other benchmarks."""
    columns = {"-ELBO": 1, "KL": 1, "exact": 3, "valid": 3, "unique": 3, "novel": 3}
    rows = []
    for dataset, record in (("QM9", "molecules"), ("MOSES", "moses")):
        trials = {name: trial for name, trial in load(record).items() if "elbo" in trial}
        for name, trial in trials.items():
            values = trial | {"-ELBO": -trial["elbo"], "KL": trial["kl"]}
            cells = [f"{values[column]:.{digits}f}" for column, digits in columns.items()]
            rows.append([dataset, *name.split(", "), *cells])
    return [
        "## Molecules",
        "",
        "The fractions of test molecules that are reconstructed exactly and of valid, unique and "
        "novel samples; see [QM9](molecules.md) and [MOSES](moses.md).",
        "",
        *markdown_table(["molecules", "model", "prior", *columns], rows),
    ]


def _load_strip(path: Path) -> np.ndarray:
    """Return the images of a row of samples, with shape (16, H, W)."""
    return np.stack(np.hsplit(np.asarray(Image.open(path)), COLUMNS))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="models; by default, all")
    parser.add_argument("--minutes", type=float, default=0.75, help="minutes per model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--again", action="store_true", help="measure saved models again, with equal epochs"
    )
    parser.add_argument("--page", action="store_true", help="write the page without training")
    args = parser.parse_args()
    results = load("zoo")
    for name in [] if args.page else args.names or ZOO:
        previous = results.get(name)
        if previous is None or args.again:
            length = {"epochs": previous["epochs"]} if previous else {"minutes": args.minutes}
            metrics = train_and_measure(name, length, args.threads)
            if previous:  # measured when the machine may have been less busy
                metrics["seconds"] = previous["seconds"]
            save("zoo", name, metrics)
            print(name, json.dumps(metrics), flush=True)
    page()


if __name__ == "__main__":
    main()
