"""How well single latent units stand for single known factors of the data."""

from varied.evaluate.disentanglement.gap import BINS, gaps, information, mig
from varied.evaluate.disentanglement.importance import DCI, completeness, dci, disentanglement
from varied.evaluate.disentanglement.modular import explicitness, modularity
from varied.evaluate.disentanglement.separated import sap
from varied.evaluate.disentanglement.together import scores
from varied.evaluate.disentanglement.votes import beta_vae, factor_vae

__all__ = [
    "BINS",
    "DCI",
    "beta_vae",
    "completeness",
    "dci",
    "disentanglement",
    "explicitness",
    "factor_vae",
    "gaps",
    "information",
    "mig",
    "modularity",
    "sap",
    "scores",
]
