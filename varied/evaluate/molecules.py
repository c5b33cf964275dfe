"""Metrics of generated molecules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from varied.evaluate._types import Array
from varied.evaluate.estimate import Estimate


@dataclass(frozen=True)
class GeneratedMolecules:
    """The fractions of generated molecules that are valid, unique and novel.

    Arguments:
        valid: The fraction of valid molecules.
        unique: The number of distinct valid molecules, divided by the number of valid molecules.
        novel: The fraction of the distinct valid molecules that are not training molecules.
    """

    valid: Estimate
    unique: Estimate
    novel: Estimate


def generated_molecules(smiles: Sequence[str], training: Sequence[str]) -> GeneratedMolecules:
    """Return the fractions of generated molecules that are valid, unique and novel.

    Uniqueness decreases with the number of molecules, so compare it only for equal numbers of
    molecules.

    References:
        Molecular Sets (MOSES): A Benchmarking Platform for Molecular Generation Models
        (Polykovskiy et al., 2020), https://arxiv.org/abs/1811.12823

    Arguments:
        smiles: The canonical SMILES of generated molecules; an empty one is not valid.
        training: The canonical SMILES of training molecules.

    Example:
        >>> result = generated_molecules(["CC", "CC", "CO", ""], ["CC"])
        >>> result.valid.value, round(result.unique.value, 3), result.novel.value
        (0.75, 0.667, 0.5)
    """
    valid = [text for text in smiles if text]
    different = sorted(set(valid))
    known = set(training)
    return GeneratedMolecules(
        _fraction([bool(text) for text in smiles]),
        Estimate(len(different) / max(len(valid), 1), math.nan, len(valid)),
        _fraction([text not in known for text in different]),
    )


def exact_reconstruction(smiles: Sequence[str], reconstructed: Sequence[str]) -> Estimate:
    """Return the fraction of molecules whose reconstruction is the same molecule.

    Arguments:
        smiles: The canonical SMILES of molecules.
        reconstructed: The canonical SMILES of the reconstructions.
    """
    return _fraction([a == b for a, b in zip(smiles, reconstructed, strict=True)])


def property_distances(
    generated: Mapping[str, Array], real: Mapping[str, Array]
) -> dict[str, float]:
    r"""Return how much the distribution of each property differs between two sets of examples.

    This is the Wasserstein-1 distance, in standard deviations of the real examples:

    .. math:: \frac{1}{s} \int |F_{generated}(x) - F_{real}(x)| \, dx

    Arguments:
        generated: The properties of generated examples by name, each with shape (N); NaN values are
            omitted.
        real: The properties of real examples by name.

    Returns:
        The distance for each property; NaN if it has no values in one of the sets.

    Example:
        >>> property_distances({"a": np.array([1.0, 3.0])}, {"a": np.array([0.0, 2.0])})
        {'a': 1.0}
    """
    from scipy.stats import wasserstein_distance  # slow to import

    distances = {}
    for name, values in real.items():
        a, b = (v[~np.isnan(v)] for v in (generated[name], values))
        distances[name] = math.nan
        if len(a) and len(b):
            distances[name] = float(wasserstein_distance(a, b)) / max(float(b.std()), 1e-12)
    return distances


def _fraction(is_true: Sequence[bool]) -> Estimate:
    return Estimate.of(torch.tensor(is_true or [False], dtype=torch.float64))
