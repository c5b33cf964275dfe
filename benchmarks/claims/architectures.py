"""Claims about networks and model architectures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
from benchmarks.claims.latent_space import gray_digits, to_uint8
from benchmarks.training import CONV_NET, ELBO, TrainedModel, frechet_distance, load_dataset
from varied.evaluate import sharpness
from varied.plots import side_by_side

MLP, CONV = "fully connected", "convolutional"
NETWORKS: dict[str, dict[str, Any]] = {
    "mnist": {MLP: {"name": "mlp", "width": 512, "depth": 2}, CONV: CONV_NET},
    "sprites": {
        MLP: {"name": "mlp", "width": 128, "depth": 2},
        CONV: CONV_NET | {"width": 16},
    },
}
TITLES = {"mnist": "digits", "sprites": "sprites"}


def networks(budget: Budget) -> Outcome:
    """Fully connected and convolutional networks with similar numbers of parameters are trained on
    MNIST (28 x 28) and on sprites (64 x 64), each once for 4 epochs and once for two minutes on one
    thread.
    """
    rows, nelbo = [], {}
    seeds = budget.seeds()
    plan = {"batch_size": 128, "lr": 2e-3}
    for dataset, nets in NETWORKS.items():
        for name, net in nets.items():
            parts = {"net": net, "latent": 16, "objective": ELBO}
            epochs, minutes = budget.epochs(4), budget.epochs(2)
            by_epochs = [cached_model(dataset, epochs, seed, parts, **plan) for seed in seeds]
            by_minutes = [
                cached_model(dataset, None, seed, parts, **plan, minutes=minutes)
                for seed in seeds[:2]
            ]
            values = [negative_elbo(models, budget) for models in (by_epochs, by_minutes)]
            nelbo[dataset, name] = values
            size = sum(p.numel() for p in by_epochs[0].model.parameters())
            rows.append(
                (
                    f"{TITLES[dataset]}, {name}",
                    f"{size:,}",
                    *(f"{value:.1f}" for value in values),
                    f"{by_minutes[0].epochs:.1f}",
                )
            )
    is_better = [
        conv.is_below(mlp)
        for dataset in NETWORKS
        for conv, mlp in zip(nelbo[dataset, CONV], nelbo[dataset, MLP], strict=True)
    ]
    (conv, conv_in_time), (mlp, mlp_in_time) = (
        [[nelbo[dataset, kind][i] for dataset in NETWORKS] for i in range(2)]
        for kind in (CONV, MLP)
    )
    header = (
        "network",
        "parameters",
        "-ELBO after 4 epochs",
        "-ELBO after two minutes",
        "epochs in two minutes",
    )
    return Outcome(
        verdict(*is_better),
        f"After the same number of epochs, -ELBO of the convolutional network is {conv[0]:.1f} "
        f"nats on digits and {conv[1]:.1f} nats on sprites, compared with {mlp[0]:.1f} and "
        f"{mlp[1]:.1f} nats for the fully connected network. After the same training time, it is "
        f"{conv_in_time[0]:.1f} and {conv_in_time[1]:.1f} nats, compared with "
        f"{mlp_in_time[0]:.1f} and {mlp_in_time[1]:.1f} nats.",
        [Table(header, rows, f"{over_seeds(seeds)[:-1]} (2 seeds for two minutes).")],
    )


def negative_elbo(models: Sequence[TrainedModel], budget: Budget) -> MeanStd:
    evaluations = [model.evaluation(limit=budget.rows(5000)) for model in models]
    return MeanStd.of(-e.elbo.value for e in evaluations if e.elbo)


LADDER = {"name": "ladder", "levels": 5, "hidden_size": 160}
CODES = {"latent": (16, 7, 7), "net": CONV_NET, "prior": "transformer", "objective": "vq-vae"}
#: Parts, epochs and learning rate of each model.
ARCHITECTURES: dict[str, tuple[dict[str, Any], float, float]] = {
    "VAE": ({"latent": 32}, 16, 4e-3),
    "ladder, 5 levels": ({"latent": 16, "architecture": LADDER}, 16, 3e-3),
    "VAE, convolutional": ({"latent": 32, "net": CONV_NET}, 5, 2e-3),
    "VAE with PatchGAN": ({"latent": 32, "net": CONV_NET, "objective": "patchgan"}, 5, 2e-3),
    "VQ-VAE (SimVQ)": (CODES | {"posterior": "simvq"}, 5, 2e-3),
}


def architectures(budget: Budget) -> Outcome:
    """A VAE and a ladder VAE, which has five levels and fewer parameters than the VAE, are trained
    on MNIST for 16 epochs. A convolutional VAE, a convolutional VAE with a PatchGAN discriminator,
    and a VQ-VAE (SimVQ) with a transformer prior are trained for 5 epochs. The table shows -ELBO,
    the sharpness of reconstructions and samples relative to that of digits, and the Fréchet
    distance of 5,000 samples from test digits.
    """
    seeds, n = budget.seeds(2), budget.rows(5000)
    real, binary = gray_digits("test", n), load_dataset("mnist").model_input("test", 1000)
    reference = sharpness(binary).value
    rows, strips = [], [("test digits", to_uint8(binary))]
    nelbo, sharp = [], []
    for name, (parts, epochs, lr) in ARCHITECTURES.items():
        parts = {"objective": ELBO} | parts
        models = [
            cached_model("mnist", budget.epochs(epochs), seed, parts, lr=lr) for seed in seeds
        ]
        samples = [model.samples(n) for model in models]
        nelbo.append(negative_elbo(models, budget))
        sharp.append(
            MeanStd.of(sharpness(model.reconstruct(1000)).value / reference for model in models)
        )
        sample_sharpness = MeanStd.of(sharpness(x).value / reference for x in samples)
        distance = MeanStd.of(frechet_distance(x, real) for x in samples)
        cells = (f"{nelbo[-1]:.1f}", f"{sharp[-1]:.2f}", f"{sample_sharpness:.2f}")
        rows.append((name, *cells, f"{distance:.0f}"))
        strips.append((name, to_uint8(samples[0])))
    side_by_side(strips, budget.folder / "architectures.png")
    flat, deep, conv, gan, vq = sharp
    header = (
        "model",
        "-ELBO, nats",
        "sharpness of reconstructions",
        "sharpness of samples",
        "Fréchet distance",
    )
    note = f"{over_seeds(seeds)} Sharpness is relative to binarized digits."
    return Outcome(
        verdict(
            nelbo[1].is_below(nelbo[0]),
            flat.is_below(deep),
            conv.is_below(gan),
            conv.is_below(vq),
        ),
        f"-ELBO is {nelbo[1]:.1f} nats for the ladder VAE and {nelbo[0]:.1f} nats for the VAE. The "
        f"sharpness of reconstructions, relative to that of digits, is {flat:.2f} for the VAE and "
        f"{deep:.2f} for the ladder VAE; among the convolutional models, it is {conv:.2f} for the "
        f"VAE, {gan:.2f} for the VAE with a discriminator, and {vq:.2f} for the VQ-VAE.",
        [Table(header, rows, note)],
        [Image("architectures.png", "Test digits, and samples from each model, one row each.")],
    )


CLAIMS = (
    Claim(
        5,
        "Fully connected networks are poor on images; convolutional networks with the same "
        "number of parameters are better.",
        networks,
    ),
    Claim(
        6,
        "A hierarchical VAE is sharper and has a better ELBO; a VAE-GAN and a VQ-VAE with a "
        "learned prior are sharper.",
        architectures,
    ),
)
