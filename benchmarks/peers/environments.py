"""An environment of its own for each peer, with the versions that this repository pins."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks" / ".peers"


def python_of(peer: str, *packages: str) -> Path:
    """Return the Python of a peer's environment, which is made where there is none yet."""
    folder = FOLDER / peer
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        sys.stderr.write(f"installing {peer} into its own environment ...\n")
        venv.create(folder, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt"]
        subprocess.run([*pip, *packages], check=True)
        done.touch()
    return python
