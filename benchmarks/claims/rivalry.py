"""The claim about rivals: a GAN, and a diffusion model."""

from __future__ import annotations

import inspect
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.claims import rivals
from benchmarks.claims.base import Budget, Claim, Outcome, Picture, Spread, Table, verdict
from benchmarks.claims.spaces import gray, looks, spread
from benchmarks.trained import ELBO, data, distance, trained
from varied import functional
from varied.evaluate import sharpness
from varied.plots import side_by_side
from varied.spec import Plan

#: Pictures that are drawn of each.
DRAWN = 500


class Ours:
    """The VAE, with convolutions as its rivals have, asked as they are."""

    def __init__(self, seed: int, rate: float = 1e-3) -> None:
        self.seed, self.rate = seed, rate

    def train(self, x: Tensor, seed: int, seconds: float) -> None:
        """Train for so long."""
        plan = Plan(
            threads=1, compile="no", batch_size=128, lr=self.rate, minutes=seconds / 60, seed=seed
        )
        net = {"name": "conv", "width": 16}
        self.one = trained(data("mnist"), plan, net=net, latent=16, objective=ELBO)

    def sample(self, n: int, seed: int) -> Tensor:
        """Return pictures in [0, 1]: the means of p(x given z)."""
        return torch.cat(
            [
                functional.sample(self.one.model, len(some), seed=seed + index)
                for index, some in enumerate(torch.arange(n).split(500))
            ]
        )


MODELS: dict[str, Any] = {"VAE": Ours, "GAN": rivals.GAN, "diffusion": rivals.Diffusion}
USUAL = {"VAE": 1e-3, "GAN": 2e-4, "diffusion": 1e-3}
LATENTS = {
    "VAE": "an encoder, a density, and a bound",
    "GAN": "no encoder and no density",
    "diffusion": "as large as a picture",
}


def rivalled(budget: Budget) -> Outcome:
    """A VAE with convolutions, a GAN (the nets of DCGAN) and a diffusion model (a small U-net, 100
    steps) learn the same digits for the same 90 seconds on one thread, three seeds each, at the
    usual learning rate and at ten times that. The Fréchet distance of 500 samples to as many test
    digits, in the features of a classifier; the sharpness of samples as a share of that of digits;
    and pictures drawn in a second. A training that comes out three times as far as the model's own
    best is called failed.
    """
    seconds, seeds, rows, shown = budget.epochs(90), budget.seeds(), [], []
    drawn = DRAWN // 4 if budget.quick else DRAWN
    real = gray("test", drawn)
    distance(real, real)  # the classifier is trained before a clock runs
    sharp = sharpness(real).value
    far: dict[str, list[float]] = {}
    lines, pace = [], {}
    x = gray("train", 50_000)
    for name, make in MODELS.items():
        far[name], edges, speeds = [], [], []
        for times in (1, 10):
            for seed in seeds:
                one = make(seed, rate=times * USUAL[name])
                one.train(x, seed, seconds)
                begun = time.perf_counter()
                made = one.sample(drawn, seed)
                speeds.append(drawn / (time.perf_counter() - begun))
                far[name].append(distance(made.nan_to_num(0.0), real))
                edges.append(sharpness(made.nan_to_num(0.0)).value / sharp)
                print(name, times, seed, far[name][-1], edges[-1], speeds[-1], flush=True)
                if seed == 0 and times == 1:
                    shown.append((name, looks(made)))
        usual = Spread(tuple(far[name][: len(seeds)]))
        failed = sum(value > 3 * min(far[name]) for value in far[name])
        pace[name] = Spread(tuple(speeds))
        sharper = Spread(tuple(edges[: len(seeds)]))
        rows.append(
            (
                name,
                f"{usual:.0f}",
                f"{failed} of {len(far[name])}",
                f"{sharper:.2f}",
                f"{pace[name].mean:,.0f}",
                LATENTS[name],
            )
        )
        lines.append((name, usual, failed))
    side_by_side([("test digits", looks(real)), *shown], budget.folder / "rivals.png")
    (_, vae, ours), (_, gan, theirs), (_, diffusion, _) = lines
    return Outcome(
        verdict(ours < theirs, pace["VAE"].mean > 10 * pace["diffusion"].mean),
        f"{ours} of the {len(far['VAE'])} trainings of the VAE failed and {theirs} of the GAN's; "
        f"the VAE draws {pace['VAE'].mean / pace['diffusion'].mean:,.0f} times as fast as the "
        f"diffusion model. Its samples are {vae:.0f} from the digits, the GAN's {gan:.0f}, those "
        f"of the diffusion model {diffusion:.0f}.",
        [
            Table(
                (
                    "model",
                    "Fréchet distance",
                    "failed trainings",
                    "sharpness, of the digits'",
                    "pictures a second",
                    "its latent space",
                ),
                rows,
                f"{spread(seeds)} Lines of code: the GAN {_lines(rivals.GAN)}, the diffusion model "
                f"{_lines(rivals.Diffusion, rivals.UNet, rivals.Block)}; the VAE is one call.",
            )
        ],
        [Picture("rivals.png", "Rows of test digits, and of samples of each model.")],
    )


def _lines(*classes: type) -> int:
    return sum(len(inspect.getsource(one).splitlines()) for one in classes)


CLAIMS = (
    Claim(
        8,
        "A VAE trains stably where a GAN does not, and draws fast where a diffusion model is slow.",
        rivalled,
    ),
)
