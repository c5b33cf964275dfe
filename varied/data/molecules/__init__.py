"""Molecules: reading, canonical SMILES, SELFIES tokens, properties and drawings.

Molecules require RDKit and SELFIES, which are installed by the extra ``varied[molecules]`` and
imported when they are needed.
"""

from __future__ import annotations

from varied.data.molecules.chemistry import (
    draw,
    import_chemistry,
    is_available,
    properties,
    scaffold,
    to_smiles,
    to_tokens,
)
from varied.data.molecules.files import (
    ENDINGS,
    drop_duplicates,
    from_table,
    is_smiles,
    possible_columns,
    read_molecules,
    smiles_column,
    split_scaffolds,
)
from varied.data.molecules.structure import fingerprints, fragments, has_alert, similarities

__all__ = [
    "ENDINGS",
    "draw",
    "drop_duplicates",
    "fingerprints",
    "fragments",
    "from_table",
    "has_alert",
    "import_chemistry",
    "is_available",
    "is_smiles",
    "possible_columns",
    "properties",
    "read_molecules",
    "scaffold",
    "similarities",
    "smiles_column",
    "split_scaffolds",
    "to_smiles",
    "to_tokens",
]
