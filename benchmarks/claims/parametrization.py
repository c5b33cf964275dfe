"""The claim about the variance parameter, the input scale, and the latent dimension."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from benchmarks.claims.architectures import negative_elbo
from benchmarks.claims.base import (
    PLAN,
    Budget,
    Claim,
    MeanStd,
    Outcome,
    Table,
    cached_model,
    over_seeds,
    verdict,
)
from benchmarks.claims.latent_space import digit_classes
from benchmarks.training import (
    ELBO,
    TrainedModel,
    load_dataset,
    start_training,
    train_model,
)
from varied import distributions as d
from varied.heads import Head
from varied.models import LatentModel
from varied.posteriors import POSTERIORS
from varied.prior_fitting import require_vae
from varied.spec import Plan


class UnboundedGaussian(Head):
    """A Gaussian posterior whose variance is parametrized in one of several ways."""

    params_per_element = 2

    def __init__(self, event: tuple[int, ...], parameter: str = "log-variance") -> None:
        super().__init__(event)
        self.parameter = parameter

    def build(self, mean: Tensor, h: Tensor) -> Distribution:
        """Return diagonal Gaussians."""
        log_variance = {
            "log-variance": lambda: h,
            "softplus": lambda: softplus(h).log(),
            "square": lambda: h.square().log(),
            "relu": lambda: h.relu().log(),
        }[self.parameter]()
        return d.Gaussian(mean, log_variance)


NAME = "unbounded-gaussian"
BOUNDED, UNBOUNDED = "log-variance, bounded (the default)", "log-variance, unbounded"
PARAMETERS = {
    BOUNDED: "gaussian",
    UNBOUNDED: {"name": NAME, "parameter": "log-variance"},
    "variance, softplus": {"name": NAME, "parameter": "softplus"},
    "variance, square": {"name": NAME, "parameter": "square"},
    "variance, ReLU": {"name": NAME, "parameter": "relu"},
}


def parametrization(budget: Budget) -> Outcome:
    """The variance of the posterior is parametrized in five ways. A VAE with each parametrization
    is trained on MNIST for 600 steps with the default gradient clipping, at learning rates of 1e-3,
    1e-2 and 5e-2, with three seeds each. The first table shows the number of steps with a
    non-finite loss, the number of training runs that end with a finite loss, and the final loss.
    Then a VAE with the default parametrization is trained for 4 epochs, once with encoder inputs in
    [0, 1] and once with inputs in [0, 255], and VAEs with latent dimensions from 2 to 256 are
    trained for 16 epochs.
    """
    POSTERIORS.setdefault(NAME, UnboundedGaussian)
    variances, lost = _compare_parameters(budget)
    inputs, unit, raw = _compare_inputs(budget)
    dimensions, nelbo = _compare_dimensions(budget)
    best = min(nelbo, key=lambda size: nelbo[size].mean)
    good = [size for size in nelbo if nelbo[size].mean - nelbo[best].mean < 1]
    softplus_lost, square_lost, relu_lost = (lost[name] for name in list(PARAMETERS)[2:])
    return Outcome(
        verdict(
            lost[BOUNDED] == 0,
            lost[UNBOUNDED] <= max(softplus_lost, square_lost, relu_lost),
            unit.is_below(raw),
            {16, 32, 64} <= set(good),
        ),
        f"The number of steps with a non-finite loss is {lost[BOUNDED]} for the bounded "
        f"log-variance, {lost[UNBOUNDED]} for the unbounded log-variance, {softplus_lost} for "
        f"softplus, {square_lost:,} for the square, and {relu_lost:,} for ReLU. -ELBO is "
        f"{unit:.1f} nats for inputs in [0, 1] and {raw:.1f} nats for inputs in [0, 255]. Among "
        f"the latent dimensions, it is lowest for {best}, and less than one nat higher for "
        f"{_enumerate([size for size in good if size != best])}.",
        [variances, inputs, dimensions],
    )


def _enumerate(sizes: list[int]) -> str:
    """Return numbers as text: "64", "64 and 128", or "no other number"."""
    *others, last = map(str, sizes or ["no other number"])
    return f"{', '.join(others)} and {last}" if others else last


def _compare_parameters(budget: Budget) -> tuple[Table, dict[str, int]]:
    rows, lost = [], {}
    seeds, steps = budget.seeds(), int(budget.epochs(600))
    for name, posterior in PARAMETERS.items():
        trials = {
            lr: [_train(posterior, lr, seed, steps) for seed in seeds] for lr in (1e-3, 1e-2, 5e-2)
        }
        all_trials = [trial for group in trials.values() for trial in group]
        lost[name] = sum(bad for _, bad in all_trials)
        finite = sum(math.isfinite(loss) for loss, _ in all_trials)
        losses = [[x for x, _ in group if math.isfinite(x)] for group in trials.values()]
        cells = [f"{np.mean(values):.0f}" if values else "none" for values in losses]
        rows.append((name, f"{lost[name]:,}", f"{finite} of {len(all_trials)}", *cells))
    header = (
        "parametrization",
        "non-finite steps",
        "finite at the end",
        "loss at learning rate 1e-3",
        "at 1e-2",
        "at 5e-2",
    )
    note = f"{steps} steps each. The loss is the mean over the last 50 steps, in nats."
    return Table(header, rows, note), lost


def _train(posterior: Any, lr: float, seed: int, steps: int) -> tuple[float, int]:
    """Return the mean loss over the last steps, and the number of steps with a non-finite loss."""
    plan = Plan(**PLAN | {"steps": steps, "lr": lr, "seed": seed})
    parts = {"latent": 16, "posterior": posterior, "objective": "elbo"}
    _, _, events = start_training(load_dataset("mnist"), plan, parts)
    losses: list[float] = []
    try:
        losses.extend(float(event.parts["loss"]) for event in events)
    except Exception as error:  # training was aborted, or a distribution rejected its parameters
        print("ended early:", error, flush=True)
    lost = steps - int(np.isfinite(losses).sum())
    has_ended = len(losses) == steps
    return float(np.mean(losses[-50:])) if has_ended else math.nan, lost


def _compare_inputs(budget: Budget) -> tuple[Table, MeanStd, MeanStd]:
    seeds = budget.seeds()
    unit, raw = (
        MeanStd.of(_train_scaled(factor, seed, budget) for seed in seeds) for factor in (1.0, 255.0)
    )
    rows = [("[0, 1]", f"{unit:.1f}"), ("[0, 255]", f"{raw:.1f}")]
    return Table(("inputs", "-ELBO, nats"), rows, over_seeds(seeds)), unit, raw


class ScaledInput(nn.Module):
    """A network whose input is multiplied by a factor."""

    def __init__(self, net: nn.Module, factor: float) -> None:
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for the scaled input."""
        output: Tensor = self.net(self.factor * x)
        return output


def _train_scaled(factor: float, seed: int, budget: Budget) -> float:
    def scale_input(model: LatentModel) -> None:
        encoder = require_vae(model).encoder
        encoder.net = ScaledInput(encoder.net, factor)

    plan = Plan(**PLAN | {"epochs": budget.epochs(4), "seed": seed})
    trained = train_model(load_dataset("mnist"), plan, {"latent": 16}, prepare=scale_input)
    return negative_elbo([trained], budget).mean


def _compare_dimensions(budget: Budget) -> tuple[Table, dict[int, MeanStd]]:
    rows, nelbo, seeds = [], {}, budget.seeds(2)
    for size in (2, 4, 8, 16, 32, 64, 128, 256):
        parts = {"latent": size, "objective": ELBO}
        models = [cached_model("mnist", budget.epochs(16), seed, parts) for seed in seeds]
        nelbo[size] = negative_elbo(models, budget)
        active = MeanStd.of(model.evaluation(limit=5000).active_units.value for model in models)
        error = MeanStd.of(_probe_error(model) for model in models)
        rows.append((str(size), f"{nelbo[size]:.1f}", f"{active:.1f}", f"{error:.1f}"))
    header = ("latent dimension", "-ELBO, nats", "active units", "error of a linear probe, %")
    return Table(header, rows, f"{over_seeds(seeds)} The probe uses 5,000 labels."), nelbo


def _probe_error(model: TrainedModel) -> float:
    probe = LogisticRegression(max_iter=2000)
    probe.fit(model.encode("train", 5000).numpy(), digit_classes("train", 5000))
    predicted = probe.predict(model.encode("test", 5000).numpy())
    return 100 * float((predicted != digit_classes("test", 5000)).mean())


CLAIMS = (
    Claim(
        11,
        "A log-variance is numerically safer than a variance; inputs should be in [0, 1]; 16 to 64 "
        "latent dimensions are a good starting point.",
        parametrization,
    ),
)
