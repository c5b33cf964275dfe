"""An environment of its own for each peer, with the versions that this repository pins."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks" / ".peers"


def python_of(peer: str, *packages: str, lent: bool = False) -> Path:
    """Return the Python of a peer's environment, which is made where there is none yet.

    With ``lent`` it sees the packages of this one, torch among them, behind its own, and what it
    installs is not held to the versions that are pinned here.
    """
    folder = FOLDER / peer
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        sys.stderr.write(f"installing {peer} into its own environment ...\n")
        venv.create(folder, with_pip=True, clear=True)
        if lent:
            own = next(folder.glob("lib/python*/site-packages"))
            (own / "lent.pth").write_text(str(Path(torch.__file__).parents[1]) + "\n", "utf-8")
        pins = [] if lent else ["-c", ROOT / "constraints.txt"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *pins, *packages], check=True)
        done.touch()
    return python
