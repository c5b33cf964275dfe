"""The claim about posterior collapse, with a decoder that does not need the code."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits, conv2d

from benchmarks.claims.base import (
    PLAN,
    Budget,
    Claim,
    MeanStd,
    Outcome,
    Table,
    over_seeds,
    verdict,
)
from benchmarks.training import Dataset, load_dataset, train_model
from varied.data import Batch
from varied.data.codecs import ImageCodec
from varied.distributions import Elementwise
from varied.likelihoods import LIKELIHOODS, Likelihood
from varied.spec import Plan

SIZE = 14


@cache
def small_digits() -> Dataset:
    """Return dynamically binarized digits of 14 x 14, downsampled by averaging."""
    data, codec = load_dataset("mnist"), ImageCodec((1, SIZE, SIZE), binarize="dynamic")
    splits = {
        name: Batch(adaptive_avg_pool2d(rows.x.float(), SIZE).round().to(torch.uint8))
        for name, rows in data.splits.items()
    }
    return Dataset(data.data, codec, splits)


class MaskedConvNet(nn.Module):
    """A network that maps pixels to logits, each computed from the preceding pixels.

    The receptive field covers 6 rows and columns on each side.

    References:
        Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
        https://arxiv.org/abs/1606.05328
    """

    mask: Tensor

    def __init__(self, width: int = 32, radius: int = 6) -> None:
        super().__init__()
        self.radius, side = radius, 2 * radius + 1
        self.first = nn.Conv2d(1, width, side)
        self.hidden = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(2))
        self.last = nn.Conv2d(width, 1, 1)
        mask = torch.arange(side * side) < side * side // 2
        self.register_buffer("mask", mask.view(side, side).float())

    def forward(self, x: Tensor) -> Tensor:
        """Return logits with the shape of ``x``."""
        pixels = x.reshape(-1, 1, *x.shape[-2:])
        h = conv2d(pixels, self.first.weight * self.mask, self.first.bias, padding=self.radius)
        for layer in self.hidden:
            h = h + layer(h.relu())
        logits: Tensor = self.last(h.relu())
        return logits.view_as(x)


class AutoregressivePixels(Elementwise):
    """A distribution of binary pixels, each given the preceding pixels and the latent code."""

    def __init__(self, logits: Tensor, net: MaskedConvNet) -> None:
        super().__init__(logits)
        self.net = net

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log-probabilities per element, in nats."""
        logits = self.params[0] + self.net(value)
        return -binary_cross_entropy_with_logits(logits, value.expand_as(logits), reduction="none")

    @property
    def mean(self) -> Tensor:
        """The mean given the latent code only."""
        return self.params[0].sigmoid()


class AutoregressiveBernoulli(Likelihood):
    """A likelihood for binary images whose pixels depend on the preceding ones."""

    accepts = frozenset({"binary"})

    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__(event)
        self.net = MaskedConvNet()

    def build(self, logits: Tensor) -> Distribution:
        """Return a distribution over images."""
        return AutoregressivePixels(logits, self.net)


NAME = "autoregressive-bernoulli"
BASE: dict[str, Any] = {
    "latent": 16,
    "likelihood": NAME,
    "objective": {"name": "elbo"},
    "net": {"name": "mlp", "width": 256, "depth": 3},
}
REMEDIES: dict[str, dict[str, Any]] = {
    "none": {},
    "KL warm-up": {"objective": {"name": "elbo", "beta": "linear(0, 1, 0.5)"}},
    "free bits": {"objective": {"name": "elbo", "free_bits": 0.5}},
    "stronger encoder": {"net": {"name": "mlp", "width": 1024, "depth": 3}},
    "ControlVAE, target of 5 nats": {"objective": {"name": "control-vae", "kl_target": 5.0}},
    "delta-VAE": {"posterior": "delta-gaussian"},
}


def collapse(budget: Budget) -> Outcome:
    """The decoder predicts each pixel of 14 x 14 digits from the preceding ones and therefore does
    not need the code. The networks have three layers of 256 units, the latent dimension is 16, and
    training takes 8 epochs with the full KL weight from the first step. Each remedy changes one of
    these choices: a KL warm-up over the first half of training; free bits of 0.5 nats per unit;
    layers of 1,024 units in the encoder and the decoder (in the table, "stronger encoder");
    ControlVAE with a target of 5 nats; or the posterior of delta-VAE. The KL measures how much the
    code is used, and -ELBO measures whether this improves the model.
    """
    LIKELIHOODS.setdefault(NAME, AutoregressiveBernoulli)
    seeds, rows, kl, nelbo = budget.seeds(), [], {}, {}
    for name, change in REMEDIES.items():
        evaluations = []
        for seed in seeds:
            plan = Plan(**PLAN | {"lr": 2e-3, "epochs": budget.epochs(8), "seed": seed})
            trained = train_model(small_digits(), plan, BASE | change)
            evaluations.append(trained.evaluation(limit=budget.rows(5000)))
        kl[name] = MeanStd.of(e.kl.value for e in evaluations if e.kl)
        nelbo[name] = MeanStd.of(-e.elbo.value for e in evaluations if e.elbo)
        active = MeanStd.of(e.active_units.value for e in evaluations)
        rows.append((name, f"{kl[name]:.2f}", f"{active:.1f}", f"{nelbo[name]:.2f}"))
        print(*rows[-1], flush=True)
    none, *remedies = list(REMEDIES)[:4]
    is_cured = [kl[none].is_below(kl[name]) and kl[name].mean > 1 for name in remedies]
    warm_up, free_bits, encoder = remedies
    return Outcome(
        verdict(kl[none].mean < 1, *is_cured),
        f"The KL is {kl[none]:.2f} nats without a remedy, {kl[warm_up]:.2f} with a warm-up, "
        f"{kl[free_bits]:.2f} with free bits, and {kl[encoder]:.2f} with wider networks. -ELBO is "
        f"{nelbo[none]:.2f}, {nelbo[warm_up]:.2f}, {nelbo[free_bits]:.2f} and "
        f"{nelbo[encoder]:.2f}, respectively: using the code does not always improve the model.",
        [
            Table(
                ("remedy", "KL, nats", "active units of 16", "-ELBO, nats"), rows, over_seeds(seeds)
            )
        ],
    )


CLAIMS = (
    Claim(7, "KL warm-up, free bits and a stronger encoder prevent posterior collapse.", collapse),
)
