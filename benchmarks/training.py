"""Train a model for a benchmark, with its metrics and samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from varied import functional
from varied.composition import compose
from varied.data import Batch, Batches, Codec, RawData, fit_codec, iter_batches, read, split
from varied.evaluate import Evaluation, FeatureNet, evaluate, frechet, train_classifier
from varied.models import LatentModel
from varied.plots import grid
from varied.prior_fitting import fit_ex_post, prior_plan
from varied.seeding import seeded
from varied.spec import Plan, Spec
from varied.training_loop import StepEvent, train
from varied.training_step import Step

#: The ELBO with the default KL warm-up of `varied train`.
ELBO = {"name": "elbo", "beta": "linear(0, 1, 0.2)"}
#: The convolutional network of the measured results; the default of `varied train` is smaller.
CONV_NET: dict[str, Any] = {"name": "conv", "width": 32, "dense_width": 256, "activation": "relu"}
#: The number of training rows to which a prior is fitted by default.
MAX_PRIOR_ROWS = 30_000


@dataclass
class Dataset:
    """An encoded dataset with its splits."""

    data: RawData
    codec: Codec
    splits: dict[str, Batch]

    def head(self, name: str, n: int | None) -> Batch:
        """Return the first rows of a split, or all of them."""
        rows = self.splits[name]
        return Batch(rows.x[:n], None if rows.c is None else rows.c[:n])

    def batches(self, name: str, limit: int | None = None) -> Iterator[Batch]:
        """Return the first rows of a split, or all of them, in batches."""
        rows = self.head(name, limit)
        return iter_batches(rows.x, rows.c, size=250)

    def model_input(self, name: str, limit: int) -> Tensor:
        """Return the first rows of a split as model input."""
        with seeded(0, "seen"):
            return self.codec.load(self.splits[name].x[:limit])

    def labels(self, name: str, limit: int) -> np.ndarray:
        """Return the labels of the first rows of a split."""
        assert self.data.labels is not None
        indices: np.ndarray = getattr(split(self.data, seed=0), name)
        labels: np.ndarray = self.data.labels[indices[:limit]]
        return labels


@cache
def load_dataset(name: str, *, with_validation: bool = False, **options: Any) -> Dataset:
    """Read a dataset.

    Arguments:
        name: The first argument of `varied.read`.
        with_validation: Whether the validation rows are also used for training, as in many papers.
        options: Options of `varied.read`.
    """
    data = read(name, **options)
    rows = split(data, seed=0)
    codec = fit_codec(data.take(rows.train))
    indices = {"train": rows.train, "validation": rows.validation, "test": rows.test}
    if with_validation:
        indices["train"] = np.sort(np.concatenate([rows.train, rows.validation]))
    splits = {key: Batch(codec.encode(data.take(value))) for key, value in indices.items()}
    return Dataset(data, codec, splits)


@dataclass
class TrainedModel:
    """A trained model, with its dataset."""

    spec: Spec
    model: LatentModel
    dataset: Dataset
    seconds: float
    epochs: float

    def evaluation(self, samples: int = 0, limit: int | None = None) -> Evaluation:
        """Evaluate the model on test rows."""
        return evaluate(
            self.model,
            self.dataset.codec.load,
            self.dataset.batches("test", limit),
            likelihood=self.spec.likelihood.name,
            samples=samples,
        )

    def metrics(self, samples: int = 0, limit: int | None = None) -> dict[str, Any]:
        """Return the values of a row of `benchmarks.records.metrics_table`."""
        result = self.evaluation(samples, limit)
        values = result.to_json()
        keys = ["elbo", "reconstruction", "kl", "active_units", "log_likelihood"]
        keys += [f"{key}_error" for key in keys if values[key] is not None]
        keys += ["latent_dim", "n"]
        if result.codebook_size:
            keys += ["codebook_size", "codebook_usage", "codebook_perplexity"]
        row = {key: values[key] for key in keys} | {"samples": samples}
        if result.kl_by_level:
            row["kl_by_level"] = [round(kl, 2) for kl in result.kl_by_level]
        return row | {
            "seconds": round(self.seconds),
            "epochs": round(self.epochs, 1),
            "parameters": sum(p.numel() for p in self.model.parameters()),
        }

    def encode(self, name: str, n: int) -> Tensor:
        """Return the codes of the first rows of a split."""
        batches = self.dataset.batches(name, n)
        return functional.embed(self.model, self.dataset.codec.load, batches)

    def reconstruct(self, n: int) -> Tensor:
        """Return the reconstructions of the first test rows."""
        return functional.reconstruct(self.model, self.dataset.model_input("test", n))

    def samples(self, n: int, seed: int = 0) -> Tensor:
        """Return the means of p(x given z) for codes sampled from the prior."""
        sizes = enumerate(map(len, torch.arange(n).split(500)))
        return torch.cat(
            [functional.sample(self.model, size, seed=seed + index) for index, size in sizes]
        )

    def save_samples(self, path: Path, n: int = 16) -> None:
        """Plot samples in one row of images."""
        path.parent.mkdir(parents=True, exist_ok=True)
        grid(self.dataset.codec.to_images(self.samples(n)), path, columns=n)


def start_training(
    dataset: Dataset, plan: Plan, parts: dict[str, Any]
) -> tuple[Spec, LatentModel, Iterator[StepEvent]]:
    """Compose a model, and return its spec, the model itself, and its training steps.

    Arguments:
        dataset: The dataset.
        plan: The training plan.
        parts: The parts of the spec.
    """
    spec = Spec.parse(**({"objective": ELBO} | parts), plan=plan)
    model, objective = compose(spec, dataset.codec.shape, dataset.codec.domain)
    rows = dataset.splits["train"]
    batches = Batches(rows.x, rows.c, size=plan.batch_size, seed=plan.seed)
    return spec, model, train(Step(model, objective, dataset.codec.load), batches, plan)


def train_model(
    dataset: Dataset,
    plan: Plan,
    parts: dict[str, Any],
    *,
    prepare: Callable[[LatentModel], object] | None = None,
    prior_minutes: float = 0,
) -> TrainedModel:
    """Train a model and, if its prior is fitted after training, the prior.

    Arguments:
        dataset: The dataset.
        plan: The training plan.
        parts: The parts of the spec.
        prepare: A function that changes the model before training.
        prior_minutes: Minutes for fitting the prior to the codes of all training rows; 0 uses half
            the length of the plan, and 30,000 rows.
    """
    spec, model, events = start_training(dataset, plan, parts)
    if prepare is not None:
        prepare(model)
    begin = time.perf_counter()
    epochs = 0.0
    for event in events:
        epochs = event.epoch
    if model.prior is not None and model.prior.fitted_later:
        prior_length = prior_plan(spec)
        if prior_minutes:
            prior_length = replace(prior_length, minutes=prior_minutes, epochs=0.0, steps=0)
        limit = None if prior_minutes else MAX_PRIOR_ROWS
        rows = {"train": dataset.head("train", limit), "validation": dataset.splits["validation"]}
        for _ in fit_ex_post(model, dataset.codec.load, rows, prior_length):
            pass
    return TrainedModel(spec, model, dataset, time.perf_counter() - begin, epochs)


@cache
def digit_features() -> FeatureNet:
    """Return a digit classifier, which is used as a feature extractor."""
    data = read("mnist")
    assert data.labels is not None
    rows = split(data, seed=0).train
    x = torch.from_numpy(np.ascontiguousarray(data.x[rows]))[:, None]
    return train_classifier(x, data.labels[rows], data_name="mnist", seed=0, epochs=3)


def frechet_distance(samples: Tensor, real: Tensor) -> float:
    """Return the Fréchet distance between images in [0, 1], on features of a digit classifier."""
    net = digit_features()
    return frechet(*(net.features((255 * x).round().to(torch.uint8)) for x in (samples, real)))
