"""Functions for molecules that use RDKit and SELFIES, which are imported when they are needed."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from varied.errors import VariedError

Array = npt.NDArray[Any]

#: The names of the properties of a molecule, in the order in which they are written.
PROPERTIES = ("QED", "logP", "TPSA", "weight", "heavy atoms")


def import_chemistry() -> tuple[Any, Any]:
    """Return the modules ``rdkit.Chem`` and ``selfies``.

    Raises:
        VariedError: If one of the packages, or a library for drawing, is not installed.
    """
    try:
        chem, selfies = import_module("rdkit.Chem"), import_module("selfies")
        import_module("rdkit.rdBase").DisableLog("rdApp.*")
    except ImportError as error:
        raise VariedError(
            "Molecules require RDKit and SELFIES; run `pip install 'varied[molecules]'`."
        ) from error
    try:
        import_module("rdkit.Chem.Draw.rdMolDraw2D")
    except ImportError as error:  # on systems without a screen
        raise VariedError(
            f"RDKit cannot draw molecules ({error}); install the missing library, "
            "for example with `apt-get install libxrender1 libxext6`."
        ) from error
    return chem, selfies


def is_available() -> bool:
    """Return whether RDKit and SELFIES are installed."""
    return all(find_spec(name) is not None for name in ("rdkit", "selfies"))


def to_tokens(smiles: Iterable[str]) -> list[list[str]]:
    """Return the SELFIES tokens of molecules.

    A molecule that cannot be written in SELFIES has the single token "?", and an empty one has no
    tokens.

    References:
        Self-Referencing Embedded Strings (SELFIES): A 100% robust molecular string representation
        (Krenn et al., 2020), https://arxiv.org/abs/1905.13741

    Arguments:
        smiles: The molecules.

    Example:
        >>> to_tokens(["CCO"])
        [['[C]', '[C]', '[O]']]
    """
    _, selfies = import_chemistry()
    rows = []
    for text in smiles:
        try:
            rows.append(list(selfies.split_selfies(selfies.encoder(text))) if text else [])
        except selfies.EncoderError:
            rows.append(["?"])
    return rows


def to_smiles(tokens: Iterable[Sequence[str]]) -> list[str]:
    """Return the canonical SMILES of molecules with the given SELFIES tokens.

    Arguments:
        tokens: The tokens of each molecule.

    Example:
        >>> to_smiles([["[O]", "[C]", "[C]"]])
        ['CCO']
    """
    chem, selfies = import_chemistry()
    smiles = []
    for row in tokens:
        try:
            smiles.append(_canonical(chem, selfies.decoder("".join(row))))
        except selfies.DecoderError:  # tokens that are not SELFIES
            smiles.append("")
    return smiles


def _canonical(chem: Any, smiles: str) -> str:
    # Some combinations of aromatic and charged atoms are valid in SELFIES, but not in RDKit.
    mol = chem.MolFromSmiles(smiles)
    return "" if mol is None else str(chem.MolToSmiles(mol))


def properties(smiles: Iterable[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Return properties of molecules by name, NaN for an empty molecule.

    These are the quantitative estimate of drug-likeness (QED), the logarithm of the octanol-water
    partition coefficient (logP), the topological polar surface area in square ångströms (TPSA), the
    molecular weight in daltons, and the number of heavy atoms.

    References:
        Quantifying the chemical beauty of drugs (Bickerton et al., 2012),
        https://doi.org/10.1038/nchem.1243

    Arguments:
        smiles: The molecules.

    Example:
        >>> properties(["CCO"])["heavy atoms"]
        array([3.])
    """
    chem, _ = import_chemistry()
    crippen, descriptors, qed = (
        import_module(f"rdkit.Chem.{name}") for name in ("Crippen", "Descriptors", "QED")
    )
    functions = (
        qed.qed,
        crippen.MolLogP,
        descriptors.TPSA,
        descriptors.MolWt,
        descriptors.HeavyAtomCount,
    )
    mols = [chem.MolFromSmiles(text) if text else None for text in smiles]
    rows = [[np.nan] * len(functions) if m is None else [f(m) for f in functions] for m in mols]
    columns = np.array(rows, dtype=np.float64).reshape(-1, len(functions)).T
    return dict(zip(PROPERTIES, columns, strict=True))


def scaffold(smiles: str) -> str:
    """Return the Bemis-Murcko scaffold of a molecule: its rings and the chains between them.

    References:
        The properties of known drugs. 1. Molecular frameworks (Bemis & Murcko, 1996),
        https://doi.org/10.1021/jm9602928

    Arguments:
        smiles: The molecule.

    Example:
        >>> scaffold("CCc1ccccc1")
        'c1ccccc1'
    """
    import_chemistry()
    murcko = import_module("rdkit.Chem.Scaffolds.MurckoScaffold")
    return str(murcko.MurckoScaffoldSmiles(smiles))


def draw(smiles: Iterable[str], size: int) -> npt.NDArray[np.uint8]:
    """Return drawings of molecules, uint8 with shape (N, size, size, 3).

    Arguments:
        smiles: The molecules; the drawing of an empty one is white.
        size: The height and width of a drawing in pixels.
    """
    chem, _ = import_chemistry()
    drawing = import_module("rdkit.Chem.Draw.rdMolDraw2D")
    images = [_draw(chem.MolFromSmiles(text), drawing, size) for text in smiles]
    return np.stack(images) if images else np.empty((0, size, size, 3), np.uint8)


def _draw(mol: Any, drawing: Any, size: int) -> npt.NDArray[np.uint8]:
    canvas = drawing.MolDraw2DCairo(size, size)
    options = canvas.drawOptions()
    options.padding = 0.08
    options.fixedBondLength = size / 6  # small molecules are not enlarged
    if mol is not None:
        drawing.PrepareAndDrawMolecule(canvas, mol)
    canvas.FinishDrawing()
    image = Image.open(io.BytesIO(canvas.GetDrawingText())).convert("RGB")
    return np.asarray(image, dtype=np.uint8)
