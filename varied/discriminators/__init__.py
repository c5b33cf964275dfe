"""Terms with a network of their own, which learns to tell two kinds of things apart."""

from varied.discriminators.base import AdversarialTerm, frozen
from varied.discriminators.image import FeatureMatching, PatchGAN
from varied.discriminators.latent import LatentDiscriminator, TotalCorrelation

__all__ = [
    "AdversarialTerm",
    "FeatureMatching",
    "LatentDiscriminator",
    "PatchGAN",
    "TotalCorrelation",
    "frozen",
]
