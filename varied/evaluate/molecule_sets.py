"""The structural similarity of two sets of molecules."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from varied.data import molecules
from varied.errors import VariedError
from varied.evaluate.estimate import Estimate
from varied.evaluate.frechet import frechet

#: The number of molecules that are compared with others, or read by a network, at a time.
_CHUNK = 500


class MoleculeSet:
    """A set of valid molecules; fingerprints, fragments and scaffolds are computed on demand.

    Arguments:
        smiles: The canonical SMILES of the molecules; empty ones are omitted.

    Raises:
        VariedError: If there are fewer than 2 valid molecules.
    """

    def __init__(self, smiles: Iterable[str]) -> None:
        self.smiles: list[str] = [text for text in smiles if text]
        if len(self.smiles) < 2:
            raise VariedError("At least 2 valid molecules are required; generate more samples.")

    @cached_property
    def fingerprints(self) -> Tensor:
        """The Morgan fingerprints, float32 with shape (N, 1024)."""
        return torch.from_numpy(molecules.fingerprints(self.smiles)).float()

    @cached_property
    def fragments(self) -> Counter[str]:
        """The number of occurrences of each BRICS fragment."""
        return Counter(molecules.fragments(self.smiles))

    @cached_property
    def scaffolds(self) -> Counter[str]:
        """The number of molecules with each Bemis-Murcko scaffold, for molecules with rings."""
        return Counter(filter(None, map(molecules.scaffold, self.smiles)))

    @cached_property
    def chemnet_features(self) -> Tensor:
        """The ChemNet features, with shape (N, 512)."""
        return chemnet_features(self.smiles)


def compare_molecules(generated: MoleculeSet, real: MoleculeSet) -> dict[str, float]:
    r"""Return the structure metrics of the MOSES benchmark for generated molecules, by name.

    With the Tanimoto similarity T of Morgan fingerprints, and the numbers of occurrences
    :math:`n` of fragments (or of scaffolds),

    .. math::
        \text{SNN} &= \frac1N \sum_i \max_j T(g_i, r_j) \\
        \text{fragments} &= \frac{\sum_f n_g(f) n_r(f)}{|n_g| |n_r|} \\
        \text{internal diversity} &= 1 - \frac1{N^2} \sum_{ij} T(g_i, g_j)

    "SNN" is the mean similarity to the nearest real molecule. The scaffold similarity is computed
    in the same way as the fragment similarity.

    "FCD" is the Fréchet distance between ChemNet features; it requires the package fcd_torch and is
    omitted without it. "without alerts" is the fraction of molecules without PAINS substructures,
    which is one of the MOSES filters; the medicinal chemistry filters are not included.

    References:
        Molecular Sets (MOSES): A Benchmarking Platform for Molecular Generation Models
        (Polykovskiy et al., 2020), https://arxiv.org/abs/1811.12823

    Warning:
        All metrics depend on the numbers of molecules: compare them only with the metrics of the
        same number of real molecules.

    Arguments:
        generated: The generated molecules.
        real: The real molecules, which were not used for training.

    Example:
        >>> alcohols = MoleculeSet(["CCO", "CCCO"])
        >>> compare_molecules(alcohols, alcohols)["SNN"]
        1.0
    """
    nearest = torch.cat([t.amax(1) for t in _similarities(generated, real)])
    alerts = molecules.has_alert(generated.smiles)
    metrics = {
        "SNN": float(nearest.mean()),
        "fragment similarity": _cosine(generated.fragments, real.fragments),
        "scaffold similarity": _cosine(generated.scaffolds, real.scaffolds),
        "internal diversity": internal_diversity(generated),
        "without alerts": 1 - float(alerts.mean()),
    }
    if is_chemnet_available():
        metrics["FCD"] = frechet(generated.chemnet_features, real.chemnet_features)
    return metrics


def internal_diversity(molecule_set: MoleculeSet) -> float:
    """Return 1 minus the mean Tanimoto similarity over all N^2 pairs of molecules."""
    total = sum(float(t.double().sum()) for t in _similarities(molecule_set, molecule_set))
    return 1 - total / len(molecule_set.smiles) ** 2


def unique_fraction(smiles: Sequence[str], k: int) -> Estimate:
    """Return the fraction of distinct molecules among the first k valid ones.

    Arguments:
        smiles: The canonical SMILES of generated molecules; an empty one is not valid.
        k: The maximum number of valid molecules to use.

    Example:
        >>> unique_fraction(["CC", "", "CC", "CO"], 2).value
        0.5
    """
    first = [text for text in smiles if text][:k]
    return Estimate(len(set(first)) / max(len(first), 1), math.nan, len(first))


def _similarities(a: MoleculeSet, b: MoleculeSet) -> Iterator[Tensor]:
    """Yield the Tanimoto similarities between chunks of ``a`` and all molecules of ``b``."""
    total = b.fingerprints.sum(1)
    for rows in a.fingerprints.split(_CHUNK):
        shared = rows @ b.fingerprints.T
        yield shared / (rows.sum(1, keepdim=True) + total - shared).clamp_min(1)


def _cosine(a: Counter[str], b: Counter[str]) -> float:
    x, y = (torch.tensor([float(n[key]) for key in a | b]) for n in (a, b))
    return float(x @ y / (x.norm() * y.norm()).clamp_min(1e-12))


def is_chemnet_available() -> bool:
    """Return whether the package fcd_torch, which contains ChemNet, is installed."""
    return find_spec("fcd_torch") is not None


def chemnet_features(smiles: Sequence[str]) -> Tensor:
    """Return ChemNet features of molecules; ChemNet predicts the results of bioassays.

    References:
        Fréchet ChemNet Distance: A Metric for Generative Models for Molecules in Drug Discovery
        (Preuer et al., 2018), https://arxiv.org/abs/1803.09518

    Arguments:
        smiles: The canonical SMILES of valid molecules.

    Returns:
        The features, with shape (N, 512).

    Raises:
        VariedError: If the package fcd_torch is not installed.
    """
    if not is_chemnet_available():
        raise VariedError("ChemNet features require fcd_torch; run `pip install fcd_torch`.")
    network: Any = import_module("fcd_torch").FCD(canonize=False).model
    rows = import_module("fcd_torch.utils").SmilesDataset(smiles, canonize=False)
    with torch.no_grad():
        parts = []
        for start in range(0, len(smiles), _CHUNK):
            chunk = [rows[i] for i in range(start, min(start + _CHUNK, len(smiles)))]
            x = torch.stack([torch.from_numpy(row) for row in chunk])
            parts.append(network(x.transpose(1, 2).float()))
    return torch.cat(parts)
