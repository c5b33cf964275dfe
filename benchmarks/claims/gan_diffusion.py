"""The claim that compares VAEs with GANs and diffusion models."""

from __future__ import annotations

import inspect
import time
from typing import Any

from torch import Tensor

from benchmarks.claims import baselines
from benchmarks.claims.base import (
    Budget,
    Claim,
    Image,
    MeanStd,
    Outcome,
    Table,
    over_seeds,
    verdict,
)
from benchmarks.claims.latent_space import gray_digits, to_uint8
from benchmarks.training import CONV_NET, frechet_distance, load_dataset, train_model
from varied.evaluate import sharpness
from varied.plots import side_by_side
from varied.spec import Plan

N_SAMPLES = 500


class VAE:
    """A convolutional VAE with the interface of the baselines."""

    def __init__(self, seed: int, lr: float = 1e-3) -> None:
        self.seed, self.lr = seed, lr

    def train(self, x: Tensor, seed: int, seconds: float) -> None:
        """Train for a given time."""
        minutes = seconds / 60
        plan = Plan(threads=1, compile="no", batch_size=128, lr=self.lr, minutes=minutes, seed=seed)
        net = CONV_NET | {"width": 16}
        self.trained = train_model(load_dataset("mnist"), plan, {"net": net, "latent": 16})

    def sample(self, n: int, seed: int) -> Tensor:
        """Return images in [0, 1]: the means of p(x given z)."""
        return self.trained.samples(n, seed)


#: The class, the default learning rate and the latent space of each model.
MODELS: dict[str, tuple[Any, float, str]] = {
    "VAE": (VAE, 1e-3, "encoder and ELBO"),
    "GAN": (baselines.GAN, 2e-4, "no encoder and no density"),
    "diffusion": (baselines.Diffusion, 1e-3, "as large as an image"),
}


def gan_and_diffusion(budget: Budget) -> Outcome:
    """A convolutional VAE, a GAN (the networks of DCGAN) and a diffusion model (a small U-Net, 100
    steps) are trained on MNIST for 90 seconds on one thread, with three seeds each, at the default
    learning rate and at ten times this rate. The table shows the Fréchet distance of 500 samples
    from test digits in the feature space of a classifier, the sharpness of samples relative to that
    of digits, and the number of samples per second. A training run counts as failed if its Fréchet
    distance is more than three times the lowest distance among all runs of the same model.
    """
    seconds, seeds, rows = budget.epochs(90), budget.seeds(), []
    n = N_SAMPLES // 4 if budget.quick else N_SAMPLES
    real = gray_digits("test", n)
    frechet_distance(real, real)  # trains the classifier before time is measured
    reference = sharpness(real).value
    strips, speed, quality, failures = [("test digits", to_uint8(real))], {}, {}, {}
    x = gray_digits("train", 50_000)
    for name, (build, lr, latent_space) in MODELS.items():
        distances, sharp, speeds = [], [], []
        for factor in (1, 10):
            for seed in seeds:
                model = build(seed, lr=factor * lr)
                model.train(x, seed, seconds)
                begin = time.perf_counter()
                samples = model.sample(n, seed)
                speeds.append(n / (time.perf_counter() - begin))
                distances.append(frechet_distance(samples.nan_to_num(0.0), real))
                sharp.append(sharpness(samples.nan_to_num(0.0)).value / reference)
                print(name, factor, seed, distances[-1], sharp[-1], speeds[-1], flush=True)
                if seed == 0 and factor == 1:
                    strips.append((name, to_uint8(samples)))
        quality[name] = MeanStd.of(distances[: len(seeds)])
        failures[name] = sum(value > 3 * min(distances) for value in distances)
        speed[name] = MeanStd.of(speeds).mean
        rows.append(
            (
                name,
                f"{quality[name]:.0f}",
                f"{failures[name]} of {len(distances)}",
                f"{MeanStd.of(sharp[: len(seeds)]):.2f}",
                f"{speed[name]:,.0f}",
                latent_space,
            )
        )
    side_by_side(strips, budget.folder / "gan-diffusion.png")
    header = (
        "model",
        "Fréchet distance",
        "failed training runs",
        "relative sharpness",
        "samples per second",
        "latent space",
    )
    note = (
        f"{over_seeds(seeds)} The GAN takes {_lines(baselines.GAN)} lines of code and the "
        f"diffusion model {_lines(baselines.Diffusion, baselines.UNet, baselines.Block)}; the VAE "
        "is one call."
    )
    return Outcome(
        verdict(failures["VAE"] < failures["GAN"], speed["VAE"] > 10 * speed["diffusion"]),
        f"Of the {2 * len(seeds)} training runs of each model, {failures['VAE'] or 'none'} failed "
        f"for the VAE and {failures['GAN'] or 'none'} for the GAN; the VAE samples "
        f"{speed['VAE'] / speed['diffusion']:,.0f} times as fast as the diffusion model. "
        f"The Fréchet distance is {quality['VAE']:.0f} for "
        f"the VAE, {quality['GAN']:.0f} for the GAN and {quality['diffusion']:.0f} for the "
        "diffusion model.",
        [Table(header, rows, note)],
        [Image("gan-diffusion.png", "Test digits, and samples from each model, one row each.")],
    )


def _lines(*classes: type) -> int:
    return sum(len(inspect.getsource(c).splitlines()) for c in classes)


CLAIMS = (
    Claim(
        8,
        "A VAE trains stably where a GAN does not, and samples fast where a diffusion model is "
        "slow.",
        gan_and_diffusion,
    ),
)
