"""A script that parses molecules in a child process; see `varied.data.molecules.parsing`.

The arguments are a JSON file with the texts of the molecules, their format, the index of the first
one to parse, and the memory limit in bytes. The script does not import Varied, so that it starts
quickly. It writes a line of JSON when it is ready, and one for each molecule.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import selfies
from rdkit import Chem, rdBase

#: The function that parses each format.
PARSERS: dict[str, Callable[..., Any]] = {"smiles": Chem.MolFromSmiles, "sdf": Chem.MolFromMolBlock}
#: A longer SMILES string is not a small molecule, and all molecules would be stored with that
#: length.
MAX_LENGTH = 500


def parse(text: str, form: str) -> tuple[str, str, bool]:
    """Parse a molecule.

    Returns:
        The canonical SMILES of its largest fragment, the reason why it cannot be used ("" if
        it can), and whether there were several fragments.
    """
    mol = PARSERS[form](text)
    if mol is None:
        return "", _reason(text, form), False
    largest, has_fragments = mol, False
    if "." in (smiles := Chem.MolToSmiles(mol)):
        fragments = Chem.GetMolFrags(mol, asMols=True)
        largest = max(fragments, key=lambda fragment: fragment.GetNumHeavyAtoms())
        smiles, has_fragments = Chem.MolToSmiles(largest), True
    return smiles, _limitation(smiles), has_fragments


def _reason(text: str, form: str) -> str:
    """Return the reason why RDKit cannot parse a molecule."""
    mol = PARSERS[form](text, sanitize=False)
    problems = () if mol is None else Chem.DetectChemistryProblems(mol)
    if problems:
        return str(problems[0].Message()).strip().rstrip(".")
    return "it is not a valid SMILES" if form == "smiles" else "it is not a valid record"


def _limitation(smiles: str) -> str:
    """Return the reason why a valid molecule cannot be used, or "" if it can."""
    if not smiles:
        return "it has no atoms"
    if len(smiles) > MAX_LENGTH:
        return f"its SMILES is longer than {MAX_LENGTH} characters"
    # The valences of other atoms without brackets are always allowed, and encoding takes time.
    if "[" in smiles or "I" in smiles or "*" in smiles:
        try:
            selfies.encoder(smiles)
        except Exception:  # the package documents no exceptions
            return "it cannot be written in SELFIES"
    return ""


def limit_memory(n_bytes: int) -> None:
    """Limit the memory of this process, on systems that support limits."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))


def write(value: Any) -> None:
    """Write a line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the molecules in a file."""
    file, form, start, max_bytes = sys.argv[1:]
    rdBase.DisableLog("rdApp.*")
    limit_memory(int(max_bytes))
    write("ready")
    for text in json.loads(Path(file).read_text("utf-8"))[int(start) :]:
        try:
            write(parse(text, form))
        except Exception as error:
            write(("", f"RDKit raises {type(error).__name__}", False))


if __name__ == "__main__":
    main()
