"""Latent variable models: structures over the same three kinds of conditional distributions."""

from collections.abc import Callable

from varied.models.base import LatentModel, PartFactory, Temperature
from varied.models.ladder import Ladder, build_ladder
from varied.models.m1m2 import M1M2, build_m1m2
from varied.models.m2 import M2, build_m2
from varied.models.vae import VAE, build_vae
from varied.models.vqvae2 import TwoLevelQuantizer, build_vqvae2

__all__ = [
    "ARCHITECTURES",
    "M1M2",
    "M2",
    "VAE",
    "Ladder",
    "LatentModel",
    "PartFactory",
    "Temperature",
    "TwoLevelQuantizer",
    "build_ladder",
    "build_m1m2",
    "build_m2",
    "build_vae",
    "build_vqvae2",
]

ARCHITECTURES: dict[str, Callable[..., LatentModel]] = {
    "vae": build_vae,
    "ladder": build_ladder,
    "m2": build_m2,
    "m1m2": build_m1m2,
    "vq-vae-2": build_vqvae2,
}
