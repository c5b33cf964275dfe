"""Functions that apply a trained model to tensors, such as sampling, editing and imputation.

Functions that process a whole dataset take ``load``, which converts stored rows to model input, and
``batches``, an iterable of `varied.data.Batch` that is iterated over once.
"""

from varied.functional.anomaly_score import ANOMALY_METHODS, AnomalyScorer, AnomalyScores
from varied.functional.augment import Gain, class_counts, gains, sample_classes
from varied.functional.classify import apply_temperature, calibration_temperature, classify
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
from varied.functional.generate import decode, reconstruct, sample
from varied.functional.importance_sampling import NLL, negative_log_likelihood
from varied.functional.impute import conditional_mean, impute
from varied.functional.interpolate import PATHS, grid, grid_codes, interpolate, path_codes
from varied.functional.interval_calibration import draw_scale
from varied.functional.latent_density import LatentDensity, fit_latent_density
from varied.functional.neighborhood import distance_scale, nearest_codes, variations
from varied.functional.optimize import Candidates, Optimum, TrustRegion, search
from varied.functional.property_prediction import PropertyPredictor, fit_property
from varied.functional.style import level_units, mix_codes, recondition
from varied.functional.traverse import manifold, traverse

__all__ = [
    "ANOMALY_METHODS",
    "DIRECTIONS",
    "NLL",
    "PATHS",
    "AnomalyScorer",
    "AnomalyScores",
    "Candidates",
    "Codes",
    "Effect",
    "Gain",
    "LatentDensity",
    "Optimum",
    "PropertyPredictor",
    "TrustRegion",
    "apply_temperature",
    "balance_weights",
    "calibration_temperature",
    "class_counts",
    "classify",
    "conditional_mean",
    "decode",
    "direction",
    "distance_scale",
    "draw_scale",
    "edit",
    "effects",
    "embed",
    "encode",
    "fit_latent_density",
    "fit_property",
    "gains",
    "grid",
    "grid_codes",
    "impute",
    "interpolate",
    "level_units",
    "manifold",
    "mix_codes",
    "nearest_codes",
    "negative_log_likelihood",
    "path_codes",
    "recondition",
    "reconstruct",
    "reencode",
    "sample",
    "sample_classes",
    "search",
    "shift_codes",
    "traverse",
    "variations",
]
