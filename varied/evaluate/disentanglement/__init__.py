"""How well single latent units stand for single known factors of the data."""

from varied.evaluate.disentanglement.all_scores import scores
from varied.evaluate.disentanglement.dci import DCI, completeness, dci, disentanglement
from varied.evaluate.disentanglement.interventional import beta_vae, factor_vae
from varied.evaluate.disentanglement.mig import BINS, gaps, information, mig
from varied.evaluate.disentanglement.modularity import explicitness, modularity
from varied.evaluate.disentanglement.sap import sap

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
