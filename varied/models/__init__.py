"""Latent variable models: structures over the same three kinds of conditional distributions."""

from collections.abc import Callable

from varied.models.base import Bench, Heat, LatentModel
from varied.models.classes import ClassVAE, classes
from varied.models.codes import TwoLevels, two_level_codes
from varied.models.ladder import Ladder, ladder
from varied.models.stacked import Stacked, stacked
from varied.models.vae import VAE, flat

__all__ = [
    "STRUCTURES",
    "VAE",
    "Bench",
    "ClassVAE",
    "Heat",
    "Ladder",
    "LatentModel",
    "Stacked",
    "TwoLevels",
    "classes",
    "flat",
    "ladder",
    "stacked",
    "two_level_codes",
]

STRUCTURES: dict[str, Callable[..., LatentModel]] = {
    "flat": flat,
    "ladder": ladder,
    "classes": classes,
    "stacked": stacked,
    "two-level-codes": two_level_codes,
}
