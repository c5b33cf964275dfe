"""All disentanglement scores of the same codes."""

from __future__ import annotations

from varied.evaluate._types import Data
from varied.evaluate.disentanglement.dci import dci
from varied.evaluate.disentanglement.interventional import beta_vae, factor_vae
from varied.evaluate.disentanglement.mig import mig
from varied.evaluate.disentanglement.modularity import explicitness, modularity
from varied.evaluate.disentanglement.sap import sap
from varied.evaluate.estimate import Estimate


def scores(codes: Data, factors: Data, *, seed: int = 0) -> dict[str, Estimate]:
    """Return all disentanglement scores with default settings.

    Warning:
        The chance level, the score of random codes, differs between the scores and is not
        subtracted: it is 0 for "mig", "disentanglement", "completeness" and "sap"; 1/F for
        "factor_vae" and "beta_vae"; 0.5 for "explicitness"; the frequency of the most common value
        for "informativeness"; and a value that depends on the number of values of each factor for
        "modularity". The maximum of "sap" is 1 minus the mean of 1/K, where K is the number of
        values of a factor. `dci`, `sap` and `explicitness` use at most 10,000 rows.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, as classes or as numbers with few values, with shape (N, F).
        seed: The seed for sampling rows, training trees and resampling.

    Returns:
        The scores by name. Each is between 0 and 1, and higher is better.

    Raises:
        VariedError: As for `mig`, `dci` and `factor_vae`.
    """
    forest = dci(codes, factors, seed=seed)
    return {
        "mig": mig(codes, factors, seed=seed),
        "disentanglement": forest.disentanglement,
        "completeness": forest.completeness,
        "informativeness": forest.informativeness,
        "sap": sap(codes, factors, seed=seed),
        "factor_vae": factor_vae(codes, factors, seed=seed),
        "beta_vae": beta_vae(codes, factors, seed=seed),
        "modularity": modularity(codes, factors, seed=seed),
        "explicitness": explicitness(codes, factors, seed=seed),
    }
