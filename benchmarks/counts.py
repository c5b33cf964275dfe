"""Likelihoods of counts on simulated single-cell data: ``python -m benchmarks.counts``.

The data are 3,000 cells of 8 types in 2 batches with 200 genes: negative binomial counts with
log-normal library sizes, which do not depend on the type. The models are trained on 2,400 cells,
and all metrics are those of the other 600. "gaussian" has a scale for each gene, of counts or of
log(1 + counts). The first columns describe how codes depend on the log library size within a
type: the largest absolute correlation of a latent dimension, and the cross-validated R² of a
ridge regression. log p(x) is estimated with 100 importance samples, in nats per cell. It is a
log-density of counts after the change of variables for a Gaussian. For the likelihoods of counts,
which are given the library size, the log-density of a log-normal distribution of library sizes is
added. Only "log P(x)" is comparable between all likelihoods: the log-probability of whole
numbers, for which a Gaussian is integrated over unit intervals, and a likelihood of counts is
divided by the probability of the library size of the row, in a normal approximation. "Sum" is the
mean library size of samples, and "gene correlation" is the mean absolute correlation between
genes.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_score

from benchmarks.records import description, load, markdown_table, mean_std, save, write_page
from varied.distributions import base_distribution, given_library_size
from varied.functional import negative_log_likelihood
from varied.functional.importance_sampling import importance_bound, posterior_draws
from varied.runs import Run
from varied.training import prepare

NAME = "counts"
CELLS, TRAINED, GENES, TYPES, BATCHES, EPOCHS, SAMPLES = 3000, 2400, 200, 8, 2, 60, 100
MODELS = {
    "gaussian": ("gaussian", False),
    "gaussian, log counts": ("gaussian", True),
    "poisson": ("poisson", False),
    "negative-binomial": ("negative-binomial", False),
    "zero-inflated-negative-binomial": ("zero-inflated-negative-binomial", False),
}


def simulate(seed: int, n: int = CELLS) -> tuple[Any, Any]:
    """Return the counts of cells, with shape (N, genes), and their types."""
    random = np.random.default_rng(seed)
    base = random.normal(0, 1, GENES)
    by_type = base + random.normal(0, 0.7, (TYPES, GENES))
    by_batch = random.normal(0, 0.2, (BATCHES, GENES))
    kind, batch = random.integers(TYPES, size=n), random.integers(BATCHES, size=n)
    rates = np.exp(by_type[kind] + by_batch[batch])
    rates /= rates.sum(1, keepdims=True)
    size = np.exp(random.normal(6.5, 0.5, (n, 1)))
    r = np.exp(random.normal(1, 0.5, GENES))
    return random.poisson(size * rates * random.gamma(r, 1 / r, (n, GENES))), kind


def library_size_metrics(codes: Any, x: Any, kind: Any) -> dict[str, float]:
    """Return how codes depend on the log library size, relative to the means of the types."""
    size = np.log(x.sum(1).clip(1))[:, None]
    codes, size = (within_types(values, kind) for values in (codes, size))
    active = codes[:, codes.std(0) > 1e-6]
    correlation = np.corrcoef(active.T, size[:, 0])[-1, :-1]
    r2 = cross_val_score(RidgeCV(np.logspace(-3, 3, 13)), codes, size[:, 0], cv=5).mean()
    return {"correlation": float(np.abs(correlation).max()), "r2": float(r2)}


def within_types(values: Any, kind: Any) -> Any:
    residuals = np.asarray(values, dtype=np.float64).copy()
    for k in np.unique(kind):
        residuals[kind == k] -= residuals[kind == k].mean(0)
    return residuals


def log_size_density(x: Any, train: Any) -> Any:
    """Return the log-density of library sizes, from a log-normal distribution of training rows."""
    log_size, fitted = (np.log(rows.sum(1).clip(1)) for rows in (x, train))
    z = (log_size - fitted.mean()) / fitted.std()
    return -0.5 * (z**2 + math.log(2 * math.pi)) - math.log(fitted.std()) - log_size


def log_likelihood(run: Run, x: Any, train: Any, is_log: bool) -> dict[str, float]:
    """Return the mean of log p(x), with the library size, in the units of the counts."""
    rows = np.log1p(x) if is_log else x
    data = run.read(rows.astype(np.float32))
    nll = negative_log_likelihood(
        run.model, run.codec.load, run.batches(data), samples=SAMPLES
    ).nll.numpy()
    if run.codec.domain == "count":
        log_size = log_size_density(x, train)
        log_probability = normalized_log_likelihood(run, x) + log_size
        return {"log_p": float((log_size - nll).mean()), "binned": float(log_probability.mean())}
    log_det = np.log(run.codec.scale).sum() + (np.log1p(x).sum(1) if is_log else 0)
    binned = binned_log_likelihood(run, x, is_log)
    return {"log_p": float((-nll - log_det).mean()), "binned": float(binned.mean())}


@torch.no_grad()
def binned_log_likelihood(run: Run, x: Any, is_log: bool) -> Any:
    """Return the log-probability of counts under a Gaussian, integrated over unit intervals."""
    edges = [np.maximum(x + shift, -1 + 1e-9) if is_log else x + shift for shift in (-0.5, 0.5)]
    low, high = (
        (np.log1p(edge) if is_log else edge) - np.asarray(run.codec.mean) for edge in edges
    )
    low, high = (edge / np.asarray(run.codec.scale) for edge in (low, high))
    low[x == 0] = -np.inf  # the left tail belongs to 0
    rows = (np.log1p(x) if is_log else x).astype(np.float32)
    inputs, _ = run.model_input(run.read(rows))
    bounds = []
    for part in torch.arange(len(x)).split(50):
        z, log_w = posterior_draws(run.model, inputs[part], samples=SAMPLES)
        px = run.model.decode(z)
        center, std = (t.double().numpy() for t in (px.mean, base_distribution(px).stddev))
        # ndtr loses its digits near 1, so the interval is mirrored to the left of the mean.
        a, b = ((edge[part.numpy()] - center) / std for edge in (low, high))
        is_right = a > 0
        a, b = np.where(is_right, -b, a), np.where(is_right, -a, b)
        log_mass = np.log((ndtr(b) - ndtr(a)).clip(1e-300)).sum(2)
        log_w = log_w.double() - px.log_prob(inputs[part]).double() + torch.from_numpy(log_mass)
        bounds.append(importance_bound(log_w).numpy())
    return np.concatenate(bounds)


@torch.no_grad()
def normalized_log_likelihood(run: Run, x: Any) -> Any:
    """Return log p(x) given the library size, divided by the probability of this size given z."""
    inputs, _ = run.model_input(run.read(x.astype(np.float32)))
    bounds = []
    for part in inputs.split(50):
        z, log_w = posterior_draws(run.model, part, samples=SAMPLES)
        px = base_distribution(given_library_size(run.model.decode(z), part))
        variance = px.variance.double().sum(2)
        deviation = part.sum(1) - px.mean.double().sum(2)
        log_p_size = -0.5 * (deviation.square() / variance + (2 * math.pi * variance).log())
        bounds.append(importance_bound(log_w.double() - log_p_size).numpy())
    return np.concatenate(bounds)


def sample_metrics(samples: Any) -> dict[str, float]:
    varying = samples[:, samples.std(0) > 0]
    correlation = np.corrcoef(varying.T)
    upper = np.abs(correlation[np.triu_indices(len(correlation), 1)])
    return {"sum": float(samples.sum(1).mean()), "gene_correlation": float(upper.mean())}


def run_trial(name: str, seed: int, epochs: int) -> dict[str, float]:
    likelihood, is_log = MODELS[name]
    x, kind = simulate(seed)
    train, test, test_kind = x[:TRAINED], x[TRAINED:], kind[TRAINED:]
    rows = (np.log1p(train) if is_log else train).astype(np.float32)
    options: dict[str, Any] = {} if likelihood != "gaussian" else {"scale": "per-element"}
    begin = time.process_time()
    with TemporaryDirectory() as folder:
        settings = {"latent": 10, "epochs": epochs, "seed": seed, "threads": 1} | options
        job = prepare(rows, likelihood=likelihood, out=Path(folder) / "run", **settings)
        for _ in job.train():
            pass
        run = job.write_model()
        seconds = time.process_time() - begin
        source = (np.log1p(test) if is_log else test).astype(np.float32)
        codes = run.encode(source).mean.numpy()
        samples = run.sample(len(test), sample_x=True).array
        samples = np.expm1(samples) if is_log else samples
        return (
            library_size_metrics(codes, test, test_kind)
            | log_likelihood(run, test, train, is_log)
            | sample_metrics(samples)
            | {"seconds": seconds}
        )


def page(results: dict[str, Any]) -> list[str]:
    columns = {
        "correlation": ("max. correlation", 2),
        "r2": ("R²", 2),
        "log_p": ("log p(x)", 1),
        "binned": ("log P(x)", 1),
        "sum": ("sum", 0),
        "gene_correlation": ("gene correlation", 3),
        "seconds": ("seconds", 0),
    }
    body = []
    for name in [*MODELS, "test rows"]:
        trials = [trials[name] for trials in results.values()]
        cells = [
            mean_std([trial[key] for trial in trials], digits) if key in trials[0] else ""
            for key, (_, digits) in columns.items()
        ]
        body.append([name, *cells])
    header = ["likelihood", *(title for title, _ in columns.values())]
    table = markdown_table(header, body)
    seeds = f"Number of seeds: {len(results)}."
    return ["# Likelihoods of counts", "", description(__doc__), "", *table, "", seeds]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--dry-run", action="store_true", help="print the results only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for seed in args.seeds:
        results = {"test rows": sample_metrics(simulate(seed)[0][TRAINED:])}
        for name in MODELS:
            results[name] = run_trial(name, seed, args.epochs)
            print(seed, name, json.dumps(results[name]), flush=True)
        if not args.dry_run:
            save(NAME, str(seed), results)
            write_page(NAME, page(load(NAME)))


if __name__ == "__main__":
    main()
