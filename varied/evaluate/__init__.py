"""How good a model is, in numbers that a sceptic can check, with their standard errors."""

from varied.evaluate.bounds import Estimate, Evaluation, Passed, evaluate, log_likelihood, passed
from varied.evaluate.disentanglement import gaps, information, mig
from varied.evaluate.features import Features, classifier
from varied.evaluate.fidelity import frechet, sharpness
from varied.evaluate.latent import active_units, collapse

__all__ = [
    "Estimate",
    "Evaluation",
    "Features",
    "Passed",
    "active_units",
    "classifier",
    "collapse",
    "evaluate",
    "frechet",
    "gaps",
    "information",
    "log_likelihood",
    "mig",
    "passed",
    "sharpness",
]
