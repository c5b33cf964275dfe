"""Disentanglement scores, which measure how well individual units represent known factors."""

from varied.evaluate.disentanglement.all_scores import scores
from varied.evaluate.disentanglement.dci import DCI, completeness, dci, disentanglement
from varied.evaluate.disentanglement.interventional import beta_vae, factor_vae
from varied.evaluate.disentanglement.mig import mig, mig_by_factor, mutual_information
from varied.evaluate.disentanglement.modularity import explicitness, modularity
from varied.evaluate.disentanglement.sap import sap

__all__ = [
    "DCI",
    "beta_vae",
    "completeness",
    "dci",
    "disentanglement",
    "explicitness",
    "factor_vae",
    "mig",
    "mig_by_factor",
    "modularity",
    "mutual_information",
    "sap",
    "scores",
]
