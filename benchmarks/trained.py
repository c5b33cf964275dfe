"""What the benchmarks of quality share: a model that was trained, its numbers and samples."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from varied import functional
from varied.data import Batch, RawData, fit_codec, iter_batches, read, split
from varied.data.batches import Batches
from varied.data.codecs import Codec
from varied.evaluate import Evaluation, evaluate
from varied.evaluate.feature_nets import train_classifier
from varied.evaluate.frechet import frechet
from varied.models import LatentModel
from varied.plots import grid
from varied.prior_fitting import encode_for_prior, fit_prior, prior_plan
from varied.seeding import seeded
from varied.spec import Plan, Spec, compose
from varied.training_loop import Step, train

RESULTS = Path(__file__).resolve().parent / "results"

#: The KL rises over the first fifth of a run, as `varied train` does it.
ELBO = {"name": "elbo", "beta": "linear(0, 1, 0.2)"}


@dataclass
class Data:
    """A set as a model sees it."""

    items: RawData
    codec: Codec
    parts: dict[str, Batch]

    def rows(self, part: str, most: int | None = None) -> Any:
        """Return the batches of a part."""
        batch = self.parts[part]
        return iter_batches(batch.x[:most], None if batch.c is None else batch.c[:most], size=250)

    def seen(self, part: str, most: int) -> Tensor:
        """Return rows as the model sees them."""
        with seeded(0, "seen"):
            return self.codec.load(self.parts[part].x[:most])


@cache
def data(name: str, *, everything: bool = False, **options: Any) -> Data:
    """Read a set; ``everything`` trains on the validation rows too, as many papers do."""
    items = read(name, **options)
    rows = split(items, seed=0)
    codec = fit_codec(items.take(rows.train))
    use = {"train": rows.train, "validation": rows.validation, "test": rows.test}
    if everything:
        use["train"] = np.sort(np.concatenate([rows.train, rows.validation]))
    parts = {key: Batch(codec.encode(items.take(value))) for key, value in use.items()}
    return Data(items, codec, parts)


@dataclass
class Trained:
    """A model after its training."""

    spec: Spec
    model: LatentModel
    data: Data
    seconds: float
    steps: int
    epochs: float

    def evaluation(self, samples: int = 0, most: int | None = None) -> Evaluation:
        """Measure it on test rows."""
        return evaluate(
            self.model,
            self.data.codec.load,
            self.data.rows("test", most),
            likelihood=self.spec.likelihood.name,
            samples=samples,
        )

    def numbers(self, samples: int = 0, most: int | None = None) -> dict[str, Any]:
        """Return what a table wants to know, in nats."""
        found = self.evaluation(samples, most)
        plain = found.to_json()
        keep = ("elbo", "reconstruction", "kl", "active_units", "log_likelihood")
        told = {key: plain[key] for key in keep}
        told |= {f"{key}_error": plain[f"{key}_error"] for key in keep if plain[key] is not None}
        told |= {"latent": found.latent_dim, "n": found.n, "samples": samples}
        if found.kl_by_level:
            told["levels"] = [round(rate, 2) for rate in found.kl_by_level]
        if found.codebook_size:
            told |= {
                "codes": found.codebook_size,
                "used": found.codebook_usage,
                "perplexity": found.codebook_perplexity,
            }
        size = sum(p.numel() for p in self.model.parameters())
        time = {"seconds": round(self.seconds), "epochs": round(self.epochs, 1)}
        return told | time | {"parameters": size}

    def samples(self, n: int, c: Tensor | None = None) -> Tensor:
        """Return the means of p(x given z) for draws from the prior."""
        made = [
            functional.sample(self.model, len(part), None if c is None else c[part], seed=index)
            for index, part in enumerate(torch.arange(n).split(500))
        ]
        return torch.cat(made)

    def strip(self, path: Path, n: int = 16) -> None:
        """Draw samples in one row."""
        path.parent.mkdir(parents=True, exist_ok=True)
        grid(self.data.codec.to_images(self.samples(n)), path, columns=n)


def trained(
    here: Data,
    plan: Plan,
    *,
    start: dict[str, Tensor] | None = None,
    fit: float = 0,
    **parts: Any,
) -> Trained:
    """Train a model, and its prior where that is fitted later.

    Arguments:
        here: The data.
        plan: How to train.
        start: Weights to start at.
        fit: Minutes in which the prior is fitted to the codes of all training rows; 0 takes half
            the length of the plan, and 30,000 rows.
        parts: What `Spec.parse` takes.
    """
    spec = Spec.parse(**({"objective": ELBO} | parts), plan=plan)
    model, objective = compose(spec, here.codec.shape, here.codec.domain)
    if start is not None:
        model.load_state_dict(start)
    rows = here.parts["train"]
    batches = Batches(rows.x, rows.c, size=plan.batch_size, seed=plan.seed)
    begun = time.perf_counter()
    event = deque(train(Step(model, objective, here.codec.load), batches, plan), maxlen=1).pop()
    if getattr(getattr(model, "prior", None), "fitted_later", False):
        how = prior_plan(spec)
        if fit:
            how = replace(how, minutes=fit, epochs=0.0, steps=0)
        later(model, here, how, len(rows.x) if fit else 30_000)
    spent = time.perf_counter() - begun
    return Trained(spec, model, here, spent, event.state.step, event.epoch)


def later(model: Any, here: Data, plan: Plan, most: int) -> None:
    """Fit the prior of a model to its codes."""
    codes = encode_for_prior(model, here.codec.load, here.rows("train", most)())
    held = encode_for_prior(model, here.codec.load, here.rows("validation", 1000)())
    for _ in fit_prior(model.prior, codes, plan, held_out=held):
        pass


@cache
def digit_features() -> Any:
    """Return the classifier in whose features digits are compared; trained on the spot."""
    items = read("mnist")
    rows = split(items, seed=0).train
    x = torch.from_numpy(np.ascontiguousarray(items.x[rows]))[:, None]
    return train_classifier(x, items.labels[rows], data_name="mnist", seed=0, epochs=3)


def distance(made: Tensor, real: Tensor) -> float:
    """Return the Fréchet distance of pictures in [0, 1] in the features of the digit classifier."""
    net = digit_features()
    as_bytes = [(255 * x).round().to(torch.uint8) for x in (made, real)]
    return frechet(*(net.features(x) for x in as_bytes))


def keep(name: str, key: str, found: dict[str, Any]) -> None:
    """Put a figure into a file of results, in place of the one that was there."""
    path = RESULTS / f"{name}.json"
    held = json.loads(path.read_text("utf-8")) if path.exists() else {}
    held[key] = found
    path.write_text(json.dumps(held, indent=1, sort_keys=True) + "\n", "utf-8")
