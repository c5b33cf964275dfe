"""The claim about the KL weight, and the trade-off that it controls."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.claims.base import (
    Budget,
    Claim,
    Image,
    MeanStd,
    Outcome,
    Table,
    cached_model,
    over_seeds,
    verdict,
)
from benchmarks.claims.latent_space import to_uint8
from benchmarks.training import CONV_NET, TrainedModel, load_dataset
from varied.evaluate import mig, sharpness
from varied.plots import rate_distortion, side_by_side

BETAS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SPRITES = {"net": CONV_NET | {"width": 8}, "latent": 10}
SPRITE_PLAN = {"batch_size": 64, "lr": 1e-3}
DATASETS = {"mnist": "digits", "sprites": "sprites"}
COLUMNS = {
    "kl": "KL, nats",
    "reconstruction": "reconstruction, nats",
    "nelbo": "-ELBO, nats",
    "sharpness": "relative sharpness",
    "mig": "MIG",
}


def beta_vae(dataset: str, beta: float, seed: int, budget: Budget) -> TrainedModel:
    objective = {"name": "elbo", "beta": beta}
    if dataset == "mnist":
        parts = {"latent": 16, "objective": objective}
        return cached_model(dataset, budget.epochs(6), seed, parts)
    parts = SPRITES | {"objective": objective}
    return cached_model(dataset, budget.epochs(3), seed, parts, **SPRITE_PLAN)


def trade_off(budget: Budget) -> Outcome:
    """VAEs are trained with seven constant KL weights, on MNIST (6 epochs, two seeds) and on
    sprites with five known factors (3 epochs, two seeds). The tables show the KL and the
    reconstruction error on the test rows, the sharpness of mean reconstructions relative to that of
    the data and, for sprites, the mutual information gap on 10,000 training rows.
    """
    tables, images, results = [], [], {}
    for dataset, title in DATASETS.items():
        seeds = budget.seeds(2)
        rows, points, strips = [], [], []
        for beta in BETAS:
            models = [beta_vae(dataset, beta, seed, budget) for seed in seeds]
            metrics = results[dataset, beta] = measure(dataset, models, budget)
            points.append((f"{beta:g}", metrics["kl"].mean, metrics["reconstruction"].mean))
            rows.append((f"{beta:g}", *(f"{value:.3g}" for value in metrics.values())))
            strips.append((f"beta {beta:g}", to_uint8(models[0].reconstruct(12))))
        header = [f"beta, {title}", *(COLUMNS[key] for key in metrics)]
        tables.append(Table(header, rows, over_seeds(seeds)))
        curve, examples = f"kl-weight-{title}.png", f"kl-weight-{title}-reconstructions.png"
        rate_distortion(points, budget.folder / curve)
        real = load_dataset(dataset).model_input("test", 12)
        side_by_side([("test data", to_uint8(real)), *strips], budget.folder / examples)
        images += [
            Image(curve, f"Reconstruction against KL of {title} for each weight."),
            Image(examples, f"Reconstructions of {title} for each weight."),
        ]
    digits = [results["mnist", beta]["sharpness"] for beta in (0.1, 8.0)]
    sprites = [results["sprites", beta]["sharpness"] for beta in (0.1, 8.0)]
    low, unit, high = (results["sprites", beta]["mig"] for beta in (0.1, 1.0, 4.0))
    return Outcome(
        verdict(
            digits[1].is_below(digits[0]),
            sprites[1].is_below(sprites[0]),
            unit.is_below(high),
            low.is_below(high),
        ),
        f"As beta increases from 0.1 to 8, the sharpness of reconstructions relative to the data "
        f"falls from {digits[0]:.2f} to {digits[1]:.2f} on digits and from {sprites[0]:.2f} to "
        f"{sprites[1]:.2f} on sprites. The mutual information gap on sprites is {low:.2f} at "
        f"beta = 0.1, {unit:.2f} at 1 and {high:.2f} at 4.",
        tables,
        images,
    )


def measure(dataset: str, models: Sequence[TrainedModel], budget: Budget) -> dict[str, MeanStd]:
    """Return the metrics for one weight, over seeds."""
    evaluations = [model.evaluation(limit=budget.rows(5000)) for model in models]
    real = sharpness(load_dataset(dataset).model_input("test", 1000)).value
    metrics = {
        "kl": MeanStd.of(e.kl.value for e in evaluations if e.kl),
        "reconstruction": MeanStd.of(e.reconstruction.value for e in evaluations),
        "nelbo": MeanStd.of(-e.elbo.value for e in evaluations if e.elbo),
        "sharpness": MeanStd.of(sharpness(m.reconstruct(1000)).value / real for m in models),
    }
    if dataset == "sprites":
        factors = load_dataset(dataset).labels("train", 10_000)
        codes = (model.encode("train", 10_000) for model in models)
        metrics["mig"] = MeanStd.of(mig(z, factors).value for z in codes)
    return metrics


CLAIMS = (
    Claim(
        3,
        "beta < 1 makes reconstructions sharper and the code less disentangled; beta > 1 makes "
        "them blurrier and the code more disentangled.",
        trade_off,
    ),
)
