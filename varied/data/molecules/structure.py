"""The structure of molecules: fingerprints, similarities, fragments, and alerts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from varied.data.molecules.chemistry import import_chemistry

#: The radius and the number of bits of Morgan fingerprints, as in MOSES.
_RADIUS, _BITS = 2, 1024


def fingerprints(smiles: Iterable[str]) -> npt.NDArray[np.uint8]:
    """Return the bits (0 or 1) of the Morgan fingerprints of molecules, with shape (N, 1024).

    A bit is 1 if the molecule contains an environment of an atom, with a radius of at most two
    bonds, that is mapped to this bit.

    References:
        Extended-Connectivity Fingerprints (Rogers & Hahn, 2010), https://doi.org/10.1021/ci100050t

    Arguments:
        smiles: The molecules.

    Example:
        >>> int(fingerprints(["CCO"]).sum())
        6
    """
    mols = list(_mols(smiles))
    module = import_module("rdkit.Chem.rdFingerprintGenerator")
    generator = module.GetMorganGenerator(radius=_RADIUS, fpSize=_BITS)
    rows = [generator.GetFingerprintAsNumPy(mol) for mol in mols]
    return np.array(rows, np.uint8).reshape(-1, _BITS)


def similarities(smiles: str, others: Sequence[str]) -> npt.NDArray[np.float64]:
    r"""Return the Tanimoto similarity of a molecule to others, with shape (N).

    .. math:: T(A, B) = \frac{|A \cap B|}{|A \cup B|}

    A and B are the sets of bits that are 1; an empty molecule has a similarity of 0.

    Arguments:
        smiles: The molecule.
        others: The other molecules.

    Example:
        >>> similarities("CCO", ["OCC", "c1ccccc1"])
        array([1., 0.])
    """
    first, *rest = fingerprints([smiles, *others]).astype(np.float64)
    bits = np.reshape(rest, (-1, _BITS))
    shared = bits @ first
    similarity: npt.NDArray[np.float64] = shared / np.maximum(bits.sum(1) + first.sum() - shared, 1)
    return similarity


def fragments(smiles: Iterable[str]) -> list[str]:
    """Return the BRICS fragments of all molecules; ``*`` in their SMILES marks a broken bond.

    References:
        On the Art of Compiling and Using 'Drug-Like' Chemical Fragment Spaces (Degen et al., 2008),
        https://doi.org/10.1002/cmdc.200800178

    Arguments:
        smiles: The molecules.

    Example:
        >>> fragments(["CCOC"])
        ['[3*]OC', '[4*]CC']
    """
    chem, _ = import_chemistry()
    brics = import_module("rdkit.Chem.BRICS")
    texts = (chem.MolToSmiles(brics.BreakBRICSBonds(mol)) for mol in _mols(smiles))
    return [fragment for text in texts for fragment in text.split(".")]


def has_alert(smiles: Iterable[str]) -> npt.NDArray[np.bool_]:
    """Return whether each molecule contains a substructure that interferes with assays (PAINS).

    References:
        New Substructure Filters for Removal of Pan Assay Interference Compounds (Baell & Holloway,
        2010), https://doi.org/10.1021/jm901137j

    Arguments:
        smiles: The molecules.

    Example:
        >>> has_alert(["CCO", "O=C1C=CC(=O)C=C1"])
        array([False,  True])
    """
    mols = list(_mols(smiles))
    module = import_module("rdkit.Chem.FilterCatalog")
    params = module.FilterCatalogParams()
    params.AddCatalog(params.FilterCatalogs.PAINS)
    catalog = module.FilterCatalog(params)
    return np.array([catalog.HasMatch(mol) for mol in mols], bool)


def _mols(smiles: Iterable[str]) -> Iterator[Any]:
    chem, _ = import_chemistry()
    return (chem.MolFromSmiles(text) for text in smiles)
