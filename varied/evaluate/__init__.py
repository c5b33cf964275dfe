"""How good a model is, in numbers that a sceptic can check, with their standard errors.

What trains a classifier or draws a forest is loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from varied.evaluate.bounds import Estimate, Evaluation, Passed, evaluate, log_likelihood, passed
from varied.evaluate.fidelity import frechet, sharpness
from varied.evaluate.latent import active_units, collapse, is_active
from varied.evaluate.measure import Measure, Section

#: The modules of what is loaded later.
_LATER = {
    "aggregates": ("Aggregate", "aggregate", "c2st"),
    "annealing": ("Annealed", "annealed", "bidirectional", "rate_distortion"),
    "anomalies": (
        "Detection",
        "Threshold",
        "auroc",
        "average_precision",
        "detection",
        "fpr_at",
        "p_values",
        "threshold",
    ),
    "chances": ("Calibration", "calibration", "coverage"),
    "closeness": ("Closeness", "Near", "closest"),
    "copying": ("Copies", "copies"),
    "costs": ("column_costs",),
    "disentanglement": (
        "DCI",
        "beta_vae",
        "dci",
        "explicitness",
        "factor_vae",
        "gaps",
        "information",
        "mig",
        "modularity",
        "sap",
        "scores",
    ),
    "distances": ("nearest",),
    "downstream": ("Downstream", "distinguish", "tstr"),
    "extractors": ("Extractor", "features_by", "plain"),
    "features": ("Features", "classifier", "encoder"),
    "likeness": ("psnr", "ssim"),
    "neighbours": ("Neighbours", "prdc"),
    "probes": ("Probe", "probe"),
    "tables": ("Pairs", "Shape", "Shapes", "column_shapes", "pair_trends"),
    "seeds": (
        "Stability",
        "cka",
        "mcc",
        "shared_neighbours",
        "spread_over_seeds",
        "stability",
    ),
}
_PLACES = {name: module for module, names in _LATER.items() for name in names}

__all__ = [
    "Estimate",
    "Evaluation",
    "Measure",
    "Passed",
    "Section",
    "active_units",
    "collapse",
    "evaluate",
    "frechet",
    "is_active",
    "log_likelihood",
    "passed",
    "sharpness",
    *_PLACES,
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'varied.evaluate' has no attribute '{name}'")
    return getattr(import_module(f"varied.evaluate.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
