"""All scores of one table of codes."""

from __future__ import annotations

from torch import Tensor

from varied.evaluate.disentanglement._checks import Array
from varied.evaluate.disentanglement.dci import dci
from varied.evaluate.disentanglement.interventional import beta_vae, factor_vae
from varied.evaluate.disentanglement.mig import mig
from varied.evaluate.disentanglement.modularity import explicitness, modularity
from varied.evaluate.disentanglement.sap import sap
from varied.evaluate.estimate import Estimate

__all__ = ["scores"]


def scores(codes: Tensor | Array, factors: Tensor | Array, *, seed: int = 0) -> dict[str, Estimate]:
    """Return all scores with the settings they have by themselves, in under a minute.

    Warning:
        Each has a floor of its own, which random codes reach, and nothing is subtracted: 0 for
        "mig", "disentanglement", "completeness" and "sap", 1/F for "factor_vae" and "beta_vae",
        0.5 for "explicitness", the share of the commonest value for "informativeness", and for
        "modularity" whatever the numbers of values make of it. The ceiling of "sap" is 1 less the
        mean of 1/K. `dci`, `sap` and `explicitness` look at 10,000 rows at most.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, classes or numbers with few values, with shape (N, F).
        seed: Which rows, trees and resamples.

    Returns:
        The estimates by these names, each from 0 to 1, higher being better.

    Raises:
        VariedError: As `mig`, `dci` and `factor_vae`.
    """
    trees = dci(codes, factors, seed=seed)
    return {
        "mig": mig(codes, factors, seed=seed),
        "disentanglement": trees.disentanglement,
        "completeness": trees.completeness,
        "informativeness": trees.informativeness,
        "sap": sap(codes, factors, seed=seed),
        "factor_vae": factor_vae(codes, factors, seed=seed),
        "beta_vae": beta_vae(codes, factors, seed=seed),
        "modularity": modularity(codes, factors, seed=seed),
        "explicitness": explicitness(codes, factors, seed=seed),
    }
