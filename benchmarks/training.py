"""Train a model for a benchmark, with its metrics and samples."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from varied.training.prior import prior_plan

from varied import functional
from varied.composition import compose
from varied.data import Batch, RawData, fit_codec, iter_batches, read, split
from varied.data.batches import Batches
from varied.data.codecs import Codec
from varied.evaluate import Evaluation, evaluate
from varied.evaluate.feature_nets import FeatureNet, train_classifier
from varied.evaluate.frechet import frechet
from varied.models import LatentModel
from varied.plots import grid
from varied.prior_fitting import encode_for_prior, fit_prior
from varied.seeding import seeded
from varied.spec import Plan, Spec
from varied.training_loop import Step, train

#: The ELBO with the default KL warm-up of `varied train`.
ELBO = {"name": "elbo", "beta": "linear(0, 1, 0.2)"}


@dataclass
class Dataset:
    """An encoded dataset with its splits."""

    items: RawData
    codec: Codec
    splits: dict[str, Batch]

    def batches(self, name: str, limit: int | None = None) -> Callable[[], Iterator[Batch]]:
        """Return a function that iterates over the first rows of a split."""
        rows = self.splits[name]
        c = None if rows.c is None else rows.c[:limit]
        return lambda: iter_batches(rows.x[:limit], c, size=250)

    def model_input(self, name: str, limit: int) -> Tensor:
        """Return the first rows of a split as the model sees them."""
        with seeded(0, "seen"):
            return self.codec.load(self.splits[name].x[:limit])


@cache
def load_dataset(name: str, *, with_validation: bool = False, **options: Any) -> Dataset:
    """Read a dataset.

    Arguments:
        name: What `varied.data.read` accepts.
        with_validation: Whether the validation rows are used for training, as in many papers.
        options: Options of `varied.data.read`.
    """
    items = read(name, **options)
    rows = split(items, seed=0)
    codec = fit_codec(items.take(rows.train))
    indices = {"train": rows.train, "validation": rows.validation, "test": rows.test}
    if with_validation:
        indices["train"] = np.sort(np.concatenate([rows.train, rows.validation]))
    splits = {key: Batch(codec.encode(items.take(value))) for key, value in indices.items()}
    return Dataset(items, codec, splits)


@dataclass
class TrainedModel:
    """A model after its training."""

    spec: Spec
    model: LatentModel
    data: Dataset
    seconds: float
    steps: int
    epochs: float

    def evaluation(self, samples: int = 0, limit: int | None = None) -> Evaluation:
        """Evaluate the model on test rows."""
        return evaluate(
            self.model,
            self.data.codec.load,
            self.data.batches("test", limit),
            likelihood=self.spec.likelihood.name,
            samples=samples,
        )

    def metrics(self, samples: int = 0, limit: int | None = None) -> dict[str, Any]:
        """Return the values of a row of `benchmarks.records.metrics_table`."""
        result = self.evaluation(samples, limit)
        values = result.to_json()
        keys = ("elbo", "reconstruction", "kl", "active_units", "log_likelihood")
        row = {key: values[key] for key in keys}
        row |= {f"{key}_error": values[f"{key}_error"] for key in keys if values[key] is not None}
        row |= {"latent_dim": result.latent, "n": result.n, "samples": samples}
        if result.kl_by_level:
            row["kl_by_level"] = [round(kl, 2) for kl in result.kl_by_level]
        if result.codes:
            row |= {
                "codebook_size": result.codes,
                "codebook_usage": result.used,
                "codebook_perplexity": result.perplexity,
            }
        return row | {
            "seconds": round(self.seconds),
            "epochs": round(self.epochs, 1),
            "parameters": sum(p.numel() for p in self.model.parameters()),
        }

    def samples(self, n: int) -> Tensor:
        """Return the means of p(x given z) for codes sampled from the prior."""
        sizes = map(len, torch.arange(n).split(500))
        return torch.cat(
            [functional.sample(self.model, size, seed=index) for index, size in enumerate(sizes)]
        )

    def save_samples(self, path: Path, n: int = 16) -> None:
        """Draw samples in one row of images."""
        path.parent.mkdir(parents=True, exist_ok=True)
        grid(self.data.codec.to_images(self.samples(n)), path, columns=n)


def train_model(
    data: Dataset,
    plan: Plan,
    *,
    start: dict[str, Tensor] | None = None,
    prior_minutes: float = 0,
    **parts: Any,
) -> TrainedModel:
    """Train a model and, if its prior is fitted after training, the prior.

    Arguments:
        data: The dataset.
        plan: The training plan.
        start: Initial weights.
        prior_minutes: Minutes for fitting the prior to the codes of all training rows; 0 uses half
            the length of the plan, and 30,000 rows.
        parts: Arguments of `Spec.of`.
    """
    spec = Spec.of(**({"objective": ELBO} | parts), plan=plan)
    model, objective = compose(spec, data.codec.shape, data.codec.domain)
    if start is not None:
        model.load_state_dict(start)
    rows = data.splits["train"]
    source = Batches(rows.x, rows.c, size=plan.batch_size, seed=plan.seed)
    begin = time.perf_counter()
    event = deque(train(Step(model, objective, data.codec.load), source, plan), maxlen=1).pop()
    if getattr(getattr(model, "prior", None), "fitted_later", False):
        fitting = prior_plan(spec)
        if prior_minutes:
            fitting = replace(fitting, minutes=prior_minutes, epochs=0.0, steps=0)
        _fit_prior(model, data, fitting, len(rows.x) if prior_minutes else 30_000)
    seconds = time.perf_counter() - begin
    return TrainedModel(spec, model, data, seconds, event.state.step, event.epoch)


def _fit_prior(model: Any, data: Dataset, plan: Plan, limit: int) -> None:
    codes = encode_for_prior(model, data.codec.load, data.batches("train", limit)())
    held_out = encode_for_prior(model, data.codec.load, data.batches("validation", 1000)())
    for _ in fit_prior(model.prior, codes, plan, held=held_out):
        pass


@cache
def digit_features() -> FeatureNet:
    """Return a classifier of digits, trained for its features."""
    items = read("mnist")
    rows = split(items, seed=0).train
    x = torch.from_numpy(np.ascontiguousarray(items.x[rows]))[:, None]
    return train_classifier(x, items.labels[rows], of="mnist", seed=0, epochs=3)


def frechet_distance(samples: Tensor, real: Tensor) -> float:
    """Return the Fréchet distance of digits in [0, 1], in the features of a digit classifier."""
    net = digit_features()
    return frechet(*(net.features((255 * x).round().to(torch.uint8)) for x in (samples, real)))
