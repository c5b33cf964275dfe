"""Latent variable models, each built from the same conditional distributions."""

from varied.models.base import Architecture, LatentModel, PartFactory, Temperature
from varied.models.ladder import Ladder, build_ladder
from varied.models.m1m2 import M1, M1M2, JointM1M2, SkipM1M2, build_m1m2
from varied.models.m2 import M2, build_m2
from varied.models.vae import VAE, build_vae
from varied.models.vqvae2 import TwoLevelQuantizer, build_vqvae2

__all__ = [
    "ARCHITECTURES",
    "M1",
    "M1M2",
    "M2",
    "VAE",
    "Architecture",
    "JointM1M2",
    "Ladder",
    "LatentModel",
    "PartFactory",
    "SkipM1M2",
    "Temperature",
    "TwoLevelQuantizer",
    "build_ladder",
    "build_m1m2",
    "build_m2",
    "build_vae",
    "build_vqvae2",
]

ARCHITECTURES: dict[str, Architecture] = {
    "vae": Architecture(build_vae),
    "ladder": Architecture(build_ladder, ("posterior", "prior", "conditioning")),
    "m2": Architecture(build_m2, ("posterior", "prior")),
    "m1m2": Architecture(build_m1m2, ("posterior", "prior")),
    "vq-vae-2": Architecture(build_vqvae2),
}
