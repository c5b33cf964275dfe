"""What people do with a trained model: each a function of a model and tensors."""

from varied.functional.anomaly_score import WAYS, AnomalyScorer, AnomalyScores
from varied.functional.augment import Gain, class_counts, gains, sample_classes
from varied.functional.classify import apply_temperature, calibration_temperature, classify
from varied.functional.decode import decode
from varied.functional.edit import (
    DIRECTIONS,
    Effect,
    balance_weights,
    direction,
    edit,
    effects,
    reencode,
    shift_codes,
)
from varied.functional.encode import Codes, embed, encode
from varied.functional.impute import impute
from varied.functional.interpolate import PATHS, grid, interpolate
from varied.functional.interval_calibration import inflate_draws, inflation_factor
from varied.functional.latent_density import LatentDensity, fit_latent_density
from varied.functional.neighborhood import nearest_codes, variations
from varied.functional.nll import NLL, negative_log_likelihood
from varied.functional.reconstruct import reconstruct
from varied.functional.sample import manifold, sample
from varied.functional.style import level_units, mix_codes, recondition
from varied.functional.traverse import traverse

__all__ = [
    "DIRECTIONS",
    "NLL",
    "PATHS",
    "WAYS",
    "AnomalyScorer",
    "AnomalyScores",
    "Codes",
    "Effect",
    "Gain",
    "LatentDensity",
    "apply_temperature",
    "balance_weights",
    "calibration_temperature",
    "class_counts",
    "classify",
    "decode",
    "direction",
    "edit",
    "effects",
    "embed",
    "encode",
    "fit_latent_density",
    "gains",
    "grid",
    "impute",
    "inflate_draws",
    "inflation_factor",
    "interpolate",
    "level_units",
    "manifold",
    "mix_codes",
    "nearest_codes",
    "negative_log_likelihood",
    "recondition",
    "reconstruct",
    "reencode",
    "sample",
    "sample_classes",
    "shift_codes",
    "traverse",
    "variations",
]
