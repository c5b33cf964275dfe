"""Terms with a discriminator that is trained together with the model."""

from varied.discriminators.base import AdversarialTerm, apply_frozen
from varied.discriminators.image import FeatureMatching, ImageDiscriminatorSettings, PatchGAN
from varied.discriminators.latent import LatentDiscriminator, TotalCorrelation

__all__ = [
    "AdversarialTerm",
    "FeatureMatching",
    "ImageDiscriminatorSettings",
    "LatentDiscriminator",
    "PatchGAN",
    "TotalCorrelation",
    "apply_frozen",
]
