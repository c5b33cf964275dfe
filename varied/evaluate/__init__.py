"""How good a model is, in numbers that a sceptic can check: nats, with their standard errors."""

from varied.evaluate.bounds import Estimate, Evaluation, Passed, evaluate, log_likelihood, passed
from varied.evaluate.latent import active_units, collapse

__all__ = [
    "Estimate",
    "Evaluation",
    "Passed",
    "active_units",
    "collapse",
    "evaluate",
    "log_likelihood",
    "passed",
]
